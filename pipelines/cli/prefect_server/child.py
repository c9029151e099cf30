"""The temporary Prefect server's process: ends with the one that started it, and answers nobody but its own client."""

import socket
import sys

from components.core.only_from import OnlyFrom
from pipelines.child_process import end_with_parent

LOOPBACK = "127.0.0.1"


def serve(descriptor: int) -> None:
    """Serve Prefect's API on a socket that is bound to the loopback interface, until told to stop.

    What else there is to say, password and database among it, the environment says.
    """
    end_with_parent()
    bound = socket.socket(fileno=descriptor)
    port = bound.getsockname()[1]
    import uvicorn
    from prefect.server.api.server import create_app

    app = OnlyFrom(create_app(), hosts(port))
    config = uvicorn.Config(app, lifespan="on", log_level="error")
    server = uvicorn.Server(config)
    server.run(sockets=[bound])
    if not server.started:
        sys.exit(1)


def hosts(port: int) -> frozenset[str]:
    """Return the values of the header Host by which this machine's own client asks."""
    return frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})


if __name__ == "__main__":
    serve(int(sys.argv[1]))
