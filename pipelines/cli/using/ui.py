"""`gradus ui`: a page to look at runs, and to try models."""

import os
from importlib.util import find_spec
from typing import Annotated

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import Debug, errors_as_lines, say
from pipelines.cli.using import answering
from pipelines.cli.using.listening import AllowHost, Host, Port, address_of, secret_of

EXAMPLES = """
[bold]Examples[/bold]\n
gradus ui\n
gradus ui --port 8080\n
GRADUS_UI_PASSWORD=$(cat password) gradus ui --host 0.0.0.0 --allow-host gradus.example.org\n
"""
PASSWORD = "GRADUS_UI_PASSWORD"
"""The environment variable with the password, unless another is named."""
EXTRA = "gradio"


def ui(
    host: Host = "127.0.0.1",
    port: Port = 7860,
    password_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"The environment variable with the password to ask for; else {PASSWORD}."),
    ] = None,
    allow_host: AllowHost = None,
    device: answering.Device = "auto",
    debug: Debug = False,
) -> None:
    """Open a page to look at runs and models, compare, ask and rate, until SIGTERM or Ctrl-C.

    It is for browsers on this machine; where others can reach it, it wants a password. It loads nothing from elsewhere
    and tells nobody that it is used. Ratings are kept as `gradus rate` keeps them.
    """
    with errors_as_lines(debug):
        if find_spec(EXTRA) is None:
            raise ConfigError("gradus ui needs Gradio, which is not installed: pip install 'gradus[ui]'")
        password = secret_of("--password-env", password_env, PASSWORD, "password")
        from components.serving.http.server import LOOPBACK, bind, names_of

        if host not in LOOPBACK and password is None:
            raise ConfigError(
                f"--host {host}: whoever can reach it could see every run and rate in your name; put a password into "
                f"{PASSWORD}, or leave --host out"
            )
        with bind(host, port) as bound:
            os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
            from components.core.home import home
            from pipelines.cli.page.server import make_server

            hosts = names_of(host, bound.getsockname()[1], allow_host or ())
            device_name = str(answering.pick(device))
            server = make_server(home(), device_name, password, hosts, lambda: say("gradus: ending"))
            say(f"gradus: the page is at {address_of(bound)}; Ctrl-C ends it")
            server.run(sockets=[bound])
