"""What a figure was measured on; without it a figure says nothing."""

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from components.core.process_memory import peak_memory

BUSY = 0.2
"""Share of the cores that other programs may use before figures are worth little."""

PACKAGES = (
    "gradus",
    "torch",
    "transformers",
    "llms-from-scratch",
    "prefect",
    "mlflow",
    "great-expectations",
    "pandas",
    "numpy",
)


@dataclass(frozen=True)
class Machine:
    """A machine and what runs on it, as found before anything was measured."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    load: float
    """Mean number of processes that ran in the minute before."""
    versions: dict[str, str]
    gpu: str | None = None
    """The card's name, where networks compute on one."""

    @classmethod
    def this(cls) -> "Machine":
        """Describe the machine that this runs on."""
        import psutil

        return cls(
            cpu=_cpu_model(),
            cores=os.cpu_count() or 1,
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            system=f"{platform.system()} {platform.release()}",
            load=round(os.getloadavg()[0], 2),
            versions={"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
            gpu=_gpu(),
        )

    @property
    def is_busy(self) -> bool:
        """Whether something else was running."""
        return self.load > BUSY * self.cores

    @property
    def name(self) -> str:
        """The card, or the CPU's model and cores where there is none."""
        return self.gpu or f"{self.cpu}, {self.cores} cores"

    @property
    def slug(self) -> str:
        """The machine in the name of a file."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def describe(self) -> dict[str, str]:
        """Return what a reader has to know, by name."""
        busy = " (BUSY: these figures are not to be quoted)" if self.is_busy else ""
        return ({"GPU": self.gpu} if self.gpu else {}) | {
            "CPU": f"{self.cpu}, {self.cores} cores",
            "memory": f"{self.memory_gib} GiB",
            "system": self.system,
            "load in the minute before": f"{self.load}{busy}",
            "versions": ", ".join(f"{name} {number}" for name, number in self.versions.items()),
        }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    name = found[1] if found else platform.processor() or platform.machine()
    return re.sub(r"\((R|TM)\)", "", name).strip()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def peak() -> int:
    """Return the most bytes that were resident at one time in this process."""
    return peak_memory()
