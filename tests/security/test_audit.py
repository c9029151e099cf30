"""`make audit` says in one line what came of it. No test takes the network: a script answers as `pip-audit` does."""

import json
from pathlib import Path

import pytest

from tests.security.audit import CLEAN, FOUND, UNKNOWN, main

FAULT = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "much\ntext"}
GOOD, BAD = {"name": "a", "version": "1.0", "vulns": []}, {"name": "b", "version": "1.0", "vulns": [FAULT]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1.0)"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([GOOD, GOOD], CLEAN, ["audit: 2 packages, known vulnerabilities: 0"]),
        ([GOOD, BAD], FOUND, ["b 1.0: PYSEC-1, mended in 1.1", "audit: 2 packages, known vulnerabilities: 1"]),
        ([GOOD, SKIPPED], UNKNOWN, ["audit: 1 of 2 packages could not be looked up, the first: Dependency not found"]),
        ([BAD, SKIPPED], FOUND, ["b 1.0: PYSEC-1, mended in 1.1", "audit: 1 of 2 packages could not be looked up"]),
        (None, UNKNOWN, ["audit: nothing is known of constraints.txt: ConnectionError: no route; connect to the netw"]),
    ],
)
def test_what_it_says(
    packages: list[object] | None, code: int, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = (
        f"printf %s '{json.dumps({'dependencies': packages})}'" if packages else ">&2 echo 'ConnectionError: no route'"
    )
    (command := tmp_path / "pip-audit").write_text(f"#!/bin/sh\n{answer}\nexit 1\n")
    command.chmod(0o700)
    assert main(str(command), "constraints.txt") == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(begin) for line, begin in zip(lines, said, strict=True))
