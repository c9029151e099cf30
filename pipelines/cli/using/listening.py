"""What the commands share that listen at an address until they are told to end."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from components.core.errors import ConfigError
from components.core.redaction import remember_secret

if TYPE_CHECKING:
    from socket import socket

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 is any that is free.")]
AllowHost = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="A name that clients may use besides; may be repeated.")
]


def address_of(bound: "socket") -> str:
    """Return where a socket listens."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def secret_of(option: str, variable: str | None, otherwise: str, what: str) -> str | None:
    """Return the secret in an environment variable, None if there is none.

    Args:
        option: by which the variable is named.
        variable: its name, if one was given.
        otherwise: the variable that is looked into where none is named.
        what: what the secret is called.

    Raises:
        ConfigError: if it is not the name of a variable, or that is empty; the message does not repeat a secret.
    """
    from components.judging.config import VARIABLE

    if variable and not VARIABLE.fullmatch(variable):  # which may be the secret itself: it is not repeated
        what_it_is = f"the name of an environment variable, such as {otherwise}"
        raise ConfigError(f"{option} takes {what_it_is}, and not the {what}")
    secret = os.environ.get(variable or otherwise, "").strip()
    if variable and not secret:
        raise ConfigError(f"{option} names {variable}, which is not set; put the {what} into it")
    if not (secret.isascii() and secret.isprintable()):
        where = f"the {what} in {variable or otherwise}"
        raise ConfigError(f"{where} has characters that no header can carry; choose another")
    remember_secret(secret)
    return secret or None
