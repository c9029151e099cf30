"""Where weights are found: folders, the mirror, and a hub that is a real server in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from components.core.errors import WeightsError
from components.models.pretrained.files import find_local_weights, find_weights, settings_of

ROOT = Path(__file__).parents[2]

HUB = """
import hashlib, json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, COMMIT = Path(sys.argv[1]), "c" * 40

class Hub(BaseHTTPRequestHandler):
    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        print(self.command, self.path, self.headers.get("Range", ""), file=sys.stderr, flush=True)
        parts = self.path.split("?")[0].strip("/").split("/")
        if "gated" in self.path:
            return self.answer(403, X_Error_Code="GatedRepo")
        if "broken" in self.path:
            return self.answer(500)
        if parts[:2] == ["api", "models"]:
            return self.listing(FOLDER / parts[2] / parts[3], parts[4])
        repo, name = FOLDER / parts[0] / parts[1], "/".join(parts[4:])
        body = (repo / name).read_bytes()
        common = {"ETag": '"%s"' % hashlib.sha1(body).hexdigest(), "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        if start:
            common["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if "flaky" in self.path and self.command == "GET" and not start:
            common["Content_Length"], body = len(body), body[: 11 << 20]
            self.close_connection = True
        self.answer(206 if start else 200, body[start:], **common)

    do_HEAD = do_GET

    def listing(self, repo, what):
        if not repo.is_dir():
            return self.answer(404, X_Error_Code="RepoNotFound")
        files = [path for path in repo.iterdir()]
        if what == "tree":
            found = [dict(type="file", path=path.name, size=path.stat().st_size, oid="0" * 40) for path in files]
        else:
            found = dict(id="/".join(repo.parts[-2:]), sha=COMMIT, siblings=[dict(rfilename=p.name) for p in files])
        self.answer(200, json.dumps(found).encode(), Content_Type="application/json")

    def log_message(self, *arguments):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
print(server.server_port, flush=True)
server.serve_forever()
"""

FIND = """
import sys
from pathlib import Path
from components.core.errors import WeightsError
from components.models.pretrained.files import find_weights
for weights in sys.argv[2:]:
    try:
        print(find_weights(weights, Path(sys.argv[1])))
    except WeightsError as error:
        print("WeightsError", error)
"""


REPOSITORIES = {
    "org/whole": ["config.json", "model.safetensors", "onnx.bin"],
    "org/flaky": ["model.safetensors"],
    "org/old": ["config.json", "pytorch_model.bin"],
}
SIZES = {"org/flaky": 12 << 20}  # the hub's library writes, and so resumes, in pieces of 10 MiB


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    for owner, names in REPOSITORIES.items():
        folder = tmp_path / "hub" / owner
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_bytes(name.encode() * (SIZES.get(owner, 1_700) // len(name)))
    with (tmp_path / "requests").open("w") as log:
        command = [sys.executable, "-c", HUB, str(tmp_path / "hub")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert server.stdout
    yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    server.terminate()
    server.wait()
    server.stdout.close()


def ask(endpoint: str, cache: Path, *weights: str, code: str = FIND) -> list[str]:
    """Find weights in a fresh process: the hub's address is read when its library is imported."""
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"GRADUS_HOME": str(cache / "home")}
    command = [sys.executable, "-c", code, str(cache), *weights]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def folder_of_weights(path: Path) -> Path:
    path.mkdir(parents=True)
    save_file({"wte.weight": torch.zeros(2, 2)}, path / "model.safetensors")
    return path


def test_random_has_no_folder(tmp_path: Path) -> None:
    assert find_weights("random", tmp_path) is None


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = folder_of_weights(tmp_path / "weights")
    assert find_weights(str(folder), tmp_path / "cache") == folder


@pytest.mark.parametrize("place", ["openai-community/gpt2", "gpt2"])
def test_a_hub_id_is_looked_up_in_the_mirror_first(tmp_path: Path, place: str) -> None:
    folder = folder_of_weights(tmp_path / "mirror" / place)
    assert find_weights("openai-community/gpt2", tmp_path / "cache", tmp_path / "mirror") == folder


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("./nothing", r"there is no folder \./nothing; check model\.weights"),
        ("/nothing/at/all", "there is no folder"),
        ("runs:/abc/model", "download it first"),
        ("no such/thing here", "neither a folder nor a repository"),
        (__file__, "is a file: name the folder that it lies in"),
        ("file:///tmp/model", "named OWNER/NAME"),
        ("owner/name@main", "named OWNER/NAME, without .* a revision"),
    ],
)
def test_weights_that_cannot_be_are_refused(tmp_path: Path, weights: str, told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        find_weights(weights, tmp_path)
    if not weights.startswith("runs:"):  # which tasks know how to find
        with pytest.raises(WeightsError, match=told):
            settings_of(weights)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors"):
        find_weights(str(tmp_path), tmp_path)


def test_a_local_folder_is_told_from_a_hub_id(tmp_path: Path) -> None:
    folder = folder_of_weights(tmp_path / "mirror" / "org" / "name")
    assert find_local_weights("org/name", tmp_path / "mirror") == folder
    assert find_local_weights(str(folder)) == folder
    for weights in ("org/name", "random", "runs:/abc/model", "models:/gradus@champion"):
        assert find_local_weights(weights) is None


@pytest.mark.ci
def test_a_hub_id_is_downloaded_once_and_then_found_without_the_hub(tmp_path: Path, hub: str) -> None:
    [found] = ask(hub, tmp_path / "cache", "org/whole")
    assert sorted(path.name for path in Path(found).iterdir()) == ["config.json", "model.safetensors"]
    assert (Path(found) / "model.safetensors").read_bytes() == b"model.safetensors" * 100
    again, missing = ask("http://127.0.0.1:9", tmp_path / "cache", "org/whole", "org/flaky")
    assert again == found
    assert missing.startswith("WeightsError org/flaky could not be downloaded (")
    assert missing.endswith("put its config.json and model.safetensors in $GRADUS_MIRROR/org/flaky")


@pytest.mark.ci
def test_a_dropped_download_is_resumed(tmp_path: Path, hub: str) -> None:
    [found] = ask(hub, tmp_path / "cache", "org/flaky")
    sent = tmp_path / "hub/org/flaky/model.safetensors"
    assert (Path(found) / "model.safetensors").read_bytes() == sent.read_bytes()
    assert f"bytes={10 << 20}-" in (tmp_path / "requests").read_text()


SHAPE = """
import sys
from components.core.errors import WeightsError
from components.models.config import ModelConfig
for weights in sys.argv[2:]:
    model = ModelConfig(weights=weights)
    try:
        print(model.size, model.vocabulary, model.shape.layers)
    except WeightsError as error:
        print("WeightsError", error)
"""


@pytest.mark.ci
def test_a_hub_id_brings_its_shape_before_its_weights_are_fetched(tmp_path: Path, hub: str) -> None:
    repository = tmp_path / "hub" / "org" / "whole"
    described = {
        "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 7, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 128,
    }  # fmt: skip
    (repository / "config.json").write_text(json.dumps(described))
    other = tmp_path / "hub" / "org" / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (other / "model.safetensors").write_bytes(b"weights")
    known, refused = ask(hub, tmp_path / "cache", "org/whole", "org/other", code=SHAPE)
    assert known == "auto auto 7"
    assert refused.startswith("WeightsError org/other is a model of the type mamba; known are gpt2, llama")
    assert "model.safetensors" not in (tmp_path / "requests").read_text()


@pytest.mark.ci
def test_each_way_a_hub_refuses_is_one_line(tmp_path: Path, hub: str) -> None:
    unknown, gated, broken, old = ask(hub, tmp_path / "cache", "org/unknown", "org/gated", "org/broken", "org/old")
    assert unknown.startswith("WeightsError org/unknown is neither a folder nor a repository on the Hugging Face hub")
    assert gated == "WeightsError org/gated is gated: accept its terms on huggingface.co and set HF_TOKEN"
    assert broken.startswith("WeightsError org/broken could not be downloaded (")
    assert old.startswith("WeightsError org/old: ")
    assert "holds no model.safetensors" in old
