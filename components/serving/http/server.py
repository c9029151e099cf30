"""The server itself: its socket, its signals, and how it ends."""

import errno
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import psutil
import uvicorn

from components.core.errors import ConfigError
from components.core.only_from import OnlyFrom
from components.serving.http.app import Served, make_app
from components.serving.http.guard import Gate
from components.serving.http.metrics import Metrics

if TYPE_CHECKING:
    from components.models.saved.classifier import LoadedClassifier
    from components.serving.language_model import Responder

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})
BACKLOG = 2048
"""Connections that may wait to be taken."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; nobody can connect yet. Port 0 is any that is free.

    Raises:
        ConfigError: if that cannot be.
    """
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except socket.gaierror as error:
        raise ConfigError(f"--host {host}: no such address: {error.strerror}") from error
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "something listens there already" if taken else getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host} port {port}: {why}; choose another with --port or --host"
        ) from error
    return bound


def names_of(host: str, port: int, more: Sequence[str] = ()) -> frozenset[str]:
    """Return by which values of the header Host a server may be asked, which listens on `host`.

    Those are the addresses that it has, `localhost`, the machine's own name, and those that are allowed besides.
    """
    here = {each.address.partition("%")[0] for found in psutil.net_if_addrs().values() for each in found}
    names = {host, *LOOPBACK, *more, *((*here, socket.gethostname(), socket.getfqdn()) if host in EVERYWHERE else ())}
    written = {f"[{name}]" if ":" in name else name for name in names}
    return frozenset({*written, *(f"{name}:{port}" for name in written)})


class Server(uvicorn.Server):
    """Answers until it is told to end; then it finishes what it has begun, refuses the rest, and ends.

    The first SIGTERM or Ctrl-C is that; the second ends it at once.
    """

    def __init__(self, app: OnlyFrom, gate: Gate, tell: Callable[[int], object]) -> None:
        """Take an application with its gate; `tell` is told how many requests are to be finished."""
        super().__init__(
            uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, backlog=BACKLOG, ws="none")
        )
        self._gate, self._tell = gate, tell
        self.was_forced = False
        """Whether requests were left unanswered."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Begin to end. The signal is not raised again afterwards, as uvicorn does: to have ended so is a success."""
        if self._gate.draining:
            self.was_forced = self.should_exit = self.force_exit = True
            logging.getLogger("uvicorn.error").disabled = True  # of every request that is cut it would show a traceback
            return
        self._gate.draining = True
        self._tell(self._gate.under_way)

    async def on_tick(self, counter: int) -> bool:
        """Say, ten times a second, whether to end."""
        ended = await super().on_tick(counter)
        return ended or (self._gate.draining and not self._gate.under_way)


@dataclass(frozen=True)
class Settings:
    """How a model is served."""

    name: str
    """What clients call the model."""
    host: str = "127.0.0.1"
    """The address that is listened on."""
    more_hosts: tuple[str, ...] = ()
    """Names by which clients may ask besides."""
    key: str | None = None
    """What clients have to show, if anything."""
    most: int = 64
    """Requests, or texts of a classifier, that are computed at once."""
    queue: int = 256
    """As many may wait."""
    precision: str = "fp32"
    """Numbers that a language model computes with; a classifier computes in fp32."""


def make_server(
    loaded: "LoadedClassifier | Responder", bound: socket.socket, settings: Settings, tell: Callable[[int], object]
) -> tuple[Server, "Served"]:
    """Return the server of a model, with the model as it is served, which is to be closed when the server has ended.

    Args:
        loaded: the model, where it computes.
        bound: the socket of `bind`.
        settings: how it is served.
        tell: told how many requests are to be finished when the server is told to end.
    """
    metrics = Metrics()
    served = _served(loaded, settings, metrics)
    hosts = names_of(settings.host, bound.getsockname()[1], settings.more_hosts)
    app, gate = make_app(served, metrics, settings.key, hosts)
    return Server(app, gate, tell), served


def _served(loaded: "LoadedClassifier | Responder", settings: Settings, metrics: Metrics) -> "Served":
    from components.models.saved.classifier import LoadedClassifier
    from components.serving.http.classifier import ServedClassifier
    from components.serving.http.language_model import ServedLanguageModel

    name, most, queue = settings.name, settings.most, settings.queue
    if isinstance(loaded, LoadedClassifier):
        return ServedClassifier(loaded, name, most, queue, metrics)
    return ServedLanguageModel(loaded, name, settings.precision, most, queue, metrics)
