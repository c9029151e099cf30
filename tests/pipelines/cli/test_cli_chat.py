"""`gradus respond --chat`: several turns, through a real pipe and in this process."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.conversations import Entry
from components.generation.answers import answer
from components.generation.config import GenerationConfig
from components.serving.language_model import Conversation, load_responder
from tests.pipelines.chatting import save_talker
from tests.pipelines.commands import gradus
from tests.serving.models import save_language_model

ROOT = Path(__file__).parents[3]
QUICK = ["--max-new-tokens", "6", "--precision", "fp32", "--device", "cpu"]
SHORT = GenerationConfig(max_new_tokens=6, precision="fp32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_talker(tmp_path_factory.mktemp("talker"))


def expected(model: Path, asked: list[str], system: str | None = None) -> list[str]:
    """Return what the model answers to one question after the other, each asked as a whole conversation."""
    responder, history, said = load_responder(model), [], list[str]()
    before = [{"role": "system", "content": system}] if system else []
    for text in asked:
        entry = Entry(text, "", [*before, *history])
        [found] = answer(responder.model, responder.encoding, responder.card.template, [entry], SHORT)
        said.append(found.response)
        history += [{"role": "user", "content": text}, {"role": "assistant", "content": found.response}]
    return said


@pytest.mark.ci
def test_lines_of_a_pipe_are_turns_of_one_conversation(model: Path) -> None:
    start = "from pipelines.cli.start import main; main()"
    command = [sys.executable, "-c", start, "respond", str(model), "--chat", *QUICK]
    lines = "Hi\nAnd 3?\n/reset\nAnd 3?\n/exit\nnever\n"
    done = subprocess.run(command, input=lines, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    wanted = [*expected(model, ["Hi", "And 3?"]), *expected(model, ["And 3?"])]
    assert done.stdout == "".join(f"{text}\n" for text in wanted)
    assert wanted[0] != wanted[1]
    assert "the conversation begins anew" in done.stderr


def test_a_system_message_stands_before_all_turns(model: Path) -> None:
    done = gradus("respond", model, "--chat", "--system", "Be kind.", *QUICK, stdin="Hi\nAnd 3?\n\nnever\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == "\n".join(expected(model, ["Hi", "And 3?"], "Be kind.")).split("\n")


def test_the_first_turns_are_forgotten_where_the_context_is_full_and_it_says_so(model: Path) -> None:
    done = gradus("respond", model, "--chat", *QUICK, stdin="Tell me more, please\n" * 8)
    assert done.returncode == 0, done.stderr
    assert "the first 2 turns are no longer seen: the context of the model is full" in done.stderr
    conversation = Conversation(load_responder(model), SHORT)
    for _ in range(8):
        unseen, pieces = conversation.ask("Tell me more, please")
        "".join(pieces)
    assert len(conversation.turns) == 16
    assert unseen % 2 == 0
    assert unseen > 0


def test_a_turn_longer_than_the_context_is_one_line_and_the_conversation_goes_on(model: Path) -> None:
    done = gradus("respond", model, "--chat", *QUICK, stdin="x y z " * 200 + "\nHi\n")
    assert done.returncode == 0
    assert "tokens leave no room in the context of 192; say less" in done.stderr
    assert done.stdout == expected(model, ["Hi"])[0] + "\n"


@pytest.mark.parametrize("more", [["Hi"], ["--input", "x"], ["--json"], ["--file", "x.csv"]])
def test_what_a_conversation_does_not_take_is_refused(model: Path, more: list[str]) -> None:
    done = gradus("respond", model, *more, "--chat", stdin="Hi\n")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--chat reads what is asked line by line" in done.stderr


def test_a_model_of_single_entries_does_not_talk(model: Path, tmp_path: Path) -> None:
    done = gradus("respond", save_language_model(tmp_path / "model"), "--chat", stdin="Hi\n")
    assert done.returncode == 2
    assert "was trained on single entries; train one with prompt.template=chat" in done.stderr
    done = gradus("respond", model, "Hi", "--system", "Be kind.")
    assert (done.returncode, "--system is for --chat" in done.stderr) == (2, True)
