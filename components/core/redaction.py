"""Secrets taken out of texts before anything is printed or written: the one place that knows what a secret looks like.

What is taken out: user names and passwords in addresses, the values of their queries (tokens, signatures), and the
values of environment variables that hold a secret by their name, wherever they stand.
"""

import base64
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK = "***"
EXACT = {"secrets": "exact"}
"""The context in which a config is dumped with its addresses as they are: for hashes, never for a file."""

SHORTEST = 8
"""Characters from which on a secret is looked for outside of its address too: shorter ones are words as well."""
SECRET_NAMES = frozenset(
    {"KEY", "KEYS", "APIKEY", "TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASS", "CREDENTIAL"}
    | {"CREDENTIALS", "AUTH", "SIGNATURE"}
)
"""Parts of the names of environment variables (between underscores) that hold a secret."""
ADDRESS = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*:/{2,})(?P<rest>[^\s\"'<>`\\|]+)")
PAIR = re.compile(r"(?P<name>[^=&;#?]+)=[^&;#]*?(?=[:,.)\]]*(?:[&;#]|$))")

_known: dict[str, None] = {}
"""Secrets that were met in this process, such as a password in `source.url`."""


def redact(text: str) -> str:
    """Return a text without its secrets; what stands in their place is `***`."""
    text = ADDRESS.sub(lambda found: found["scheme"] + _without_secrets(found["rest"]), text)
    for secret in sorted({*_known, *_secrets_of_environment()}, key=len, reverse=True):
        for form in _forms(secret):
            text = text.replace(form, MASK)
    return text


def redact_tree(value: Any) -> Any:
    """Return a JSON-able value, nested or not, with `redact` applied to every text in it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(key) if isinstance(key, str) else key: redact_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(redact_tree, value))
    return value


def remember_secrets(address: str) -> None:
    """Take what is secret in an address out of all texts from now on, such as where a server repeats a token alone."""
    _known.update(dict.fromkeys(_secrets_of_address(address)))


def remember_secret(secret: str) -> None:
    """Take a secret out of all texts from now on, such as a key from a variable whose name does not tell."""
    if len(secret) >= SHORTEST:
        _known[secret] = None


def protect_logs() -> None:
    """Redact what any library logs, in this process and from now on: its message and its traceback. Safe to repeat."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def redacting(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        message = record.getMessage()
        if (clean := redact(message)) != message:
            record.msg, record.args = clean, None
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return record

    redacting.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacting)


def _without_secrets(rest: str) -> str:
    """Return what follows the scheme of an address without user, password, and the values of its query."""
    authority, path = _cut(rest, "/?#")
    user, _, host = authority.rpartition("@")
    place, query = _cut(path, "?#")
    if not query.startswith("#/"):  # which is a place within a page, as the pages of MLflow and Prefect have
        query = query[:1] + PAIR.sub(rf"\g<name>={MASK}", query[1:])
    return (f"{MASK}@" if user else "") + host + place + query


def _cut(text: str, marks: str) -> tuple[str, str]:
    """Return what stands before the first of some characters, and the rest with it."""
    end = next((position for position, character in enumerate(text) if character in marks), len(text))
    return text[:end], text[end:]


def _secrets_of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        parts = set(name.upper().split("_"))
        if parts & SECRET_NAMES and len(value.strip()) >= SHORTEST and not value.startswith(("/", "~", "./")):
            yield value.strip()
        elif "://" in value:
            yield from _secrets_of_address(value)


def _secrets_of_address(address: str) -> Iterator[str]:
    try:
        parts = urlsplit(address)
        password, user = parts.password, parts.username
    except ValueError:
        return
    found = [value for _, value in parse_qsl(parts.query)]
    if password:
        found += [password, unquote(password)]
        found.append(base64.b64encode(f"{unquote(user or '')}:{unquote(password)}".encode()).decode())
    elif user:
        found += [user, unquote(user)]  # a token alone, as code hosts take it
    yield from (secret for secret in found if len(secret) >= SHORTEST)


def _forms(secret: str) -> Iterator[str]:
    """Yield how a secret may be written: as it is, in an address, in JSON."""
    yield from dict.fromkeys((secret, quote(secret, safe=""), json.dumps(secret)[1:-1]))
