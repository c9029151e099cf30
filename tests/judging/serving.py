"""An Ollama server for tests: a process of its own that is told how to behave, and what it has received.

with serve(tmp_path / "ollama") as ollama:
    config = JudgeConfig(url=ollama.url)
    ollama.behave(fault="500", times=3)
"""

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.judging import ollama_server
from tests.ports import free_port

# Each is a copy of a process that has imported all it needs: hundreds are started.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([ollama_server.__name__])


class OllamaServer:
    """The process, and the folder through which it is talked to (see ollama_server.py)."""

    def __init__(self, folder: Path, **behaviour: Any) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.behave(**behaviour)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process, each time on the same port."""
        (self.folder / "ready").unlink(missing_ok=True)
        self.process = PROCESSES.Process(target=ollama_server.main, args=(self.folder, self.port), daemon=True)
        self.process.start()
        while not (self.folder / "ready").exists():
            assert self.process.exitcode is None, "the server has ended"
            time.sleep(0.002)

    def kill(self) -> None:
        """Kill the process as `kill -9` does."""
        self.process.kill()
        self.process.join()

    def behave(self, **behaviour: Any) -> None:
        """Behave like this from the next request on; what is not named is as it should be."""
        draft = self.folder / ".behaviour"
        draft.write_text(json.dumps(behaviour))
        draft.rename(self.folder / "behaviour")

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request in the order in which it came: method, path, headers, body."""
        return self._lines("requests")

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The body of every request for a verdict."""
        paths = ("/chat", "/chat/completions")
        return [request["body"] for request in self.requests if request["path"].endswith(paths)]

    @property
    def answered(self) -> Counter[str]:
        """How many verdicts were sent whole, by the user's message."""
        return Counter(answer["question"] for answer in self._lines("answers"))

    @property
    def replies(self) -> dict[str, str]:
        """What was last replied, by the user's message."""
        return {answer["question"]: answer["reply"] for answer in self._lines("answers")}

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def serve(folder: Path, **behaviour: Any) -> Iterator[OllamaServer]:
    """Run a server with llama3 on a port of its own until the block ends."""
    server = OllamaServer(folder, **behaviour)
    try:
        yield server
    finally:
        server.kill()
