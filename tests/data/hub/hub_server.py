"""A server that speaks as much of the hub's API as a data set needs, for this process or another one.

`/api/datasets/ID/revision/REVISION` lists, `/datasets/ID/resolve/COMMIT/FILE` gives a file, or for a large one (LFS) a
redirect to its content. https://huggingface.co/docs/hub/api, and the client of huggingface_hub 2.4.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
class Hub:
    """A server under way, what it serves, and what it was asked."""

    url: str = ""
    data_sets: dict[str, DataSet] = field(default_factory=dict)
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
        elif path.startswith("/lfs/"):
            self.send_content(path.removeprefix("/lfs/"))
        elif found := re.fullmatch(
            "(/api)?/datasets/([^/]+/[^/]+)/(?:revision|resolve)/(refs/convert/[^/]+|[^/]+)/?(.*)", path
        ):
            self.send_data_set(*found.groups())
        else:
            self.refuse(404, "RepoNotFound")

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
