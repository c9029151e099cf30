"""What the tests of faults share: tiny presets of both kinds, `gradus` as a process, and what runs have left."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient

from tests.patience import PATIENCE, eventually
from tests.pipelines import instructing
from tests.pipelines.faults.child import GO_ON, REACHED, WAIT_IN

STEPS = {
    "classification": ["download", "validate", "split", "fetch_weights", "read_frozen", "fine_tune", "evaluate"],
    "instruction": instructing.STEPS,
}
"""The steps of each kind, in the order in which they run."""
NAME = "tiny"
"""The experiment and the registered model of every preset here."""
PRESET = """
source: {{url: {url}, format: tsv, header: false, quoting: none, columns: {{label: 0, text: 1}}}}
validation: {{labels: [ham, spam]}}
model:
  size: {{layers: 2, heads: 1, width: 16, context: 64}}
  weights: random
  vocabulary: sample://vocabulary.tiktoken
  dropout: 0.0
train:
  trainable: last_block
  pooling: last_token
  max_steps: 4
  batch_size: 8
  learning_rate: 1.0e-3
  eval_every: 2
  precision: fp32
  device: cpu
tracking: {{experiment: tiny, model_name: tiny, system_metrics: false}}
"""
WORDS = {
    "ham": [
        "lunch",
        "home",
        "meeting",
        "tomorrow",
        "dinner",
        "sister",
        "train",
        "garden",
        "school",
        "friend",
        "music",
        "weather",
    ],
    "spam": [
        "winner",
        "prize",
        "claim",
        "free",
        "cash",
        "urgent",
        "offer",
        "call",
        "voucher",
        "bonus",
        "credit",
        "lottery",
    ],
}


def write_preset(kind: str, folder: Path) -> Path:
    """Write a few rows and a preset of this kind beside them; return the preset's path."""
    if kind == "instruction":
        return instructing.write_preset(folder)
    folder.mkdir(exist_ok=True)
    draw = random.Random(3)
    lines = [f"{label}\t{' '.join(draw.choices(words, k=8))}" for label, words in WORDS.items() for _ in range(90)]
    (folder / "rows.tsv").write_text("\n".join(lines), encoding="utf-8")
    preset = folder / "tiny.yaml"
    preset.write_text(PRESET.format(url=folder / "rows.tsv"), encoding="utf-8")
    return preset


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tests.pipelines.faults.child", *map(str, arguments)]


def gradus(*arguments: str | Path, environment: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run `gradus` as a process, to its end."""
    return subprocess.run(
        command(*arguments), env=environment | more, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@contextmanager
def reached(
    *arguments: str | Path, environment: dict[str, str], folder: Path, **place: str
) -> Iterator["subprocess.Popen[str]"]:
    """Start `gradus` as a process of a group of its own, and wait until it is where `WAIT_IN` or `WAIT_AT` says."""
    marker = folder / "reached"
    marker.unlink(missing_ok=True)
    process = subprocess.Popen(
        command(*arguments),
        env=environment | place | {REACHED: str(marker)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: marker.exists() or process.poll() is not None)
        assert marker.exists(), process.communicate()
        yield process
    finally:
        process.kill()
        process.wait()


def at_work(
    step: str, *arguments: str | Path, environment: dict[str, str], folder: Path, moment: str = "written"
) -> Any:
    """Start `gradus` and wait until a step is at work."""
    return reached(*arguments, environment=environment, folder=folder, **{WAIT_IN: f"{step}:{moment}"})


def go_on(folder: Path) -> None:
    """Let a process that `reached` has started go on."""
    (folder / "reached").with_suffix(GO_ON).touch()


def children_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def taken(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The steps that a run took from the store, as its `--json` says."""
    found = json.loads(done.stdout)["cached_steps"]
    assert isinstance(found, list)
    return found


def lines_of(stderr: str) -> list[str]:
    """What `gradus` said in lines of its own, but for the first, which says where it runs."""
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if line.startswith("gradus:") and "gradus: running " not in line]


def drafts(home: Path) -> list[str]:
    """What attempts that came to no end have left in the store."""
    return [path.name for path in home.glob("store/*/*") if path.is_dir() and not path.name.isalnum()]


def all_runs(home: Path) -> tuple[MlflowClient, list[Any]]:
    """The local MLflow store, and all of its runs, the latest first."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    return client, list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


def only_run(home: Path) -> tuple[MlflowClient, Any]:
    client, (run,) = all_runs(home)
    return client, run


def statuses(home: Path) -> Counter[str]:
    return Counter(run.info.status for run in all_runs(home)[1])


def metrics_of(run: Any) -> dict[str, float]:
    """The metrics of a run, but for durations."""
    return {key: value for key, value in run.data.metrics.items() if not key.startswith(("seconds/", "cost/"))}


def left(home: Path) -> dict[str, Any]:
    """What the only run of a home has left in MLflow and in the store, but for times and addresses."""
    client, run = only_run(home)
    points = {
        key: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))
        for key in metrics_of(run)
    }
    folder = Path(run.info.artifact_uri)
    versions = [client.search_model_versions(f"name='{model.name}'") for model in client.search_registered_models()]
    models = client.search_logged_models([run.info.experiment_id])
    return {
        "status": run.info.status,
        "params": {key: value for key, value in run.data.params.items() if key != "source.url"},
        "points": points,
        "tags": sorted(set(run.data.tags) - {"gradus.resumed", "gradus.cached_steps"}),
        "inputs": Counter(each.dataset.digest for each in run.inputs.dataset_inputs),
        "artifacts": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        "tables": {
            path.name: json.loads(path.read_text())
            for path in [*folder.glob("*_test.json"), *folder.glob("samples.json")]
        },
        "versions": [[version.version for version in each] for each in versions],
        "models": len([model for model in models if str(model.status) == "READY"]),
        "weights": [path.read_bytes() for path in home.glob("store/fine_tune/*/model/model.safetensors")],
        "drafts": drafts(home),
    }


def environment_without_prefect() -> dict[str, str]:
    """An environment in which `gradus` starts a Prefect server of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[3]), "DO_NOT_TRACK": "1"}
