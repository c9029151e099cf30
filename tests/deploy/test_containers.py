"""The container files, as far as that can be said without a container engine: their schemas, and what they refer to."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = shutil.which("docker-compose")
PASSWORDS = {f"GRADUS_{name}_PASSWORD": f"{name}-of-a-test" for name in ("PREFECT", "DATABASE", "MLFLOW", "SESSION")}
MANIFESTS = [path for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) if path.name != "prefect-server.yaml"]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GRADUS")}
    return subprocess.run(words, cwd=ROOT, env=kept | environment, text=True, capture_output=True)


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def named(tree: Any, key: str) -> Iterator[Any]:
    """Yield every value of a key, however deep."""
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == key)
        tree = list(tree.values())
    if isinstance(tree, list):
        for each in tree:
            yield from named(each, key)


def test_the_image_is_well_made_and_not_roots() -> None:
    done = run(tool("hadolint"), "deploy/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
    assert not [line for line in lines if line.startswith("FROM") and ("latest" in line or ":" not in line)]


@pytest.mark.ci
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_kubernetes(path: Path) -> None:
    done = run(tool("kubernetes-validate"), "--strict", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_are_referred_to_by_keys_that_are_there() -> None:
    (secret,) = documents(DEPLOY / "kubernetes/secrets.example.yaml")
    paths = [*MANIFESTS, DEPLOY / "kubernetes/prefect-server.yaml"]
    used = {(each["name"], each["key"]) for path in paths for each in named(documents(path), "secretKeyRef")}
    assert {name for name, _ in used} == {"gradus"}
    assert {key for _, key in used} | {"auth-string"} == secret["stringData"].keys()
    values = [value for value in secret["stringData"].values() if "CHANGE-THIS" not in value]
    assert values == [], "an example holds no secret"


@pytest.mark.ci
@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is not installed")
def test_compose_is_read_and_has_no_default_password() -> None:
    assert COMPOSE
    done = run(COMPOSE, "-f", "deploy/compose.yaml", "config", **PASSWORDS)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)["services"]
    assert found.keys() == {"postgres", "prefect", "mlflow", "deploy", "worker"}
    ports = [port for service in found.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    lacking = run(COMPOSE, "-f", "deploy/compose.yaml", "config")
    assert lacking.returncode == 1
    assert "set it" in lacking.stderr
