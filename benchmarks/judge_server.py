"""A judge that takes a fixed time: `python -m benchmarks.judge_server SLOTS SECONDS` prints its port and serves.

It speaks as much of Ollama's protocol as a judging needs (`GET /api/tags`, `POST /api/chat`), over connections that are
kept open. It has so many slots; a request that finds none free waits, first come first served. When a slot is free
is reckoned from when it should have been, not from when this process got round to it, so its own work and the
accuracy of its clock cost no time: as long as requests wait, it answers exactly SLOTS / SECONDS of them a second.
`GET /asked` says how many verdicts it was asked for.
"""

import asyncio
import heapq
import json
import sys


class Judge:
    """The slots: for each the moment from which it is free."""

    def __init__(self, slots: int, seconds: float) -> None:
        self.asked = 0
        self._free = [0.0] * slots
        self._seconds = seconds

    def take(self, now: float) -> float:
        """Return when a request that arrives now is answered."""
        self.asked += 1
        done = max(now, self._free[0]) + self._seconds
        heapq.heapreplace(self._free, done)
        return done


class Connection(asyncio.Protocol):
    """One connection. Its requests come one after the other, each when the last one is answered."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._received = b""
        path = head.split(b" ", 2)[1]
        if path == b"/api/chat":
            loop = asyncio.get_running_loop()
            loop.call_at(self._judge.take(loop.time()), self._answer, _verdict(body))
        elif path == b"/api/tags":
            self._answer({"models": [{"name": "llama3:latest", "digest": "sha256:" + "365c" * 16}]})
        else:
            self._answer({"asked": self._judge.asked})

    def _answer(self, said: object) -> None:
        body = json.dumps(said).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _verdict(body: bytes) -> dict[str, object]:
    content = json.dumps({"reason": f"It takes {len(body)} bytes to say.", "score": len(body) % 101})
    message = {"role": "assistant", "content": content}
    return {"model": "llama3", "message": message, "done": True, "done_reason": "stop", "eval_count": 20}


async def main(slots: int, seconds: float) -> None:
    judge = Judge(slots, seconds)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(judge), "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
