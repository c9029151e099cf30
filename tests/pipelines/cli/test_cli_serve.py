"""`gradus serve`: what cannot be served is one line, and a real process answers, drains and ends."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import openai
import pytest
from typer.testing import CliRunner, Result

from components.models.saved.classifier import load_classifier
from components.serving.http.server import bind
from components.serving.language_model import DEFAULTS, load_responder
from pipelines.cli.main import app
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[3]
KEY = "a-key-of-23-characters!"


def gradus(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, ["serve", *map(str, arguments)], env={"COLUMNS": "200", **environment})


@contextmanager
def served(*arguments: str | Path, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", httpx.Client]]:
    """Start `gradus serve` on a free port, and wait until it says where it is."""
    command = [sys.executable, "-c", "from pipelines.cli.start import main; main()", "serve"]
    process = subprocess.Popen(
        [*command, *map(str, arguments), "--port=0"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stderr
        lines = [process.stderr.readline()]
        while not (found := re.search(r"is served on (\S+) ", lines[-1])):
            assert lines[-1], lines
            lines.append(process.stderr.readline())
        with httpx.Client(base_url=found[1], trust_env=False, timeout=PATIENCE) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def test_a_port_in_use_is_one_line_and_no_model_is_loaded(saved_model: Path) -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        done = gradus(saved_model, "--port", port)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"port {port}: something listens there already; choose another with --port" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere", "--port=0"], 1, "'nowhere' is neither a folder nor a model's address"),
        ([".", "--port=0", "--api-key-env=NO_SUCH_KEY"], 2, "NO_SUCH_KEY, which is not set"),
        ([".", "--port=0", "--host=no.such.host.invalid"], 2, "no.such.host.invalid: no such address"),
        ([".", "--port=0"], 1, "no model that Gradus saved"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    arguments: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = gradus(*arguments)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert says in done.stderr


def test_a_key_on_the_command_line_is_refused_and_not_repeated(saved_model: Path) -> None:
    done = gradus(saved_model, "--port=0", "--api-key-env=sk-abcdefghijklmnop")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "takes the name of an environment variable" in done.stderr
    assert "abcdefgh" not in done.stderr
    bad = gradus(saved_model, "--port=0", GRADUS_API_KEY="ké-abcdefghijklmnop")
    assert (bad.exit_code, "no header can carry" in bad.stderr, "abcdefgh" in bad.stderr) == (2, True, False)


def test_whoever_listens_beyond_this_machine_is_warned_unless_there_is_a_key(tmp_path: Path) -> None:
    done = gradus(tmp_path, "--port=0", "--host=0.0.0.0")
    assert "whoever can reach 0.0.0.0 may ask this model: set a key in GRADUS_API_KEY" in done.stderr
    done = gradus(tmp_path, "--port=0", "--host=0.0.0.0", GRADUS_API_KEY=KEY)
    assert "may ask this model" not in done.stderr


@pytest.mark.ci
def test_a_language_model_is_asked_in_a_process_and_ends_when_it_has_answered(saved_language_model: Path) -> None:
    with served(saved_language_model, "--name=tuned", "--precision=fp32", GRADUS_API_KEY=KEY) as (process, client):
        address = f"{client.base_url}/v1"
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=address, api_key="wrong").models.list()
        asked = openai.OpenAI(base_url=address, api_key=KEY, timeout=PATIENCE, max_retries=0)
        stream = asked.chat.completions.create(
            model="tuned", messages=[{"role": "user", "content": "Say hello"}], stream=True, max_tokens=60
        )
        pieces = [next(iter(stream))]
        process.send_signal(signal.SIGTERM)
        pieces += list(stream)
        config = DEFAULTS.model_copy(update={"precision": "fp32", "max_new_tokens": 60})
        expected = load_responder(saved_language_model).respond(["Say hello"], config=config)["response"][0]
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected
        code, said = ended(process)
    assert code == 0, said
    assert "Traceback" not in said
    assert KEY not in said


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_classifier_is_asked_in_a_process_and_ends_at_once_when_idle(saved_model: Path, how: signal.Signals) -> None:
    with served(saved_model, "--name=spam") as (process, client):
        found = client.post("/predict", json={"text": ["hello", "you won"]}).json()["predictions"]
        expected = load_classifier(saved_model).predict(["hello", "you won"])
        assert [each["label"] for each in found] == expected["label"].tolist()
        assert [each["probability"] for each in found] == pytest.approx(expected["probability"].tolist(), abs=1e-6)
        process.send_signal(how)
        code, said = ended(process)
    assert (code, said) == (0, "gradus: ending\n")


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait(saved_language_model: Path) -> None:
    with served(saved_language_model, "--precision=fp32", "--batch-size=1") as (process, client):
        name = client.get("/v1/models").json()["data"][0]["id"]
        body = {"model": name, "prompt": ["a"] * 200, "max_tokens": 90}
        thread = threading.Thread(target=lambda: _ask(client, body))
        thread.start()
        while "gradus_queue_length 0.0" in client.get("/metrics").text:
            pass
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert "ending once 1 requests are answered" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
        thread.join()
    assert code == 130
    assert "Traceback" not in said


def _ask(client: httpx.Client, body: dict[str, object]) -> None:
    with suppress(httpx.TransportError):  # which is cut
        client.post("/v1/completions", json=body)
