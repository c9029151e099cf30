"""Logs as JSON on request, each line with the runs that it is of."""

import json
import logging
import subprocess
import sys

import pytest

from components.core.errors import ConfigError
from pipelines.service.structured_logs import logs_of_run


def test_each_line_names_its_runs_and_the_handlers_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADUS_LOG_FORMAT", "json")
    logger = logging.getLogger("of.a.library")
    logger.propagate = False
    before = logging.StreamHandler(sys.stderr)
    logger.addHandler(before)
    try:
        with logs_of_run("abc"):
            logger.warning("a line\nand another")
        assert logger.handlers == [before]
    finally:
        logger.removeHandler(before)
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"]) == ("WARNING", "of.a.library")
    assert (line["message"], line["mlflow_run_id"]) == ("a line\nand another", "abc")
    assert line["time"]


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_LOG_FORMAT", "xml")
    with pytest.raises(ConfigError, match="GRADUS_LOG_FORMAT is 'xml'"), logs_of_run("abc"):
        pass


@pytest.mark.slow
def test_a_run_says_it_of_all_that_its_steps_log(environment: dict[str, str]) -> None:
    keys = ["--limit", "300", "--set", "train.max_steps=3", "--set", "tracking.system_metrics=false"]
    command = [
        sys.executable,
        "-c",
        "from pipelines.cli.start import main; main()",
        "run",
        "spam-demo",
        *keys,
        "--json",
    ]
    done = subprocess.run(
        command, env=environment | {"GRADUS_LOG_FORMAT": "json"}, text=True, capture_output=True, check=True
    )
    run = json.loads(done.stdout)["run_id"]
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    steps = [line for line in lines if "done in" in line["message"]]
    assert len(steps) >= 4
    assert {line["mlflow_run_id"] for line in steps} == {run}
    assert len({line["flow_run_id"] for line in steps}) == 1
    assert steps[0]["flow_run_id"]
