"""Machines of a network, as far as one machine can have several: each has an address, a name, and its own processes."""

import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

BRIDGE = "gradus0"
OURS = "10.213.77.1"


def run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, capture_output=True)


class Network:
    """A bridge with an address on this machine, which the hosts reach and nobody else does."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self.remove()
        try:
            run(f"ip link add {BRIDGE} type bridge")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            pytest.skip(f"networks cannot be made here: {error}")
        run(f"ip addr add {OURS}/24 dev {BRIDGE}")
        run(f"ip link set {BRIDGE} up")

    def add(self, name: str, environment: Mapping[str, str], folder: Path) -> "Host":
        self.hosts.append(Host(name, len(self.hosts) + 2, environment, folder))
        return self.hosts[-1]

    def remove(self) -> None:
        for host in self.hosts:
            host.lose()
        for command in (f"ip link del {BRIDGE}", *(f"ip netns del gradus-{name}" for name in "ab")):
            with suppress(subprocess.CalledProcessError, FileNotFoundError):
                run(command)


class Host:
    """A machine: its processes see no others, and all of them end with it."""

    def __init__(self, name: str, number: int, environment: Mapping[str, str], folder: Path) -> None:
        self.name, self.folder, self.environment = name, folder, environment
        self.folder.mkdir()
        space, self.link = f"gradus-{name}", f"gradus{number}"
        for command in (
            f"ip netns add {space}",
            f"ip link add {self.link} type veth peer name eth0 netns {space}",
            f"ip link set {self.link} master {BRIDGE} up",
            f"ip -n {space} addr add 10.213.77.{number}/24 dev eth0",
            f"ip -n {space} link set eth0 up",
            f"ip -n {space} link set lo up",
        ):
            run(command)
        self._in = f"ip netns exec {space} unshare --uts --pid --mount --fork --kill-child --mount-proc"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self, command: str) -> None:
        script = f"hostname {self.name} && exec {command}"
        with self.log.open("a") as log:
            self._processes.append(
                subprocess.Popen(
                    [*shlex.split(self._in), "sh", "-c", script],
                    cwd=self.folder,
                    env=dict(self.environment),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def lose(self) -> None:
        """End everything on it at once, as a power cut does."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def cut_off(self) -> None:
        run(f"ip link set {self.link} down")

    def bring_back(self) -> None:
        run(f"ip link set {self.link} up")
