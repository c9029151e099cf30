"""A server of files in a process of its own, what it serves, and how tests ask for it."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from components.data.sources import SourceConfig

SERVER = Path(__file__).with_name("http_server.py")
BODY = b"ham\thello\nspam\twin a prize\n" * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server:
    """A real HTTP server in a process of its own, and what was asked of it."""

    def __init__(self, folder: Path, *certificate: Path, address: str = "127.0.0.1") -> None:
        self.folder, self.scheme, self.host = folder, "https" if certificate else "http", address
        folder.mkdir()
        (folder / "sms.tsv").write_bytes(BODY)
        (folder / "requests").touch()
        self.process = subprocess.Popen(
            [sys.executable, SERVER, folder, address, *certificate], stderr=subprocess.DEVNULL
        )
        while not (folder / "port").exists():
            assert self.process.poll() is None, "the test server died"
            time.sleep(0.02)
        self.port = int((folder / "port").read_text())

    def url(self, path: str) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/{path}"

    @property
    def requests(self) -> list[str]:
        return (self.folder / "requests").read_text().splitlines()


def config(url: str, **options: object) -> SourceConfig:
    return SourceConfig.model_validate({"url": url, "backoff": 0.01, "timeout": 60, **options})


def left_behind(downloads: Path) -> list[Path]:
    return [path for path in downloads.rglob("*") if path.is_file()]
