"""The same run started twice at once, as two processes: one training, one version, and both show the same."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.home import home
from components.core.records import Manifest
from components.tracking.config import TrackingConfig
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import publish
from components.tracking.runs import open_run
from components.tracking.stores import connect

GRADUS = [sys.executable, "-c", "from pipelines.cli.start import main; main()"]
ROOT = Path(__file__).parents[2]
SMALL = [
    "--set=model.size={layers: 1, heads: 1, width: 16, context: 128}",
    "--set=train.max_steps=6",
    "--set=train.eval_every=3",
    "--set=train.eval_batches=2",
    "--set=tracking.system_metrics=false",
]


def curves(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    names = [name for name in client.get_run(run_id).data.metrics if name.startswith("curve/")]
    return {name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)] for name in names}


@pytest.mark.ci
@pytest.mark.usefixtures("prefect_server")
def test_two_processes_train_once_and_register_once() -> None:
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": str(ROOT)}
    command = [*GRADUS, "run", "spam-demo", *SMALL, "--json"]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    first, second = (json.loads(summary) for summary, _ in printed)
    assert first["metrics"] == second["metrics"]
    assert first["model_uri"] == second["model_uri"] == "models:/spam-demo/1"

    client = MlflowClient(f"sqlite:///{home()}/mlflow.db")
    (version,) = client.search_model_versions("name = 'spam-demo'")
    (model,) = client.search_logged_models([client.get_experiment_by_name("spam-demo").experiment_id])
    assert client.get_model_version_by_alias("spam-demo", "candidate").version == version.version
    for run in (first, second):
        outputs = client.get_run(run["run_id"]).outputs.model_outputs
        assert [output.model_id for output in outputs] == [model.model_id]
    drawn = [curves(client, run["run_id"]) for run in (first, second)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]["curve/batch_loss"]) == 6


@pytest.mark.ci
def test_runs_that_publish_the_same_model_at_once_share_a_version(saved_model: Path, tmp_path: Path) -> None:
    def step(name: str) -> Manifest:
        return Manifest(step=name, key="k", folder=tmp_path, files={}, facts={"name": name})

    manifests = {name: step(name) for name in ("split", "fine_tune")}
    together = threading.Barrier(3)
    connect(tmp_path, "gradus")  # makes the tables

    def one(_number: int) -> dict[str, str | None]:
        with open_run(TrackingConfig(system_metrics=False), tmp_path, "twin", {}) as run:
            together.wait()
            return publish(run, manifests, "shared", str, lambda: classifier_package(saved_model, ["a"]))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(one, range(3)))
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (version,) = client.search_model_versions("name = 'shared'")
    assert [each["model_uri"] for each in found] == ["models:/shared/1"] * 3
    assert sorted(str(each["cached_from"]) for each in found) == sorted(["None", version.run_id, version.run_id])
