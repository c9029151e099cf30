"""What orchestration, tracking and validation cost beside the work itself.

Every run is `gradus run spam-demo` in a process of its own, with an empty GRADUS_HOME and an empty PREFECT_HOME in a
temporary folder. Its overhead is its wall time less the time inside its six steps. The manifests in its store say what
that is: the steps' work, the imports that only they need, and the hashing of their files. So these count as overhead:
starting Python, importing Prefect and the flow, starting Prefect's server, creating its database and MLflow's, logging,
packaging and registering the model.

`own server`: the run starts a temporary Prefect server. `given server`: one was started on an empty database, and
answered, before the clock started. The unchanged run is the same command once more. `gradus --help` runs once before it
is timed, so that its byte code is compiled.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from benchmarks.report import Benchmark, Figure
from components.core.records import Manifest
from components.core.store import MANIFEST

ROOT = Path(__file__).parents[1]
GRADUS = (sys.executable, "-c", "from pipelines.cli.start import main; main()")
DEMO = ("run", "spam-demo", "--json")
PATIENCE = 120
"""Seconds that a Prefect server gets to start."""


RUNS = 3
"""How often each thing is measured; the median counts."""


def measure(runs: int = RUNS) -> Benchmark:
    """Measure row 8 of the performance targets: overhead with both kinds of server, a second run, `--help`."""
    gradus("--help", env=environment(Path("unused")))
    helps = [gradus("--help", env=environment(Path("unused")))[0] for _ in range(runs)]
    alone = [run_twice() for _ in range(runs)]
    served = [run_with_server() for _ in range(runs)]
    wall, inside, second = zip(*alone, strict=True)
    figures = [
        Figure("gradus --help", helps, must=0.5, aim=0.25),
        Figure("run less its steps, own server", [w - i for w, i in zip(wall, inside, strict=True)], 18, 9),
        Figure("run less its steps, given server", served, 6, 3),
        Figure("unchanged run, own server", second, 12, 6),
        Figure("whole run, own server", wall),
    ]
    return Benchmark("overhead", str(__doc__), figures)


def run_twice() -> tuple[float, float, float]:
    """Return the seconds of a first run, of the steps in it, and of a second run, with a temporary server each."""
    with TemporaryDirectory() as folder:
        env = environment(Path(folder))
        first, _ = gradus(*DEMO, env=env)
        inside = seconds_inside_steps(Path(folder))
        second, result = gradus(*DEMO, env=env)
        if len(json.loads(result)["cached_steps"]) != 6:
            raise RuntimeError(f"the second run was not taken from the store: {result}")
        return first, inside, second


def run_with_server() -> float:
    """Return the seconds of a run beside those inside its steps, where a Prefect server runs already."""
    with TemporaryDirectory() as folder:
        env = environment(Path(folder))
        with prefect_server(env) as url:
            wall, _ = gradus(*DEMO, env=env | {"PREFECT_API_URL": url})
        return wall - seconds_inside_steps(Path(folder))


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which Gradus and Prefect know nothing but `folder`, and send nothing anywhere."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("GRADUS", "PREFECT", "MLFLOW"))}
    return outside | {
        "GRADUS_HOME": str(folder / "gradus"),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def gradus(*arguments: str, env: dict[str, str]) -> tuple[float, str]:
    """Run the command line; return its wall time in seconds and its standard output."""
    started = time.perf_counter()
    done = subprocess.run([*GRADUS, *arguments], check=False, cwd=ROOT, env=env, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"gradus {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return seconds, done.stdout


def seconds_inside_steps(folder: Path) -> float:
    """Return how long the steps took that left a manifest in the store under `folder`."""
    manifests = (folder / "gradus" / "store").glob(f"*/*/{MANIFEST}")
    return sum(Manifest.model_validate_json(path.read_text()).seconds for path in manifests)


@contextmanager
def prefect_server(env: dict[str, str]) -> Iterator[str]:
    """Start a Prefect server, wait until it answers, give its API's address, and stop it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(f"{url}/health", server)
            yield url
        finally:
            server.terminate()


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise RuntimeError(f"no Prefect server answers at {url}")
