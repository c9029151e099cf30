"""Ports for servers that come later, or come back: nobody else has them meanwhile."""

import random
import socket

OURS = range(20_000, 32_000)
"""Below those that systems hand out to whoever asks for any, connections among them."""
_TAKEN: list[socket.socket] = []
"""A UDP port of the same number for each port: while it is held, no other process of the tests takes that."""


def free_port() -> int:
    """Return a port on which nothing listens, and that no other process that asks here gets while this one lives."""
    first = random.SystemRandom().randrange(len(OURS))
    for port in (*OURS[first:], *OURS[:first]):
        guard = socket.socket(type=socket.SOCK_DGRAM)
        try:
            guard.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            guard.close()
        else:
            _TAKEN.append(guard)
            return port
    raise OSError("no port is free")
