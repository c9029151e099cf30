"""`gradus check`: what it finds out, that a run goes on from it, and how it fails."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from components.core.errors import ConfigError, DataRejected
from components.models.tokenizer import load_tokenizer
from components.tasks import download, split, validate
from pipelines.check import check
from pipelines.config import load_config
from tests.pipelines.commands import gradus

ROOT = Path(__file__).parents[3]
TINY = ["model.size={layers: 2, heads: 2, width: 16, context: 64}", "train.eval_batches=2"]
WORDS = load_tokenizer("sample://vocabulary.tiktoken").n_vocab


def weights(folder: Path, vocabulary: int = WORDS, context: int = 64) -> Path:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=context, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder / "gpt2")
    return folder / "gpt2"


@pytest.mark.ci
def test_everything_about_the_demo() -> None:
    found = check(load_config("spam-demo", [*TINY, "train.padding=train", "train.max_length=30"]))
    assert (found.missing, found.zero_shot, found.no_zero_shot) == ([], None, "the weights are random")
    assert (found.data["rows"], found.data["rows_used"], len(found.data["warnings"])) == (3554, 3535, 4)
    classes = found.data["classes"]
    assert classes["train"] == {"ham": 637, "spam": 637}
    dealt = [classes[stage] for stage in ("train, before balancing", "validation", "test")]
    assert {label: sum(part[label] for part in dealt) for label in ("ham", "spam")} == classes["validated"]
    assert found.data["overlap"]["test"] == {"exact": 0, "folded": 0, "near": 0}
    assert found.texts is not None
    train = found.texts["lengths"][0]
    assert (train["split"], train["texts"], train["limit"]) == ("train", 1274, 30)
    assert 0 < train["cut_texts"] < train["cut_tokens"] < train["tokens"]
    assert {sample["label"] for sample in found.texts["samples"]} == {"ham", "spam"}
    assert all(len(sample["ids"]) <= sample["padded_to"] == 30 for sample in found.texts["samples"])
    assert found.cost is not None
    assert (found.cost.plan.steps, found.cost.plan.evaluations) == (474, 11)
    assert found.cost.timing is not None


@pytest.mark.ci
@pytest.mark.usefixtures("prefect_server")
def test_a_run_takes_the_data_from_the_check() -> None:
    config = load_config("spam-demo", TINY)
    assert check(config).data["cached_steps"] == []
    source = download(config.source)
    table = validate(source, config.validation)
    dealt = split(table, config.split, config.balance)
    assert [step.cached for step in (source, table, dealt)] == [True, True, True]
    assert check(config).data["cached_steps"] == ["download", "validate", "split"]


def test_pretrained_weights_are_asked(tmp_path: Path) -> None:
    found = check(load_config("spam-demo", [*TINY, f"model.weights={weights(tmp_path)}"]))
    assert found.missing == []
    assert found.zero_shot is not None
    assert len(found.zero_shot["guesses"]) == 20
    assert "ham or spam?" in found.zero_shot["prompt"]


def test_weights_of_another_vocabulary_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    found = check(load_config("spam-demo", [*TINY, f"model.weights={weights(tmp_path, vocabulary=99)}"]))
    [missing] = found.missing
    assert "wte.weight has shape (99, 16)" in missing
    assert found.cost is not None
    assert found.zero_shot is None


def test_a_context_too_small_for_the_question_is_no_reason_to_lose_the_rest(tmp_path: Path) -> None:
    size = "model.size={layers: 2, heads: 2, width: 16, context: 16}"
    found = check(load_config("spam-demo", [*TINY, size, f"model.weights={weights(tmp_path, context=16)}"]))
    assert (found.missing, found.zero_shot) == ([], None)
    assert found.no_zero_shot == "the prompt does not fit the model's context"
    assert found.cost is not None


def test_what_a_run_refuses_is_refused(saved_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.warmup=474 is 474 steps, but the run has 474"):
        check(load_config("spam-demo", [*TINY, "train.warmup=474"]))
    with pytest.raises(ConfigError, match=r"trained with another vocabulary than model.vocabulary"):
        check(load_config("spam-demo", [*TINY, f"model.weights={saved_model}"]))


@pytest.mark.ci
def test_rejected_data_is_rejected_as_in_a_run() -> None:
    with pytest.raises(DataRejected) as caught:
        check(load_config("spam-demo", [*TINY, "validation.text_not_blank.severity=error"]))
    assert caught.value.evidence is not None
    assert (caught.value.evidence / "report.html").exists()


def test_the_command_prints_all_of_it() -> None:
    overrides = [f"--set={override}" for override in TINY]
    done = gradus("check", "spam-demo", *overrides)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "gradus: checking spam-demo; nothing is trained\n"
    for title in (
        "3,554 rows",
        "test in train",
        "tokens cut off",
        "  ids ",
        "optimiser",
        "one step",
    ):
        assert title in done.stdout
    assert re.search(r"\|\w+\| \w+\|", done.stdout), "tokens have bars between them where there is no colour"
    as_json = gradus("check", "spam-demo", *overrides, "--json")
    found = json.loads(as_json.stdout)
    assert found["cost"]["plan"] == {"steps_per_epoch": 79, "steps": 474, "evaluations": 11}
    assert found["data"]["cached_steps"] == ["download", "validate", "split"]


@pytest.mark.slow
def test_missing_weights_come_last_and_exit_with_1() -> None:
    done = gradus("check", "spam-demo", *(f"--set={override}" for override in [*TINY, "model.weights=./nowhere"]))
    assert done.returncode == 1
    assert "one step" in done.stdout
    assert done.stderr.splitlines()[-1] == "gradus: there is no folder ./nowhere; check model.weights"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["spam-dem"], 2, "there is no preset 'spam-dem', did you mean 'spam-demo'?"),
        (["spam-demo", "--set", "train.max_length=500"], 2, "set it to 128 or less"),
        (["spam-demo", "--set", "source.url=nowhere.tsv"], 1, "nowhere.tsv"),
    ],
)
def test_what_cannot_be_checked_is_one_line(arguments: list[str], code: int, message: str) -> None:
    done = gradus("check", *arguments)
    assert done.returncode == code
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is counted differently elsewhere")
def test_the_memory_that_is_announced_is_what_a_whole_run_takes(prefect_server: None, tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    options = [
        "model.size={layers: 4, heads: 4, width: 256, context: 128}",
        "train.batch_size=256",
        "train.max_steps=2",
        "train.eval_batches=1",
        "train.device=cpu",
    ]
    overrides = [f"--set={option}" for option in options]
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "run", "spam-demo", *overrides]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    asked = [*command[:3], "check", *command[4:], "--json"]
    memory = json.loads(subprocess.run(asked, env=environment, stdout=-1, check=True).stdout)["cost"]["memory"]
    with (tmp_path / "said.txt").open("w+") as said:
        run = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        taken = 0
        while run.poll() is None:
            taken = max(taken, peak_of(run.pid))
            time.sleep(0.05)
        said.seek(0)
        assert run.returncode == 0, said.read()
    assert memory["total"] / taken == pytest.approx(1, abs=0.3)


def peak_of(pid: int) -> int:
    """The most bytes that a running process has held; `ru_maxrss` begins with what the one that started it had."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


@pytest.mark.parametrize(
    ("severity", "code", "words"),
    [("warn", 0, "expect_column_values_to_match_regex.text"), ("error", 3, "validation.expectations")],
)
def test_an_expectation_that_a_preset_names_counts_like_ours(severity: str, code: int, words: str) -> None:
    named = {"type": "expect_column_values_to_match_regex", "column": "text", "kwargs": {"regex": "[aeiou]"}}
    expectations = json.dumps([{**named, "severity": severity}])
    done = gradus(
        "check", "spam-demo", *(f"--set={each}" for each in TINY), f"--set=validation.expectations={expectations}"
    )
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
