"""`gradus generate`: what it prints, and how it refuses."""

from subprocess import CompletedProcess

import pytest

from components.core.home import home
from pipelines.shown import harmless
from tests.pipelines.commands import gradus

SMALL = ["--size", "{layers: 1, heads: 2, width: 16, context: 32}", "--vocabulary", "sample://vocabulary.tiktoken"]


def generate(*arguments: str) -> CompletedProcess[str]:
    return gradus("generate", *arguments, COLUMNS="200")


@pytest.mark.ci
def test_it_goes_on_with_the_prompt_the_same_way_each_time() -> None:
    options = [*SMALL, "--max-new-tokens", "8", "--temperature", "1", "--top-p", "0.9"]
    done = generate("random", "Grüße [bold]an alle[/bold]", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Grüße [bold]an alle[/bold]")
    assert len(done.stdout) > len("Grüße [bold]an alle[/bold]\n")
    assert generate("random", "Grüße [bold]an alle[/bold]", *options).stdout == done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("prompt", "options"),
    [("see you", ["1e-38"]), ("see you", ["1", "--top-p", "1e-9"]), ("", ["1", "--top-k", "99999"])],
)
def test_extreme_options_and_an_empty_prompt_are_no_trouble(prompt: str, options: list[str]) -> None:
    done = generate("random", prompt, *SMALL, "--max-new-tokens", "4", "--temperature", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.removeprefix(prompt).strip("\n")


def test_a_prompt_beyond_the_context_is_said_to_be_cut() -> None:
    done = generate("random", "see you soon " * 40, *SMALL, "--max-new-tokens", "3")
    assert done.returncode == 0, done.stderr
    assert "the model sees the last 32" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["random", "x"], 2, "gradus: random weights have no size: give --size"),
        (["random", "x", "--size", "125M"], 2, "gradus: --size 125M: Input should be"),
        (["random", "x", "--size", "{layers: 1, heads: 3, width: 16, context: 9}"], 2, "not divisible by heads 3"),
        (["random", "x", "--top-k", "5"], 2, "gradus: top_k has no effect at temperature 0: set temperature=1"),
        (["random", "x", "--temperature", "-1"], 2, "gradus: --temperature: Input should be greater"),
        (["random", "x", "--temperature", "nan"], 2, "gradus: --temperature: Input should be"),
        (["random", "x", "--temperature", "1", "--top-k", "0"], 2, "gradus: --top-k: Input should be greater"),
        (["random", "x", "--max-new-tokens", "0"], 2, "gradus: --max-new-tokens: Input should be greater"),
        (["./nowhere", "x"], 1, "gradus: there is no folder ./nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], code: int, message: str) -> None:
    done = generate(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not home().exists()


def test_a_terminal_gets_no_control_characters() -> None:
    assert harmless("a\tb\nc\x1b[2J é🎁") == "a\tb\nc\ufffd[2J é🎁"
