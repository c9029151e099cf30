"""What libraries are told that read it once, when a process starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOLD = ("GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
TCACHE = "glibc.malloc.tcache_count=0"
STARTED = f"""
import json, os, sys
print("begun")
from pipelines.cli.start import reexec_tuned
reexec_tuned()
print(json.dumps([sys.argv[1:], sys.flags.utf8_mode, {{name: os.environ.get(name) for name in {TOLD}}}]))
"""


@pytest.mark.ci
@pytest.mark.skipif(sys.platform != "linux", reason="the libraries are those of Linux")
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({}, (TCACHE, "1000", None)),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, (f"glibc.malloc.arena_max=2:{TCACHE}", "1000", None)),
        ({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=3"}, ("glibc.malloc.tcache_count=3", "1000", None)),
        ({"GOMP_SPINCOUNT": "0"}, (TCACHE, "0", None)),
        ({"OMP_WAIT_POLICY": "active"}, (TCACHE, None, "active")),
    ],
)
def test_a_process_starts_over_with_its_arguments_and_what_was_not_said(
    said: dict[str, str], heard: tuple[str | None, ...]
) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in TOLD} | said
    command = [sys.executable, "-X", "utf8", "-c", STARTED, "one", "--two"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [["one", "--two"], 1, dict(zip(TOLD, heard, strict=True))]
