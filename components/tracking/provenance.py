"""Which code and which process made a run, as tags; and whether that process is still there."""

import getpass
import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import components
from components.core.versions import installed
from components.tracking.names import COMMIT_TAG

HOST_TAG = "gradus.host"
PROCESS_TAG = "gradus.process"
GIT_TIMEOUT = 10.0
"""Seconds; a repository too slow to answer is left out of the tags."""
SAME_START = 2.0
"""Seconds by which two readings of one process's start may differ, where only the clock tells it."""
STARTED_AT = 19
"""Place of a process's start in `/proc/PID/stat`, counted from what follows its name."""

Tags = dict[str, str]


def code_tags() -> Tags:
    """Return tags for the version of Gradus and the git revision of the working directory or, failing that, of Gradus.

    Without git or a repository there are no git tags.
    """
    tags = {"gradus.version": installed("gradus") or "unknown"}
    for folder in (Path.cwd(), Path(components.__file__).parent):
        if revision := _git(folder, "rev-parse", "HEAD"):
            changes = _git(folder, "status", "--porcelain")
            tags[COMMIT_TAG] = revision
            tags["gradus.git.dirty"] = "unknown" if changes is None else str(bool(changes)).lower()
            break
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None if there is no git, no repository or no answer."""
    # No optional locks: reading the state must not get in the way of the user's own git.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_TIMEOUT, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def process_tags(pid: int | None = None) -> Tags:
    """Return the tags `gradus.host` and `gradus.process`, which identify a process, this one by default.

    The second is JSON: process number and its name space, when the process started (by the clock, and in ticks since
    the boot, where the system tells them: setting the clock changes the first), and the machine and its boot.
    """
    import psutil

    pid, namespace = os.getpid() if pid is None else pid, Path("/proc/self/ns/pid")
    process = {
        "pid": pid,
        "started": round(psutil.Process(pid).create_time(), 2),
        "ticks": _ticks_at_start(pid),
        "boot": _first_line("/proc/sys/kernel/random/boot_id") or f"{psutil.boot_time():.0f}",
        "machine": _first_line("/etc/machine-id", "/var/lib/dbus/machine-id") or platform.node(),
        "namespace": str(namespace.readlink()) if namespace.is_symlink() else "none",  # no Linux
    }
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: json.dumps(process)}


def user_tags() -> Tags:
    """Return the tags that MLflow's pages show as the run's author and source."""
    tags = {"mlflow.source.name": "gradus", "mlflow.source.type": "LOCAL"}
    try:
        return {**tags, "mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # a container without an entry for the user
        return tags


def is_orphan(tags: Mapping[str, Any]) -> bool:
    """Tell whether the process that `process_tags` described ran on this machine and is gone.

    When in doubt (another machine, another container on this one, tags missing) the answer is no.
    """
    import psutil

    here = process_tags()
    if tags.get(HOST_TAG) != here[HOST_TAG] or PROCESS_TAG not in tags:
        return False
    then, now = json.loads(tags[PROCESS_TAG]), json.loads(here[PROCESS_TAG])
    if then["machine"] != now["machine"]:
        return False
    if then["boot"] != now["boot"]:
        return True
    if then["namespace"] != now["namespace"]:  # there the number means another process
        return False
    try:
        process = psutil.Process(then["pid"])
        ticks = _ticks_at_start(then["pid"])
        if ticks is None or then.get("ticks") is None:  # another system, or an older run
            same = abs(process.create_time() - then["started"]) < SAME_START
        else:
            same = ticks == then["ticks"]
        return bool(not same or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _ticks_at_start(pid: int) -> int | None:
    """Return when a process started, in ticks since the boot; None where the system does not tell."""
    line = _first_line(f"/proc/{pid}/stat")
    return int(line.rpartition(")")[2].split()[STARTED_AT]) if line else None


def _first_line(*paths: str) -> str | None:
    for path in paths:
        with suppress(OSError):
            if line := Path(path).read_text().strip():
                return line
    return None
