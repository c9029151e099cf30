"""A server that speaks as much of the hub's API as reading a data set and uploading a model need.

`/api/datasets/ID/revision/REVISION` lists, `/datasets/ID/resolve/COMMIT/FILE` gives a file, or for a large one (LFS) a
redirect to its content. A model is uploaded by `/api/repos/create`, `/api/models/ID/preupload/REVISION`, LFS batches,
and `/api/models/ID/commit/REVISION`. https://huggingface.co/docs/hub/api, and the client of huggingface_hub 2.4.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_token_of_the_tests"


@dataclass
class DataSet:
    """A data set: the files and the card of each of its branches."""

    branches: dict[str, dict[str, bytes]]
    card: dict[str, Any] | None = None
    gated: bool = False
    private: bool = False

    def commit(self, revision: str) -> str | None:
        """Return the commit of a branch, or of itself."""
        commits = {branch: sha1(repr(files).encode()).hexdigest() for branch, files in self.branches.items()}
        return commits.get(revision) or (revision if revision in commits.values() else None)

    def files(self, commit: str | None) -> dict[str, bytes]:
        """Return the files of a commit."""
        return next((files for branch, files in self.branches.items() if self.commit(branch) == commit), {})


@dataclass
class Repository:
    """A model's repository: whether it is private, its files, and what its commits were called."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """A server under way, what it serves, and what it was asked."""

    url: str = ""
    data_sets: dict[str, DataSet] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    """Contents of large files by their SHA-256."""
    requests: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """The status of the next answers."""
    cut: list[int] = field(default_factory=list)
    """After how many bytes of the next contents the connection breaks."""
    large: int = 1000
    """Bytes from which on a file is kept apart (LFS)."""


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if self.hub.failures:
            self.send(self.hub.failures.pop(0))
        elif found := re.fullmatch("/api/models/([^/]+/[^/]+)", path):
            self.send_repository(found[1])
        elif path.startswith("/lfs/"):
            self.send_content(path.removeprefix("/lfs/"))
        elif found := re.fullmatch(
            "(/api)?/datasets/([^/]+/[^/]+)/(?:revision|resolve)/(refs/convert/[^/]+|[^/]+)/?(.*)", path
        ):
            self.send_data_set(*found.groups())
        else:
            self.refuse(404, "RepoNotFound")

    def do_PUT(self) -> None:
        self.hub.uploaded[self.path.rpartition("/")[2]] = self.body()
        self.send(200)

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.body()
        self.hub.requests.append(f"POST {path}")
        if self.hub.failures:
            self.send(self.hub.failures.pop(0))
        elif path == "/api/validate-yaml":
            self.send_json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse(401, "")
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif found := re.fullmatch(r"/(?:api/models/)?([^/]+/[^/.]+)(?:\.git)?/(preupload|info|commit)/.*", path):
            {"preupload": self.choose, "info": self.accept, "commit": self.commit}[found[2]](found[1], body)
        else:
            self.refuse(404, "RepoNotFound")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def send_repository(self, name: str) -> None:
        there = self.hub.repositories.get(name)
        if there is None or (there.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self.refuse(401 if there else 404, "RepoNotFound")
        else:
            files = [{"rfilename": path} for path in there.files]
            self.send_json({"id": name, "private": there.private, "siblings": files})

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.hub.repositories
        self.hub.repositories.setdefault(name, Repository(asked.get("visibility") == "private"))
        body = json.dumps({"url": f"{self.hub.url}/{name}", "name": name, "id": name}).encode()
        self.send(409 if known else 200, body, **{"Content-Type": "application/json"})

    def choose(self, _name: str, body: bytes) -> None:
        modes = [
            {"path": each["path"], "uploadMode": "lfs" if each["size"] >= self.hub.large else "regular"}
            for each in json.loads(body)["files"]
        ]
        self.send_json({"files": [{**mode, "shouldIgnore": False} for mode in modes]})

    def accept(self, _name: str, body: bytes) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self.send_json({"transfer": "basic", "objects": objects})

    def commit(self, name: str, body: bytes) -> None:
        there = self.hub.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    there.commits.append(value["summary"])
                case "file":
                    there.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    there.files[value["path"]] = self.hub.uploaded[value["oid"]]
        url = f"{self.hub.url}/{name}/commit/{'0' * 40}"
        self.send_json({"commitUrl": url, "commitOid": "0" * 40, "pullRequestUrl": None})

    def send_data_set(self, api: str | None, name: str, revision: str, path: str) -> None:
        data_set = self.hub.data_sets.get(name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if data_set is None or (data_set.private and not known):
            self.refuse(401, "RepoNotFound")
        elif (commit := data_set.commit(revision)) is None:
            self.refuse(404, "RevisionNotFound")
        elif api:
            self.send_json(self.listing(name, data_set, commit))
        elif data_set.gated and not known:
            self.refuse(401, "GatedRepo")
        else:
            self.send_file(data_set.files(commit)[path], commit)

    def listing(self, name: str, data_set: DataSet, commit: str) -> dict[str, Any]:
        files = [{"rfilename": path, "size": len(body)} for path, body in data_set.files(commit).items()]
        return {"id": name, "sha": commit, "private": data_set.private, "siblings": files, "cardData": data_set.card}

    def send_file(self, body: bytes, commit: str) -> None:
        digest = sha256(body).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest[:40]}"'}
        if len(body) < self.hub.large:
            self.send(200, body, **headers)
            return
        linked = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(body))}
        # On a host of another name, as contents lie with the hub: the token is not sent there.
        self.send(302, Location=f"{self.hub.url.replace('127.0.0.1', 'localhost')}/lfs/{digest}", **linked, **headers)

    def send_content(self, digest: str) -> None:
        every = (
            body for each in self.hub.data_sets.values() for files in each.branches.values() for body in files.values()
        )
        body = next(body for body in every if sha256(body).hexdigest() == digest)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        whole = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self.send(206 if start else 200, body[start:], **whole)

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def refuse(self, status: int, code: str) -> None:
        self.send(status, **{"X-Error-Code": code, "X-Error-Message": code})

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if body and self.path.startswith("/lfs/") and self.hub.cut:
            body, self.close_connection = body[: self.hub.cut.pop(0)], True
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub on this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThisHub", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def hub_of_a_test(folder: Path, patch: Any) -> Iterator[Hub]:
    """Run a hub, and point the library at it, which reads where the hub is when it is imported."""
    from huggingface_hub import constants

    for name in ("NO_PROXY", "no_proxy"):
        patch.setenv(name, "127.0.0.1,localhost")
    patch.delenv("HF_TOKEN", raising=False)
    with serve() as running:
        path = "/{repo_id}/resolve/{revision}/{filename}"
        values = {
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "ENDPOINT": running.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": running.url + path,
            "HF_HUB_CACHE": str(folder / "hub-cache"),
            "HF_TOKEN_PATH": str(folder / "no-token"),
        }
        for name, value in values.items():
            patch.setattr(constants, name, value)
        yield running
