"""A whole run where there is no network: it ends well, and no process of it has so much as tried to reach anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.pipelines.faults.runs import command, write_preset

ROOT = Path(__file__).parents[3]
WATCH = """
import ipaddress, os, socket, sys

def outside(host):
    if isinstance(host, bytes):
        host = host.decode()
    if not isinstance(host, str) or host in ("", "localhost"):
        return False
    try:
        address = ipaddress.ip_address(host)
        return not (address.is_loopback or address.is_unspecified)
    except ValueError:
        return True

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # else a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if outside(host):
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write(f"{event} {arguments[-1] if event == 'socket.connect' else host} by {sys.orig_argv}\\n")

sys.addaudithook(watch)
with open(os.environ["WATCHED"], "a") as file:
    file.write(f"{os.getpid()}\\n")
"""
"""Begun by every Python process that finds it on its path."""
ONLY_LOOPBACK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def tried(folder: Path, arguments: list[str]) -> tuple["subprocess.CompletedProcess[str]", str, int]:
    """Run a command without a network; return how it ended, what it tried to reach, and how many processes it had."""
    if sys.platform != "linux" or subprocess.run([*ONLY_LOOPBACK, "true"], capture_output=True).returncode:
        pytest.skip("this user may not take the network away")
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": f"{folder / 'watch'}{os.pathsep}{ROOT}",
        "GRADUS_HOME": str(folder / "home"),
        "ATTEMPTS": str(folder / "attempts"),
        "WATCHED": str(folder / "watched"),
    }
    done = subprocess.run(
        [*ONLY_LOOPBACK, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    attempts = folder / "attempts"
    processes = set((folder / "watched").read_text().split())
    return done, attempts.read_text() if attempts.exists() else "", len(processes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("classification", marks=pytest.mark.ci), "instruction"])
def test_a_whole_run_without_a_network_tries_to_reach_nobody(kind: str, tmp_path: Path) -> None:
    preset = write_preset(kind, tmp_path / "data")
    done, attempts, processes = tried(tmp_path, command("run", preset, "--json"))
    assert done.returncode == 0, done.stderr
    assert '"status":"FINISHED"' in done.stdout
    assert attempts == ""
    assert processes >= 2, "the run and its Prefect server"


@pytest.mark.ci
def test_an_attempt_would_be_seen(tmp_path: Path) -> None:
    ask = "import socket; socket.getaddrinfo('localhost', 80); socket.create_connection(('192.0.2.1', 80))"
    done, attempts, _ = tried(tmp_path, [sys.executable, "-c", f"import subprocess, sys; {ask}"])
    assert done.returncode == 1
    assert "192.0.2.1" in attempts
    assert "localhost" not in attempts.partition(" by ")[0]
