"""Judges that have no time: how long they are waited for, and what the user is told to do."""

import logging
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from components.core.errors import JudgeUnreachable
from components.judging.config import JudgeConfig
from components.judging.forecast import look_for_judge
from tests.judging.bench import ROWS, Bench
from tests.judging.serving import OllamaServer

THIRD = '"response": "Number 3!"'
NAMES = {"llama3:latest": "sha256:1", "llama3": "sha256:1"}


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["ollama", "openai"])
@pytest.mark.parametrize(("asked", "least"), [("1.5", 1.5), ("0.25", 0.25), (" 1 ", 1.0)])
def test_a_fraction_of_a_second_may_be_asked_for(
    ollama: OllamaServer, bench: Bench, kind: str, asked: str, least: float
) -> None:
    ollama.behave(fault="429", where=THIRD, headers={"Retry-After": asked}, times=1, models=NAMES)
    started = time.monotonic()
    facts = bench.judge(ollama, also=[], kind=kind)
    assert time.monotonic() - started >= least
    assert facts["counts"]["model"] == {"scored": ROWS, "unparsed": 0}


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["ollama", "openai"])
@pytest.mark.parametrize("attempts", [2, 4])
def test_without_a_time_a_minute_is_waited_for_at_the_default_back_off(
    ollama: OllamaServer, bench: Bench, caplog: pytest.LogCaptureFixture, kind: str, attempts: int
) -> None:
    ollama.behave(fault="429", where=THIRD, models=NAMES)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(JudgeUnreachable, match=f"answered 429 .*gave up after attempt {attempts}; wait a while, or low"),
    ):
        bench.judge(ollama, also=[], kind=kind, attempts=attempts, backoff=0.02)
    waits = [float(found) for found in re.findall(r"again in ([\d.]+) s", caplog.text)]
    assert len(waits) == attempts - 1
    assert sum(waits) >= 60 * 0.02 - 0.05 * attempts  # the log rounds


@pytest.mark.ci
@pytest.mark.parametrize(
    ("settings", "fault", "todo"),
    [
        ({"concurrency": 1}, "429", "wait a while;"),
        ({"concurrency": 1}, "500", "see what the server's own log says;"),
        ({"kind": "openai"}, "503", "see what the server's own log says, or lower judge.concurrency;"),
        ({"kind": "openai", "timeout": 1}, "stall", "raise judge.timeout, or lower judge.concurrency;"),
    ],
)
def test_a_server_that_answers_need_not_be_started(
    ollama: OllamaServer, bench: Bench, settings: dict[str, Any], fault: str, todo: str
) -> None:
    ollama.behave(fault=fault, where=THIRD, models=NAMES)
    with pytest.raises(JudgeUnreachable) as failure:
        bench.judge(ollama, also=[], **settings)
    assert f"; {todo}" in str(failure.value)
    assert "start it" not in str(failure.value)


class Busy(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(429)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.long
def test_a_check_says_the_same() -> None:
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        judge = look_for_judge(JudgeConfig(url=f"http://127.0.0.1:{server.server_port}"), 10)
        server.shutdown()
    assert "answered 429" in judge["problem"]
    assert judge["problem"].endswith("; wait a while, or lower judge.concurrency")
    assert len(Busy.asked) == 1, "a check does not wait and try again"
