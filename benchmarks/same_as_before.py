"""Say what two checkouts do differently: `python -m benchmarks.same_as_before BEFORE AFTER`, two folders with a .venv.

In place of a folder the file may stand that `--keep FOLDER` has left of it in an earlier comparison.
Both demos and every command run in each, offline, on one thread, in a home of its own. Compared are what MLflow then
holds (metrics, parameters, tags, artifacts, versions and aliases), exit codes, the keys of every `--json`, and what
commands say of bad input. Every difference is one line; the exit code is 1 if there is any.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from math import isclose, isnan
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

Facts = dict[str, Any]
SETTINGS = {
    "COLUMNS": "120",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
QUICK = "--set train.max_steps=4 --set tracking.system_metrics=false"
RUNS = {
    "SPAM": "run spam-demo --json",
    "INSTRUCT": "run instruct-demo --json",
    "SHORT": f"run spam-demo {QUICK} --json",
    "TERSE": f"run instruct-demo {QUICK} --json",
}
"""What stands for the run that a command leaves."""
SPAM, INSTRUCT, PROMPT = "models:/spam-demo/1", "models:/instruct-demo/1", "--max-new-tokens 4"
QUICKLY = """
import json, sys
from typer.testing import CliRunner
from pipelines.cli.main import app
for line in sys.stdin:
    done = CliRunner().invoke(app, json.loads(line), prog_name="gradus")
    print(json.dumps([done.exit_code, done.stdout, done.stderr]), file=sys.__stdout__, flush=True)
"""
"""Runs commands in one process, which saves them the time to import."""
PLAIN = f"""
--help | run --help | check --help | compare --help | promote --help | predict --help | respond --help
generate --help | judge --help | presets --help | show --help | sync --help | presets | sync
show spam-demo | show instruct-demo | show spam-book | show instruct-book | show spam | show instruct
check spam-demo --json | check instruct-demo --json | check spam-demo | check instruct-demo
compare SPAM SHORT --json | compare INSTRUCT TERSE --json | compare SPAM SHORT | compare INSTRUCT TERSE
compare SPAM SHORT --primary f1 --json | compare INSTRUCT TERSE --primary chrf --json
promote SPAM --json | promote SPAM | promote SHORT --json | promote SHORT --force --reason trial --json
promote INSTRUCT --json | promote TERSE --json | promote TERSE
predict {SPAM} --json WINNER! | predict {SPAM} WINNER! | predict models:/spam-demo@champion Hello --json
predict {SPAM} --file texts.txt --output labelled.csv | predict {SPAM} --file texts.csv --json
respond {INSTRUCT} Spell --input apple --json {PROMPT} | respond {INSTRUCT} Spell --seed 3 --temperature 1 {PROMPT}
respond {INSTRUCT} --file entries.json --json {PROMPT}
respond {INSTRUCT} --file texts.txt --output said.jsonl {PROMPT}
generate {INSTRUCT} Every {PROMPT} | generate random Every --size tiny {PROMPT}
judge INSTRUCT --json | judge INSTRUCT
judge INSTRUCT --set judge.kind=ollama --set judge.url=http://127.0.0.1:9 --json
"""
BAD = f"""
run | run no-such-preset | run spam-demo --set train.epoch=3 | run spam-demo --set train.epochs=many | run texts.txt
run spam-demo --set nothing | run instruct-demo --set judge.kind=oracle | run spam-demo --set pipeline=other
run spam-demo --set model.size.heads=3 | run spam-demo --set train.max_length=9999 | run broken.yaml | run few.yaml
run instruct-demo --set prompt.template.response= | run spam-demo --set source.url=no-such-file.tsv
run instruct-demo --set train.max_length=9999 | run spam-demo --set validation.labels=[ham,eggs]
run spam-demo --set train.trainable=all_of_it | run spam-demo --set source.columns.text=9
check no-such-preset | check few.yaml --json | check spam-demo --set source.url=no-such-file.tsv --json
check spam-demo --set validation.labels=[ham,eggs] | check broken.yaml
compare SPAM INSTRUCT | compare SPAM deadbeef | compare SPAM SHORT --primary chrf | compare INSTRUCT TERSE --primary f1
promote deadbeef | promote models:/no-such-model/1 | promote SHORT --force | promote SHORT --margin -1
predict models:/no-such-model/1 text | predict {SPAM} | predict {SPAM} --file no-such-file.csv | predict {INSTRUCT} text
predict {SPAM} --file texts.txt --output labelled.doc | predict {SPAM} --file numbers.csv
respond {SPAM} text | respond {INSTRUCT} | respond {INSTRUCT} text --file entries.json | respond {INSTRUCT} a --top-p 7
generate no-such-model text | generate random text --size enormous | generate {SPAM} text
judge SPAM | judge deadbeef | judge INSTRUCT --set train.epochs=3 | judge INSTRUCT --set judge.kind=oracle
show no-such-preset | show spam-demo --set train.epoch=3 | polish
"""
FILES = {
    "texts.txt": "WINNER! Claim your prize\n\nAre you coming tonight?\n",
    "texts.csv": "text\nWINNER! Claim your prize\nAre you coming tonight?\n",
    "numbers.csv": "number\n1\n2\n",
    "entries.json": '[{"instruction": "Spell", "input": "apple"}, {"instruction": "Name a colour"}]',
    "broken.yaml": "source: {url: [",
    "few.csv": "text,label\nhello,ham\nbuy now,spam\n",
    "few.yaml": "source: {url: few.csv}\nvalidation: {labels: [ham, spam]}\n",
}
DIFFERS_BY_NATURE = re.compile(r"system/|seconds|per_second|memory|duration|mib|elapsed", re.IGNORECASE)
"""Metrics of time and memory, of which only the names are compared."""


def main() -> None:
    """Run everything in both checkouts and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--keep", type=Path, help="A folder that gets what was seen too: before.json and after.json.")
    given = parser.parse_args()
    before, after = (
        _seen(path, given.keep and given.keep / f"{name}.json")
        for name, path in (("before", given.before), ("after", given.after))
    )
    lines = list(differences(before, after))
    print(*lines, f"{len(lines)} differences in {len(before.keys() | after.keys()):,} facts", sep="\n")
    raise SystemExit(bool(lines))


def _seen(path: Path, kept: Path | None) -> Facts:
    """Return what a checkout does, or did when it was looked at."""
    facts: Facts = json.loads(path.read_text()) if path.is_file() else look_at(path.resolve())
    if kept:
        kept.write_text(json.dumps(facts, indent=1, sort_keys=True))
    return facts


def differences(before: Facts, after: Facts) -> Iterator[str]:
    """Yield a line for each fact that only one has, or that is another."""
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"gone: {name} = {before[name]!r}"
        elif name not in before:
            yield f"new: {name} = {after[name]!r}"
        elif not _alike(before[name], after[name]):
            yield f"other: {name}: {before[name]!r} -> {after[name]!r}"


def _alike(one: Any, other: Any) -> bool:
    """Say whether two values are the same; of numbers an order of adding may change the last digits."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (isnan(one) and isnan(other))
    return bool(one == other)


def look_at(checkout: Path) -> Facts:
    """Run everything with the `gradus` of a checkout, and return what it did, by name."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        environment = os.environ | SETTINGS | {"GRADUS_HOME": f"{folder}/home", "PREFECT_HOME": f"{folder}/prefect"}
        for name in ("PYTHONPATH", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
            environment.pop(name, None)
        for name, text in FILES.items():
            (folder / name).write_text(text)
        runs: dict[str, str] = {}
        facts: Facts = {}
        start = partial(subprocess.run, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        for name, command in RUNS.items():
            printed = start([f"{checkout}/.venv/bin/gradus", *command.split()], stdin=subprocess.DEVNULL).stdout
            runs[name] = json.loads(printed)["run_id"]
            facts |= _outcome(command, 0, printed, "")
        commands = [command.strip() for line in (PLAIN + BAD).splitlines() for command in line.split(" | ") if command]
        asked = "".join(json.dumps([runs.get(word, word) for word in each.split()]) + "\n" for each in commands)
        printed = start([f"{checkout}/.venv/bin/python", "-c", QUICKLY], input=asked).stdout
        for command, line in zip(commands, printed.splitlines(), strict=True):
            facts |= _outcome(command, *json.loads(line))
        facts |= _tracked(folder / "home", {run: name for name, run in runs.items()})
        return {name: _without(value, folder, runs) for name, value in facts.items()}


def _outcome(command: str, code: int, output: str, errors: str) -> Facts:
    """Return the exit code, and of what was printed what must not change: keys of JSON, whole tables, last words."""
    outcome: Facts = {"exit code": code}
    if output.startswith("{"):
        outcome["keys"] = sorted({key for each in _objects(output) for key in _keys(json.loads(each))})
    elif not command.startswith("run"):
        outcome["output"] = re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", output)).strip()
    if code:
        outcome["says"] = next((line for line in reversed(errors.splitlines()) if re.search(r"\w", line)), "")
    return {f"$ gradus {command}: {key}": value for key, value in outcome.items()}


def _objects(output: str) -> list[str]:
    """Return the JSON objects of an output, which has one in all or one a line."""
    lines = output.strip().splitlines()
    return lines if all(line.startswith("{") and line.endswith("}") for line in lines) else [output]


def _keys(value: Any, name: str = "") -> Iterator[str]:
    """Yield the dotted keys of a JSON value with the type of what they lead to; of a list, those of all its items."""
    yield f"{name}: {type(value).__name__}"
    for key, below in value.items() if isinstance(value, dict) else (("[]", each) for each in _items(value)):
        yield from _keys(below, f"{name}.{key}")


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tracked(home: Path, names: dict[str, str]) -> Facts:
    """Return what MLflow holds: `names` are what runs go by, by id."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    facts: Facts = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            name = names.get(run.info.run_id, run.data.tags.get("mlflow.runName", ""))
            at = f"{experiment.name}, {name}"
            facts[f"{at}: status"] = run.info.status
            facts |= {f"{at}: parameter {key}": value for key, value in run.data.params.items()}
            facts |= {f"{at}: tag {key}": True for key in run.data.tags}
            facts |= {f"{at}: artifact {path}": True for path in _artifacts(client, run.info.run_id)}
            for key in run.data.metrics:
                points = [[point.step, point.value] for point in client.get_metric_history(run.info.run_id, key)]
                facts[f"{at}: metric {key}"] = True if DIFFERS_BY_NATURE.search(key) else sorted(points)
    for model in client.search_registered_models():
        facts[f"{model.name}: aliases"] = dict(model.aliases)
        for version in client.search_model_versions(f"name='{model.name}'"):
            facts[f"{model.name}/{version.version}: tags"] = sorted(version.tags)
    return facts


def _artifacts(client: MlflowClient, run: str, folder: str | None = None) -> Iterator[str]:
    for found in client.list_artifacts(run, folder):
        if found.is_dir:
            yield from _artifacts(client, run, found.path)
        else:
            yield found.path


def _without(value: Any, folder: Path, runs: dict[str, str]) -> Any:
    """Take out of a text what differs from run to run: folders, ids, times."""
    if not isinstance(value, str):
        return value
    for name, run in runs.items():
        value = value.replace(run, name).replace(run[:8], name)
    value = value.replace(str(folder), "FOLDER")
    value = re.sub(r"\b[0-9a-f]{8,64}\b", "ID", value)
    return re.sub(r"\d+(\.\d+)? (ms|s|min|minutes?|seconds?|MB|GB|MiB|GiB|KiB)\b", "SOME", value)


if __name__ == "__main__":
    main()
