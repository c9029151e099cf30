"""`gradus check` of an instruction preset: what it finds out, that a run goes on from it, and how it fails."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.core.errors import ConfigError, DataRejected
from components.judging.spending import LimitReached
from components.tasks import download, fetch_weights
from components.tasks.instruction import look_ahead, split, validate
from pipelines.check import check
from pipelines.config import load_config
from pipelines.kinds.instruction.config import InstructionConfig
from tests.judging.serving import OllamaServer, serve
from tests.pipelines.commands import gradus

TINY = {"layers": 2, "heads": 2, "width": 16, "context": 128}
PLURALS = ("mouse mice", "house houses", "goose geese", "leaf leaves", "child children", "box boxes")


def write_preset(folder: Path, entries: list[dict[str, str]] | None = None, **sections: Any) -> str:
    """Write a preset and its data: 60 entries, a third of them without an input."""
    data = folder / "entries.json"
    data.write_text(json.dumps(make_entries() if entries is None else entries))
    preset = {
        "pipeline": "instruction",
        "source": {"url": str(data), "columns": dict.fromkeys(("instruction", "input", "output", "task"))},
        "prompt": {
            "template": {"instruction": "Q: {instruction}", "input": "\nI: {input}", "response": "\nA: {output}"}
        },
        "model": {"size": TINY, "weights": "random", "vocabulary": "sample://vocabulary.tiktoken"},
        "train": {"batch_size": 4, "precision": "fp32", "device": "cpu", "eval_batches": 2},
        "generation": {"max_new_tokens": 10, "precision": "fp32"},
        "judge": {"kind": "lexical"},
    }
    preset["source"]["columns"] = {name: name for name in preset["source"]["columns"]}
    for name, section in sections.items():
        preset[name] = {**preset.get(name, {}), **section}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(preset))
    return str(path)


def make_entries(count: int = 60) -> list[dict[str, str]]:
    entries = []
    for number in range(count):
        word, plural = PLURALS[number % len(PLURALS)].split()
        if number % 3:
            entry = {
                "instruction": f"Give the plural, case {number}.",
                "input": word,
                "output": plural,
                "task": "plural",
            }
        else:
            entry = {"instruction": f"Say {number} twice.", "input": "", "output": f"{number} {number}", "task": "echo"}
        entries.append(entry)
    return entries


def config_of(folder: Path, **sections: Any) -> InstructionConfig:
    config = load_config(write_preset(folder, **sections))
    assert isinstance(config, InstructionConfig)
    return config


@pytest.mark.slow
def test_everything_about_a_preset(tmp_path: Path) -> None:
    found = check(config_of(tmp_path, train={"epochs": 3, "eval_every": 10}))
    assert found.missing == []
    data = found.data
    assert (data["rows"], data["rows_used"], data["splits"]) == (60, 60, {"train": 51, "validation": 3, "test": 6})
    assert data["empty_inputs"] == pytest.approx(1 / 3)
    assert sum(data["tasks"]["train"].values()) == 51
    assert {name for counts in data["tasks"].values() for name in counts} == {"plural", "echo"}
    assert data["overlap"]["test"] == {"exact": 0, "folded": 0, "near": 0}
    assert {line["name"] for line in data["expectations"]} >= {"length", "duplicates", "empty_inputs"}

    texts = found.texts
    assert texts is not None
    assert (texts["template"], texts["context"], texts["max_new_tokens"]) == ("own", 128, 10)
    shown = ["".join(sample["pieces"]) for sample in texts["samples"]]
    assert len(shown) == 2, "one with an input, one without"
    assert sorted("\nI: " in text for text in shown) == [False, True]
    assert all(re.fullmatch(r"Q: .*\nA: .*<\|endoftext\|>", text, re.DOTALL) for text in shown)
    learnt = [
        "".join(piece for piece, known in zip(sample["pieces"], sample["learnt"], strict=True) if known)
        for sample in texts["samples"]
    ]
    assert learnt == [text.partition("\nA:")[2] for text in shown]
    lengths = texts["lengths"]["train"]
    assert lengths["entry"]["tokens"] == lengths["prompt"]["tokens"] + lengths["response"]["tokens"]
    trained = lengths["response"]["tokens"] + 51  # each ends with one token more, and the last prompt token foretells
    assert texts["trained_share"] == pytest.approx(trained / lengths["entry"]["tokens"])
    assert [each["batching"] for each in texts["batchings"]] == ["padded", "length", "packed"]

    assert found.cost is not None
    assert vars(found.cost.plan) == {"steps_per_epoch": 12, "steps": 36, "evaluations": 5}
    assert found.cost.memory.logits > 0
    assert found.cost.timing is not None
    assert found.answering is not None
    assert found.answering["seconds"] <= found.answering["most_seconds"]
    assert found.cost.timing.testing == pytest.approx(found.answering["seconds"] + found.answering["most_seconds"])
    assert found.judge is not None
    assert (found.judge["is_language_model"], found.judge["verdicts"], found.judge["problem"]) == (False, 24, "")


@pytest.mark.ci
@pytest.mark.usefixtures("prefect_server")
def test_a_run_takes_the_data_from_the_check(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert check(config).data["cached_steps"] == []
    source = download(config.source)
    table = validate(source, config.validation, config.prompt, config.model)
    dealt = split(table, config.split)
    assert [step.cached for step in (source, table, dealt)] == [True, True, True]
    assert check(config).data["cached_steps"] == ["download", "validate", "split"]


@pytest.mark.ci
def test_what_truncation_cuts_is_counted(tmp_path: Path) -> None:
    long = [{"instruction": f"Tell it {'again ' * 40}{number}.", "input": "", "output": "yes"} for number in range(6)]
    entries = [{**entry, "task": "echo"} for entry in [*make_entries(54), *long]]
    found = check(config_of(tmp_path, entries=entries, train={"max_length": 30}, generation={"max_new_tokens": 90}))
    assert found.texts is not None
    cuts = {cut["split"]: cut for cut in found.texts["cuts"]}
    assert sum(cut["without_response"] for cut in cuts.values()) == 6
    assert sum(cut["no_room"] for cut in cuts.values()) == 6
    assert cuts["train"]["cut_entries"] >= cuts["train"]["without_response"] > 0
    [whole] = [sample for sample in found.texts["samples"] if sample["lost"]]
    assert sum(whole["learnt"]) == 0
    assert len(whole["ids"]) == 31


@pytest.mark.ci
def test_entries_that_do_not_fit_the_context_show(tmp_path: Path) -> None:
    long = {"instruction": f"Tell it {'again ' * 300}.", "input": "", "output": "yes", "task": "echo"}
    found = check(config_of(tmp_path, entries=[*make_entries(), long]))
    [length] = [line for line in found.data["expectations"] if line["name"] == "length"]
    assert length["failing_rows"] == 1
    assert found.data["rows_used"] == 60
    with pytest.raises(DataRejected, match="length"):
        check(config_of(tmp_path, entries=[*make_entries(), long], validation={"length": {"severity": "error"}}))


def test_a_run_that_would_learn_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing can be learnt: every target of the 51 train entries is masked"):
        check(config_of(tmp_path, train={"max_length": 3}))
    found = check(config_of(tmp_path, train={"max_length": 3, "mask_prompt": False}))
    assert found.texts is not None
    assert found.texts["trained_share"] == 1
    assert all(cut["without_response"] == cut["entries"] for cut in found.texts["cuts"])
    with pytest.raises(ConfigError, match=r"train.warmup=24 is 24 steps, but the run has 24"):
        check(config_of(tmp_path, train={"warmup": 24}))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"trainable": "lora", "gradient_checkpointing": True}, {"batching": "packed"}])
def test_other_recipes_are_estimated_as_well(tmp_path: Path, options: dict[str, Any]) -> None:
    found = check(config_of(tmp_path, train=options))
    assert found.cost is not None
    parts = {part.name: part for part in found.cost.parameters}
    assert ("adapters" in parts) == ("trainable" in options)
    assert (parts["blocks"].trained == 0) == ("trainable" in options)
    assert found.cost.timing is not None


@pytest.mark.ci
def test_missing_weights_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    found = check(config_of(tmp_path, model={"weights": "./nowhere"}))
    assert found.missing == ["there is no folder ./nowhere; check model.weights"]
    assert found.cost is not None
    assert found.cost.timing is not None
    assert found.judge is not None


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaServer]:
    with serve(tmp_path / "ollama") as server:
        yield server


@pytest.mark.ci
def test_the_judge_is_looked_up_and_asked_nothing(tmp_path: Path, ollama: OllamaServer) -> None:
    asked = {"kind": "ollama", "model": "llama3", "url": ollama.url, "repeats": 2}
    judge = check(config_of(tmp_path, judge=asked)).judge
    assert judge is not None
    assert judge["problem"] == ""
    assert judge["name"] == "llama3 (Ollama, 365c365c365c)"
    assert judge["verdicts"] == 6 * 4 * 2
    assert {request["path"] for request in ollama.requests} == {"/api/tags"}


def test_what_a_judge_will_take_is_forecast_and_a_limit_that_is_surely_too_low_refused(
    tmp_path: Path, ollama: OllamaServer
) -> None:
    asked = {"kind": "ollama", "url": ollama.url, "price_in": 2.0, "price_out": 10.0}
    found = check(config_of(tmp_path, judge=asked))
    usage = found.judge["usage"]
    assert usage["requests"] == found.judge["verdicts"] == 6 * 4
    assert usage["cost"] == (2 * usage["tokens_in"] + 10 * usage["tokens_out"]) / 1_000_000 > 0
    assert found.missing == []
    shown = "\n".join(str(each) for each in found.shown)
    assert f"24 requests, {usage['tokens_in']:,} tokens in" in shown
    likely = check(config_of(tmp_path, judge=asked | {"max_requests": 23}))
    assert likely.missing == []
    assert "judge.max_requests=23 may stop it" in "\n".join(str(each) for each in likely.shown)
    preset = write_preset(tmp_path, judge=asked | {"max_requests": 11})
    done = gradus("check", preset)
    assert done.returncode == 1
    assert "judge.max_requests=11" in done.stderr
    config = load_config(preset)
    assert isinstance(config, InstructionConfig)
    splits = split.without_prefect(
        validate.without_prefect(
            download.without_prefect(config.source), config.validation, config.prompt, config.model
        ),
        config.split,
    )
    weights = fetch_weights.without_prefect(config.model)
    with pytest.raises(LimitReached, match=r"judge\.max_requests=11"):  # as the run does, before it trains
        look_ahead.fn(weights, config.prompt, config.judge, splits)
    assert ollama.chats == []


@pytest.mark.ci
def test_a_judge_that_cannot_be_asked_is_a_warning_that_says_what_to_do(tmp_path: Path, ollama: OllamaServer) -> None:
    def problem(model: str) -> str:
        asked = {"kind": "ollama", "model": model, "url": ollama.url, "timeout": 60}
        judge = check(config_of(tmp_path, judge=asked)).judge
        assert judge is not None
        return judge["problem"]

    assert "run `ollama pull phi3`" in problem("phi3")
    ollama.behave(site=True)
    assert "answers, but not like Ollama" in problem("llama3")
    ollama.kill()
    assert "Connection refused" in problem("llama3")
    assert "`ollama serve`" in problem("llama3")


@pytest.mark.ci
def test_the_command_prints_all_of_it(tmp_path: Path) -> None:
    preset = write_preset(tmp_path)
    down = ("--set", "judge.kind=ollama", "--set", "judge.url=http://127.0.0.1:9")
    done = gradus("check", preset, *down)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "gradus: checking tiny; nothing is trained\n"
    for title in (
        "60 rows",
        "33.3% of the rows have no input",
        "instructions with their inputs that stand twice",
        "plural",
        "|<|endoftext|>⟧",
        "tokens are learnt",
        "no room for 10 new tokens",
        "length (chosen)",
        "logits",
        "all, while the test split is answered",
        "6 answers of the starting model",
        "It cannot be asked now: http://127.0.0.1:9: Connection refused",
        "`ollama serve`",
    ):
        assert title in done.stdout


@pytest.mark.slow
def test_the_command_prints_json_and_refuses_with_2(tmp_path: Path) -> None:
    preset = write_preset(tmp_path, judge={"kind": "ollama", "url": "http://127.0.0.1:9"})
    as_json = gradus("check", preset, "--json")
    found = json.loads(as_json.stdout)
    assert as_json.returncode == 0
    assert "ollama serve" in found["judge"]["problem"]
    assert found["texts"]["samples"][0]["learnt"][-1] is True
    refused = gradus("check", preset, "--set", "train.max_length=3")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("gradus: nothing can be learnt: every target")
    assert refused.stdout == ""


def test_the_mask_is_seen_with_colours_and_without(tmp_path: Path) -> None:
    from pipelines.check import STRIPES, tokens

    found = check(config_of(tmp_path))
    assert found.texts is not None
    for sample in found.texts["samples"]:
        prompt, asked, response = "".join(sample["pieces"]).partition("\nA:")
        before, _, marked = tokens(sample["pieces"], ("⟦", "⟧"), sample["learnt"], colour=False).plain.partition("⟦")
        assert before.replace("⏎", "").replace("\n  ", "\n") == f"  {prompt}{asked}"
        assert marked.replace("|", "") == response.replace("|", "") + "⟧"
        coloured = tokens(sample["pieces"], ("⟦", "⟧"), sample["learnt"], colour=True)
        assert coloured.plain.replace("⏎", "").replace("\n  ", "\n") == f"  {prompt}{asked}{response}"
        painted = [coloured.plain[span.start : span.end] for span in coloured.spans if span.style in STRIPES]
        assert "".join(painted) == response
        assert len(painted) == sum(sample["learnt"])
