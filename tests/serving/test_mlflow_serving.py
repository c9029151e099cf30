"""`mlflow models serve` answers for models of both kinds, in a real process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import pytest

from components.generation.config import GenerationConfig
from components.models.saved.classifier import load_classifier
from components.serving.language_model import load_responder
from components.tracking.registry.packages import classifier_package, language_model_package
from tests.patience import PATIENCE
from tests.ports import free_port

TEXTS = ["WINNER!! Claim your prize now", "see you at 5", "grüße"]
ENTRIES = {"instruction": ["Say hello", "Name a bird"], "input": ["", "in winter"]}


@contextmanager
def served(model: Path, folder: Path) -> Iterator[httpx.Client]:
    port = free_port()
    log = folder / "log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "-m", str(model), "-p", str(port)],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            cwd=folder, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as client:
            while not answers(client):
                assert process.poll() is None, log.read_text()
            yield client
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ping").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_a_classifier_answers(saved_model: Path, tmp_path: Path) -> None:
    classifier_package(saved_model, TEXTS[:1]).write(tmp_path / "logged", run_id=None)
    with served(tmp_path / "logged", tmp_path) as client:
        answer = client.post("/invocations", json={"dataframe_records": [{"text": text} for text in TEXTS]})
    found = pd.DataFrame(answer.json()["predictions"])
    pd.testing.assert_frame_equal(found, load_classifier(saved_model).predict(TEXTS), check_dtype=False, atol=1e-6)


@pytest.mark.ci
def test_a_language_model_answers(saved_language_model: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame(ENTRIES).to_dict("records")
    language_model_package(saved_language_model, rows).write(tmp_path / "logged", run_id=None)
    with served(tmp_path / "logged", tmp_path) as client:
        asked = {"dataframe_records": rows, "params": {"max_new_tokens": 20, "precision": "fp32"}}
        answer = client.post("/invocations", json=asked)
    config = GenerationConfig(max_new_tokens=20, precision="fp32")
    offline = load_responder(saved_language_model).respond(*ENTRIES.values(), config=config)
    assert [row["response"] for row in answer.json()["predictions"]] == offline["response"].tolist()
