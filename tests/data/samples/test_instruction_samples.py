"""The sample data of `instruct-demo`: enough tasks, no entry twice, right answers, and what its scripts make."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import tiktoken

from components.data.samples import make_instructions, make_vocabulary
from components.data.samples.make_instructions import Entry
from components.models.tokenizer import load_tokenizer
from components.prompts import Template
from pipelines.config import load_config
from pipelines.kinds.instruction.config import InstructionConfig

ROOT = Path(__file__).parents[3]
SAMPLE = make_instructions.HERE / "instructions.json"
VOCABULARY = make_instructions.HERE / "instructions.tiktoken"
TASKS = {
    "labelling", "yes-no", "comparison", "formatting", "plural", "past-tense", "opposite", "arithmetic", "conversion",
    "rewriting", "reading", "sequence",
}  # fmt: skip


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return [Entry(**entry) for entry in json.loads(SAMPLE.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def preset() -> InstructionConfig:
    config = load_config("instruct-demo")
    assert isinstance(config, InstructionConfig)
    return config


@pytest.fixture(scope="module")
def template(preset: InstructionConfig) -> Template:
    return preset.prompt.resolved(None)


@pytest.fixture(scope="module")
def encoding(preset: InstructionConfig) -> tiktoken.Encoding:
    return load_tokenizer(preset.model.vocabulary)


def of(entries: list[Entry], task: str) -> list[Entry]:
    return [entry for entry in entries if entry.task == task]


def asked(entry: Entry) -> str:
    return f"{entry.instruction} {entry.input}".strip()


def run_script(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"components.data.samples.{module}", *arguments], check=True, cwd=ROOT)


def test_the_script_makes_the_committed_entries(tmp_path: Path) -> None:
    run_script("make_instructions", "--out", str(tmp_path / "made.json"))
    assert (tmp_path / "made.json").read_bytes() == SAMPLE.read_bytes()


@pytest.mark.ci
def test_the_script_makes_the_committed_vocabulary(tmp_path: Path) -> None:
    run_script("make_vocabulary", "--instructions", "--out", str(tmp_path / "made.tiktoken"))
    assert (tmp_path / "made.tiktoken").read_bytes() == VOCABULARY.read_bytes()


def test_another_seed_makes_other_entries(entries: list[Entry]) -> None:
    assert make_instructions.sample(make_instructions.SEED + 1) != entries


def test_the_files_end_with_a_newline_and_hold_an_entry_a_line(entries: list[Entry]) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert text.endswith("}\n]\n")
    assert len(text.splitlines()) == len(entries) + 2
    assert VOCABULARY.read_bytes().endswith(b"\n")


def test_there_are_enough_entries_of_every_task(entries: list[Entry]) -> None:
    counts = Counter(entry.task for entry in entries)
    assert 1000 <= len(entries) <= 1500
    assert counts.keys() == TASKS
    assert all(0.03 <= n / len(entries) <= 0.15 for n in counts.values()), counts


def test_no_question_is_there_twice(entries: list[Entry]) -> None:
    questions = Counter("".join(f"{entry.instruction}\0{entry.input}".casefold().split()) for entry in entries)
    assert questions.most_common(1)[0][1] == 1


def test_nothing_is_blank_or_left_unfilled(entries: list[Entry]) -> None:
    for entry in entries:
        assert entry.instruction.strip()
        assert entry.output.strip()
        for text in (entry.instruction, entry.input, entry.output):
            assert text == " ".join(text.split())
            assert not re.search(r"[{}|~]", text)


def test_every_task_is_put_in_several_ways_with_and_without_an_input(entries: list[Entry]) -> None:
    for task in TASKS:
        instructions = {re.sub(r"\d[\d,]*", "0", entry.instruction) for entry in of(entries, task)}
        assert len(instructions) >= 5, task
    assert 0.4 <= sum(bool(entry.input) for entry in entries) / len(entries) <= 0.8


def test_yes_and_no_are_balanced(entries: list[Entry]) -> None:
    answers = Counter(entry.output for entry in of(entries, "yes-no"))
    assert answers.keys() == {"yes", "no"}
    assert abs(answers["yes"] - answers["no"]) <= 4


def test_labels_are_balanced(entries: list[Entry]) -> None:
    counts = Counter(entry.output for entry in of(entries, "labelling")).values()
    assert len(counts) == 8
    assert max(counts) <= 1.5 * min(counts)


def test_the_most_common_answer_of_each_task_is_seldom_right(entries: list[Entry]) -> None:
    right = sum(Counter(entry.output for entry in of(entries, task)).most_common(1)[0][1] for task in TASKS)
    assert right / len(entries) < 0.1


def test_the_most_common_answer_of_all_is_seldom_right(entries: list[Entry]) -> None:
    assert Counter(entry.output for entry in entries).most_common(1)[0][1] / len(entries) < 0.06


def test_sums_and_differences_are_right(entries: list[Entry]) -> None:
    for entry in of(entries, "arithmetic"):
        a, b = map(int, re.findall(r"\d+", asked(entry)))
        less = re.search(r" - |minus|difference|gives|Take", asked(entry))
        assert int(entry.output) == (a - b if less else a + b), entry


def test_conversions_are_right(entries: list[Entry]) -> None:
    factors = {"kilo": 1000, "milli": 0.001}

    def size(text: str) -> float:
        amount, unit = re.fullmatch(r"([\d,]+) ((?:kilo|milli)?\w+)", text).groups()  # type: ignore[union-attr]
        prefix = next((prefix for prefix in factors if unit.startswith(prefix)), "")
        return int(amount.replace(",", "")) * factors.get(prefix, 1)

    for entry in of(entries, "conversion"):
        (amount,) = re.findall(r"\d[\d,]* \w+", asked(entry))
        assert size(amount) == pytest.approx(size(entry.output)), entry
        assert entry.output.split()[1] in asked(entry).replace(amount, ""), entry


def test_plurals_are_right(entries: list[Entry]) -> None:
    irregular = {
        "mice", "geese", "wolves", "scarves", "children", "teeth", "feet", "knives", "leaves", "shelves", "women",
    }  # fmt: skip
    rules = ((r"(s|x|ch|sh)$", r"\1es"), (r"([^aeiou])y$", r"\1ies"), (r"$", "s"))
    for entry in of(entries, "plural"):
        if entry.output not in irregular:
            noun = singular_of(entry)
            ending, replacement = next(rule for rule in rules if re.search(rule[0], noun))
            assert entry.output == re.sub(ending, replacement, noun, count=1), entry
    assert {entry.output for entry in of(entries, "plural")} >= irregular


def singular_of(entry: Entry) -> str:
    if entry.input:
        return entry.input
    found = re.search(r"(?:plural of|One|more than one) (\w+)", entry.instruction)
    assert found, entry
    return found[1]


def test_regular_past_tenses_are_right(entries: list[Entry]) -> None:
    for entry in of(entries, "past-tense"):
        if entry.output.endswith("ed"):
            stem = re.sub(r"(?:(pp|nn)|(i))?ed$", lambda m: (m[1] or "")[:1] + ("y" if m[2] else ""), entry.output)
            assert re.search(rf"\b{stem}e?\b", asked(entry)), entry


def test_comparisons_name_the_right_one_of_the_two(entries: list[Entry]) -> None:
    order = ["mouse wren", "robin sparrow", "fox goose", "goat wolf", "horse camel", "bus lorry", "church castle"]
    rank = {word: i for i, line in enumerate(order) for word in line.split()}
    for entry in of(entries, "comparison"):
        words = [word for word in re.findall(r"\w+", asked(entry)) if word in rank]
        assert len(words) == 2, entry
        choose: Callable[..., str] = max if "bigger" in entry.instruction else min
        assert entry.output.split()[1] == choose(words, key=rank.__getitem__), entry
        assert entry.output in asked(entry)


def test_yes_and_no_are_right(entries: list[Entry]) -> None:
    animals = {"otter", "badger", "fox", "wolf", "horse", "goat", "camel", "mouse"}
    animals |= {"robin", "owl", "goose", "pigeon", "sparrow", "penguin", "swan", "wren"}
    for entry in of(entries, "yes-no"):
        found = re.search(r"\d+", asked(entry))
        right = int(found[0]) % 2 == 0 if found else bool(animals & set(re.findall(r"\w+", asked(entry))))
        assert entry.output == ("yes" if right else "no"), entry


def test_opposites_hold_both_ways(entries: list[Entry]) -> None:
    pairs = set()
    for entry in of(entries, "opposite"):
        found = re.search(r"opposite of (\w+)\?", entry.instruction)
        pairs.add((found[1] if found else entry.input, entry.output))
    opposite = dict(pairs)
    assert len(opposite) == len(pairs)
    assert all(opposite.get(b, a) == a for a, b in pairs)


def test_formats_are_right(entries: list[Entry]) -> None:
    for entry in of(entries, "formatting"):
        if re.search(r"\d", entry.input):
            date = datetime.strptime(entry.input, "%B %d, %Y")
            assert entry.output == f"{date.day} {date:%B %Y}"
        elif "urname" in entry.instruction:
            assert entry.output == ", ".join(reversed(entry.input.split()))
        else:
            assert entry.output == entry.input.replace(", ", " and ")


def test_rewritten_sentences_keep_their_words(entries: list[Entry]) -> None:
    added = {"not", "could", "you", "please", "was", "by"}
    for entry in of(entries, "rewriting"):
        before, after = (Counter(re.findall(r"\w+", text.casefold())) for text in (entry.input, entry.output))
        assert set(after - before) <= added | {"the"}, entry
        assert not before - after, entry
        assert entry.output[0].isupper()
        assert entry.output[-1] in ".?"


def test_answers_to_reading_stand_in_the_text(entries: list[Entry]) -> None:
    for entry in of(entries, "reading"):
        assert re.search(rf"\b{entry.output}\b", entry.input), entry


def test_sequences_go_on_rightly(entries: list[Entry]) -> None:
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    months = [f"{datetime(2026, month, 1):%B}" for month in range(1, 13)]
    rings = (days, months, [str(n) for n in range(1, 30)])
    after = {a: b for ring in rings for a, b in zip(ring, ring[1:] + ring[:1], strict=True)}
    for entry in of(entries, "sequence"):
        (word,) = [word for word in re.findall(r"\w+", asked(entry)) if word in after]
        assert entry.output == after[word], entry


def test_the_preset_reads_everything(
    entries: list[Entry], preset: InstructionConfig, template: Template, encoding: tiktoken.Encoding
) -> None:
    longest, answer = 0, 0
    for entry in entries:
        prompt, completion = template.prompt(entry.instruction, entry.input), template.completion(entry.output)
        tokens = encoding.encode_ordinary(prompt + completion)
        assert encoding.decode(tokens) == prompt + completion
        assert template.clean(completion) == entry.output
        longest = max(longest, len(tokens) + 1)
        answer = max(answer, len(encoding.encode_ordinary(completion)) + 1)
    assert longest <= preset.model.shape.context
    assert answer <= preset.generation.max_new_tokens


def test_the_vocabulary_is_made_of_the_presets_prompts(entries: list[Entry], template: Template) -> None:
    with_input = next(entry for entry in entries if entry.input)
    ours = make_vocabulary.PROMPT.format(instruction=with_input.instruction, input=with_input.input)
    assert template.prompt(with_input.instruction, with_input.input) == ours


def test_a_word_and_its_ending_are_tokens_apart(encoding: tiktoken.Encoding) -> None:
    assert [encoding.decode([token]) for token in encoding.encode_ordinary(" foxes")] == [" fox", "es"]
    assert [encoding.decode([token]) for token in encoding.encode_ordinary(" 3,000")] == [" 3", ",", "000"]
