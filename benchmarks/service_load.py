"""What a service costs as it fills: runs to list and compare, versions to promote among, runs that wait for workers.

`python -m benchmarks.service_load runs --database postgresql` fills a store in a temporary folder in steps, and times
Gradus's own commands after each. What a command costs by itself (a second or two of imports) is in every figure. The
commands are processes of their own; PostgreSQL is the system's, started for this as `deploy/local` does.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.stack import postgres
from deploy.stack.settings import Settings, Stack

POINTS = 1000
"""Of each run's curve."""
TRAINED = ("--limit", "600", "--set", "train.max_steps=20", "--set", "tracking.system_metrics=false")
PRESET = "spam-demo"
GRADUS = (sys.executable, "-c", "from pipelines.cli.start import main; main()")
Database = Literal["sqlite", "postgresql"]
Row = dict[str, float]


class Place:
    """A temporary folder with a home, and what its commands are told."""

    def __init__(self, folder: Path, tracking: str | None) -> None:
        self.home = folder / "home"
        self.tracking = tracking or f"sqlite:///{self.home}/mlflow.db"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "GRADUS", "MLFLOW"))}
        self.environment = kept | {"GRADUS_HOME": str(self.home), "COLUMNS": "200"}
        if tracking:
            self.environment["MLFLOW_TRACKING_URI"] = tracking

    def gradus(self, *arguments: str) -> tuple[float, Any]:
        """Run a command that prints JSON; return its seconds, and what it printed."""
        began = time.perf_counter()
        done = subprocess.run(
            [*GRADUS, *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode not in (0, 1) or not done.stdout:
            raise SystemExit(f"gradus {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        lines = [line for line in done.stdout.splitlines() if line.startswith(("{", "["))]
        return seconds, json.loads(lines[-1]) if lines else None


@contextmanager
def a_place(database: Database) -> Iterator[Place]:
    """A home whose runs are tracked in SQLite, or in a PostgreSQL of its own."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gradus-load-"))
        folder.chmod(0o711)  # PostgreSQL does not run as root, and has to walk through
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Place(folder, stack.enter_context(_postgres(folder / "service")) if database == "postgresql" else None)


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    service = Stack.make(folder, Settings(database_port=5439).model_dump())
    postgres.make_cluster(service)
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(postgres.command(service), stdout=log, stderr=log, user=postgres.account())
    try:
        time.sleep(3)
        yield service.database("mlflow")
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()


def runs(place: Place, sizes: Sequence[int]) -> Iterator[Row]:
    """Yield, for each number of runs with a curve of 1,000 points, the seconds to list and to compare."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    (_, first), (_, second) = (place.gradus("run", PRESET, *TRAINED, "--set", f"train.seed={seed}") for seed in (1, 2))
    client = MlflowClient(place.tracking)
    experiment = client.get_run(first["run_id"]).info.experiment_id
    there, now = 2, int(time.time() * 1000)
    for size in sizes:
        began = time.perf_counter()
        while there < size:
            run_id = client.create_run(
                experiment, tags={"gradus.preset": PRESET, "mlflow.runName": f"run {there}"}
            ).info.run_id
            client.log_batch(run_id, [Metric("curve/train_loss", 1 / (step + 1), now, step) for step in range(POINTS)])
            client.log_batch(
                run_id,
                [Metric("test/accuracy", 0.9, now, 0)],
                [Param("train.seed", str(there))],
                [RunTag("gradus.verdict", "it beats the majority class")],
            )
            client.set_terminated(run_id)
            there += 1
        filled = time.perf_counter() - began
        yield {
            "runs": size,
            "filling": filled,
            "list 20": place.gradus("runs")[0],
            "list all": place.gradus("runs", "-n", str(size))[0],
            "compare two": place.gradus("compare", first["run_id"], second["run_id"])[0],
        }


def versions(place: Place, sizes: Sequence[int]) -> Iterator[Row]:
    """Yield, for each number of versions of a model, the seconds to list them and to weigh the last one's promotion."""
    from mlflow import MlflowClient

    _, trained = place.gradus("run", PRESET, *TRAINED)
    name = str(trained["model_uri"]).split("/")[1]
    place.gradus("promote", trained["run_id"], "--force", "--reason", "a champion to measure beside")
    client = MlflowClient(place.tracking)
    original = client.get_model_version(name, "1")
    there = 1
    for size in sizes:
        while there < size:
            client.create_model_version(name, str(original.source), original.run_id, dict(original.tags))
            there += 1
        last = f"models:/{name}/{size}"
        yield {
            "versions": size,
            "list": place.gradus("models", name)[0],
            "promote": place.gradus("promote", last, "--dry-run")[0],
        }


def queue(place: Place, sizes: Sequence[int]) -> Iterator[Row]:
    """Queue flow runs, and yield when some of them were done by two workers with a limit of 2: after each of `sizes`.

    As many are queued as the last of `sizes` says. They promote what is not there: what is measured is the queue, and
    what it takes to begin and end a run.
    """
    from prefect.client.orchestration import SyncPrefectClient

    port = "4297"
    told = place.environment | {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": port,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(place.home.parent / "prefect"),
    }
    if place.tracking.startswith("postgresql"):
        address = place.tracking.replace("postgresql:", "postgresql+asyncpg:").removesuffix("mlflow") + "prefect"
        told["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = address
    with ExitStack() as stack, SyncPrefectClient(told["PREFECT_API_URL"]) as client:
        stack.enter_context(_running(told, "server", "start"))
        while not _answers(client):
            time.sleep(0.5)
        file = _without_limits(place.home.parent)
        subprocess.run(
            [*GRADUS, "deploy", "--json", "--file", str(file)], env=told, check=True, stdout=subprocess.DEVNULL
        )
        deployment = client.read_deployment_by_name("promotion/champion").id
        began = time.perf_counter()
        for _ in range(sizes[-1]):
            client.create_flow_run_from_deployment(deployment, parameters={"model": "nobody"})
        queued = time.perf_counter() - began
        for _ in range(2):
            stack.enter_context(_running(told, "worker", "start", "--pool", "gradus", "--limit", "2"))
        began, before, earlier = time.perf_counter(), 0, 0.0
        for size in sizes:
            while (done := _ended(client)) < size:
                time.sleep(2)
            seconds = time.perf_counter() - began
            each = (seconds - earlier) / (done - before)
            yield {"queued": sizes[-1], "queueing": queued, "done": done, "seconds": seconds, "each of these": each}
            before, earlier = done, seconds


def _ended(client: Any) -> int:
    wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}}
    return int(client.request("POST", "/flow_runs/count", json=wanted).json())


def _without_limits(folder: Path) -> Path:
    """Write deployments of which several runs may be under way: what is measured is the workers' limit."""
    import yaml

    written = yaml.safe_load(Path("deploy/prefect.yaml").read_text(encoding="utf-8"))
    for deployment in written["deployments"]:
        deployment |= {"schedules": [], "triggers": [], "concurrency_limit": None}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return folder / "prefect.yaml"


@contextmanager
def _running(environment: Mapping[str, str], *command: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", *command],
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(client: Any) -> bool:
    return client.api_healthcheck() is None


MEASURES = {
    "runs": (runs, (100, 300, 1000)),
    "versions": (versions, (10, 100, 1000)),
    "queue": (queue, (50, 100, 150, 200)),
}


def main(
    what: Annotated[Literal["runs", "versions", "queue"], typer.Argument(help="What to fill.")],
    database: Annotated[Database, typer.Option(help="Where it is kept.")] = "sqlite",
    sizes: Annotated[str, typer.Option(help="How many, in steps, such as 100,300,1000.")] = "",
) -> None:
    """Fill a service in steps, and print a line of JSON after each: seconds of single runs of each command."""
    measure, usual = MEASURES[what]
    with a_place(database) as place:
        for row in measure(place, [int(each) for each in sizes.split(",")] if sizes else usual):
            typer.echo(json.dumps({"database": database} | {name: round(value, 2) for name, value in row.items()}))


if __name__ == "__main__":
    typer.run(main)
