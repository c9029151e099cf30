#!/usr/bin/env bash
# Makes the home that tests/pipelines/test_old_home.py opens: run it with a checkout of the version that is to be kept.
#   GRADUS=../main/.venv/bin/gradus tests/homes/make.sh before_one_house
set -euo pipefail
here=$(realpath "$(dirname "$0")") GRADUS=$(realpath "$GRADUS")
export GRADUS_HOME=/srv/gradus/home
mkdir -p /srv/gradus/data
cd /srv/gradus/data
python3 - <<'PY'
import hashlib, json
animals = "cat dog bird fish horse mouse lion tiger bear wolf fox frog duck".split()
with open("messages.tsv", "w") as file:
    for row in range(240):
        number = hashlib.sha256(str(row).encode()).hexdigest()  # words of its own, or else all are near duplicates
        words = " ".join(number[place : place + 6] for place in range(0, 36, 6))
        print("spam\tWIN a prize, call now: " + words if row % 3 == 0 else "ham\tsee you soon: " + words, file=file)
entries = [
    {"instruction": "Plural" if row % 2 else "Loud", "input": f"{animals[row % 13]} {row}",
     "output": f"{animals[row % 13]} {row}s" if row % 2 else f"{animals[row % 13].upper()} {row}",
     "task": "plural" if row % 2 else "loud"}
    for row in range(200)
]
json.dump(entries, open("entries.json", "w"))
PY
cat > spam.yaml <<'YAML'
pipeline: classification
source: {url: messages.tsv, format: tsv, header: false, columns: {label: 0, text: 1}}
validation: {labels: [ham, spam]}
model:
  size: {layers: 1, heads: 1, width: 16, context: 64}
  weights: random
  vocabulary: sample://vocabulary.tiktoken
train: {max_steps: 20, learning_rate: 0.01, precision: fp32, device: cpu, eval_every: 10, eval_batches: 2}
tracking: {experiment: old-spam, model_name: old-spam, system_metrics: false}
YAML
cat > instruct.yaml <<'YAML'
pipeline: instruction
source:
  url: entries.json
  columns: {instruction: instruction, input: input, output: output, task: task}
model:
  size: {layers: 1, heads: 1, width: 16, context: 128}
  weights: random
  vocabulary: sample://vocabulary.tiktoken
train: {max_steps: 20, learning_rate: 0.01, precision: fp32, device: cpu, eval_every: 10}
generation: {max_new_tokens: 6, precision: fp32}
judge: {kind: lexical}
tracking: {experiment: old-instruct, model_name: old-instruct, system_metrics: false}
YAML
for preset in spam instruct; do
    "$GRADUS" run $preset.yaml
    "$GRADUS" run $preset.yaml --set train.seed=2 --set train.max_steps=25
    "$GRADUS" promote "models:/old-$preset/1" --force --reason "it is the first"
done

# What was logged is kept, but for drawings; the store is not: steps have other versions afterwards.
cd /srv/gradus/home
rm -rf store results downloads .*.lock
find artifacts \( -name '*.png' -o -name report.html \) -delete
sqlite3 mlflow.db "UPDATE tags SET value = 'elsewhere' WHERE key = 'gradus.host'; VACUUM;"
tar --create --xz --sort name --owner 0 --group 0 --directory /srv/gradus --file "$here/$1.tar.xz" home data
