"""`gradus respond`, and that each command names the one that a model of another kind is asked with."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from components.core.home import home
from components.generation.config import GenerationConfig
from components.serving.language_model import load_responder
from components.tracking.config import TrackingConfig
from components.tracking.registry.packages import classifier_package, language_model_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run
from pipelines.cli.main import app
from tests.serving.models import save_language_model

ROOT = Path(__file__).parents[3]
ENTRIES = [
    {"instruction": "Say hello", "input": "", "output": "hello"},
    {"instruction": "Name a [bold]bird[/bold]", "input": "in winter\nand summer"},
    {"instruction": "Grüße 🎁"},
    {"instruction": "x" * 300, "input": None},
]
QUICK = ["--max-new-tokens", "15", "--precision", "fp32", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_language_model(tmp_path_factory.mktemp("tuned") / "model")


def gradus(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def expected(model: Path, entries: Sequence[dict[str, str | None]] = ENTRIES, **options: object) -> list[str]:
    config = GenerationConfig(**{"max_new_tokens": 15, "precision": "fp32", **options})  # type: ignore[arg-type]
    instructions = [str(entry["instruction"]) for entry in entries]
    inputs = [entry.get("input") or "" for entry in entries]
    return load_responder(model).respond(instructions, inputs, config)["response"].tolist()


def test_an_instruction_is_answered_and_nothing_else_is_printed(model: Path) -> None:
    done = gradus("respond", model, "Say hello", *QUICK)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == expected(model)[0] + "\n"
    assert "1 of 1 ended at --max-new-tokens" in done.stderr
    other = gradus("respond", model, "Name a [bold]bird[/bold]", "--input", "in winter\nand summer", *QUICK)
    assert other.stdout == expected(model)[1] + "\n" != done.stdout
    assert not home().exists()


@pytest.mark.ci
@pytest.mark.parametrize("form", ["json", "jsonl", "with a mark"])
def test_a_file_of_entries_is_answered_in_order(model: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / "entries.json"
    lines = "\n\n".join(json.dumps(entry, ensure_ascii=False) for entry in ENTRIES)
    text = lines if form == "jsonl" else json.dumps(ENTRIES, indent=2, ensure_ascii=False)
    file.write_text(text, encoding="utf-8-sig" if form == "with a mark" else "utf-8")
    done = gradus("respond", model, "--file", file, "--json", *QUICK)
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(row) for row in rows] == [["instruction", "input", "response", "new_tokens", "stopped"]] * 4
    assert [row["response"] for row in rows] == expected(model)
    assert [row["input"] for row in rows] == ["", "in winter\nand summer", "", ""]
    assert rows[3]["stopped"] == "no_room"
    assert "no response to 1 of 4: the prompt alone fills the context of 96 tokens" in done.stderr


def test_entries_are_shown_above_their_responses(model: Path, tmp_path: Path) -> None:
    (tmp_path / "entries.jsonl").write_text(json.dumps(ENTRIES[1]) + "\n")
    done = gradus("respond", model, "-f", tmp_path / "entries.jsonl", *QUICK)
    shown = "> Name a [bold]bird[/bold]\n> in winter\n> and summer\n" + expected(model)[1] + "\n\n"
    assert done.stdout == shown


def test_draws_are_those_of_the_step(model: Path, tmp_path: Path) -> None:
    (tmp_path / "entries.json").write_text(json.dumps(ENTRIES))
    options = ["--temperature", "1.2", "--top-k", "30", "--top-p", "0.9", "--seed", "8", "--batch-size", "2"]
    done = gradus("respond", model, "--file", tmp_path / "entries.json", "--json", *QUICK, *options)
    drawn = expected(model, temperature=1.2, top_k=30, top_p=0.9, seed=8)
    assert [json.loads(line)["response"] for line in done.stdout.splitlines()] == drawn
    assert drawn != expected(model)


def test_an_empty_file_has_no_answers(model: Path, tmp_path: Path) -> None:
    for text in ("[]", "", "\n"):
        (tmp_path / "entries.json").write_text(text)
        done = gradus("respond", model, "--file", tmp_path / "entries.json", "--json", *QUICK)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.one_case
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"instruction": "a"},\n {"instruction" "b"}]', "is not JSON: line 2, column 17: Expecting ':'"),
        ('{"instruction": "a"}\n{"instruction": }\n', "line 2 is not JSON: Expecting value at column 17"),
        ('{"instruction": "a"}\n[]', "line 2 holds a list, not an object"),
        ('[{"instruction": "a"}, "b"]', "record 2 holds a text, not an object"),
        ('[{"instruction": ["a"]}]', "column 'instruction' of record 1 holds a list"),
        ('[{"question": "a"}]', "no column instruction: source.columns.instruction is 'instruction', and the columns"),
        ('[{"messages": 3}]', "record 1 holds a int where source.columns names the turns of a conversation"),
        ("[" * 100_000, "cannot be read as JSON: lists and objects stand in one another too deeply"),
        (b"\xff\xfe", "is not utf-8: byte 0"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(model: Path, tmp_path: Path, text: str | bytes, message: str) -> None:
    file = tmp_path / "entries.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = gradus("respond", model, "--file", file)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "there is no instruction; give INSTRUCTION, --file FILE, or --chat"),
        (["a", "--file", "b.json"], 2, "give an instruction or --file, not both"),
        (["--file", "nowhere.json"], 2, "cannot read nowhere.json: No such file"),
        (["a", "--top-k", "3"], 2, "top_k has no effect at temperature 0"),
        (["a", "--max-new-tokens", "0"], 2, "--max-new-tokens: Input should be greater"),
        (["a", "--batch-size", "0"], 2, "--batch-size: Input should be greater"),
    ],
)
def test_what_cannot_be_asked_is_one_line(model: Path, arguments: list[str], code: int, message: str) -> None:
    done = gradus("respond", model, *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_each_kind_of_model_is_sent_to_its_command(model: Path, saved_model: Path) -> None:
    for command, asked, other in (
        ("respond", saved_model, "gradus predict"),
        ("generate", saved_model, "gradus predict"),
        ("predict", model, "gradus respond"),
    ):
        done = gradus(command, asked, "hello")
        assert done.exit_code == 2
        assert f"ask it with `{other} {asked}" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_saved_language_model_goes_on_with_a_text(model: Path) -> None:
    done = gradus("generate", model, "see you", "--max-new-tokens", "10", "--precision", "fp32")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("see you")
    assert len(done.stdout) > len("see you\n") + 3


@pytest.mark.ci
def test_a_registered_model_is_asked_by_its_address(model: Path, saved_model: Path) -> None:
    with open_run(TrackingConfig(system_metrics=False), home(), "tuned", {}) as run:
        logged = log_package(run, language_model_package(model, ENTRIES[:1]), "follower")
    with open_run(TrackingConfig(system_metrics=False), home(), "spam", {}) as other:
        log_package(other, classifier_package(saved_model, ["a"]), "spam")
    assert logged["version"] == "1"
    for address in ("models:/follower@candidate", "models:/follower/1", logged["model_uri"], run.run_id):
        done = gradus("respond", address, "Say hello", *QUICK)
        assert (done.exit_code, done.stdout) == (0, expected(model)[0] + "\n"), done.stderr
    by_address = gradus("generate", "models:/follower@candidate", "see you", "--max-new-tokens", "10")
    assert by_address.stdout == gradus("generate", model, "see you", "--max-new-tokens", "10").stdout
    assert "gradus respond models:/follower/1" in gradus("predict", "models:/follower/1", "a").stderr
    assert "gradus predict models:/spam@candidate" in gradus("generate", "models:/spam@candidate", "a").stderr
    assert "no registered model" in gradus("generate", "models:/nothing@candidate", "a").stderr


@pytest.mark.slow
def test_it_runs_as_a_process(model: Path, tmp_path: Path) -> None:
    (tmp_path / "entries.json").write_text(json.dumps(ENTRIES))
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "respond", str(model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        [*command, "--file", str(tmp_path / "entries.json"), "--json", *QUICK],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["response"] for line in done.stdout.splitlines()] == expected(model)
    assert len(done.stderr.splitlines()) == 2


def test_two_models_are_shown_beside_each_other(model: Path, tmp_path: Path) -> None:
    other = save_language_model(tmp_path / "other")
    done = gradus("respond", model, "Name a [bold]bird[/bold]", "--beside", other, *QUICK)
    assert done.exit_code == 0, done.stderr
    head, _, row = done.stdout.partition("[bold]bird[/bold]")
    assert head.index("/other") < head.index("/model")
    assert row.strip()
    same = gradus("respond", model, "Say hello", "--beside", model, *QUICK)
    assert same.stdout.partition("Say hello")[0].count("/model") == 2
    refused = gradus("respond", model, "Say hello", "--beside", other, "--json", *QUICK)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--beside" in refused.stderr
