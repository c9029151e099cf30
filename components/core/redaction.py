"""Secrets taken out of texts before anything is printed or written: the one place that knows what a secret looks like.

What is taken out: user names and passwords in addresses, the values of their queries (tokens, signatures), and the
values of environment variables that hold a secret by their name, wherever they stand; of a query only what is called or
looks like a secret, since `section=business` is no reason to take out every `business`.
"""

import base64
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

MASK = "***"
EXACT = {"secrets": "exact"}
"""The context in which a config is dumped with its addresses as they are: for hashes, never for a file."""

SHORTEST = 8
"""Characters from which on a secret is looked for outside of its address too: shorter ones are words as well."""
TOKEN = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])[!-~]{20,}")
"""What looks like a secret whatever it is called: long, without a blank, of letters and digits."""
SECRET_NAMES = frozenset(
    {"KEY", "KEYS", "APIKEY", "TOKEN", "TOKENS", "ACCESSTOKEN", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASS"}
    | {"PWD", "CREDENTIAL", "CREDENTIALS", "AUTH", "SIGNATURE", "SIG"}
)
"""Parts of the names of environment variables, and of parameters in a query, that hold a secret."""
PROSE_KEYS = frozenset(
    {"url", "note", "notes", "warnings", "error", "errors", "verdict", "observed", "detail", "unparsed", "extra"}
    | {"description"}
)
"""Parts (between dots) of the keys of facts, parameters and tags under which there are addresses or sentences."""
# A password is what stands before the last `@`, whatever it holds, but a port is none. Without a colon, a user is what
# stands before an `@` in the host's place.
USER = (
    r"[^\s:/?#@\"'<>`\\|]*:(?(web)(?!\d{1,5}(?:[/?#\"'<>`\\|,;)\].\s]|$)))\S{0,500}"
    r"|[^\s/?#\"'<>`\\|]*"
)
ADDRESS = re.compile(
    r"(?P<scheme>\b(?:(?P<web>https?)|[A-Za-z][A-Za-z0-9+.-]*):/{2,})"
    rf"(?:(?P<user>{USER})@)?(?P<rest>[^\s\"'<>`\\|]*)"
)
PAIR = re.compile(r"(?P<name>[^=&;#?]+)=[^&;#]*?(?=[:,.)\]]*(?:[&;#]|$))")

_known: dict[str, None] = {}
"""Secrets that were met in this process, such as a password in `source.url`."""


def redact(text: str) -> str:
    """Return a text without its secrets; what stands in their place is `***`."""
    text = redact_addresses(text)
    for secret in sorted({*_known, *_secrets_of_environment()}, key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):  # as it is, in an address, in JSON
            text = text.replace(form, MASK)
    return text


def redact_addresses(text: str) -> str:
    """Return a text whose addresses have no user, no password and no values in their queries."""
    return ADDRESS.sub(_without_secrets, text)


def has_user(address: str) -> bool:
    """Say whether an address holds a user or a password."""
    found = ADDRESS.match(address)
    return bool(found and found["user"])


def redact_prose(value: Any, prose: bool = False) -> Any:
    """Return a JSON-able value with `redact` applied to what stands under the keys `PROSE_KEYS`, at any depth.

    All else is as it was: labels, columns, names and paths are read again by what comes later. `prose` says that the
    value itself stands under such a key.
    """
    if isinstance(value, str):
        return redact(value) if prose else value
    if isinstance(value, Mapping):
        here = {key: prose or bool(PROSE_KEYS & set(str(key).split("."))) for key in value}
        return {redact_prose(key, prose): redact_prose(item, here[key]) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redact_prose(item, prose) for item in value)
    return value


def remember_secrets(address: str) -> str:
    """Take what is secret in an address out of all texts from now on, such as where a server repeats a token alone.

    Returns the address.
    """
    _known.update(dict.fromkeys(_secrets_of_address(address)))
    return address


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
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 (the library's call is wrong: its arguments do not fit, and are left out)
            original, message = record.msg, f"a {type(record.msg).__name__} that cannot be shown"
            with suppress(Exception):
                message = str(original)
            record.msg, record.args = message, None
        if (clean := redact(message)) != message:
            record.msg, record.args = clean, None
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return record

    redacting.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacting)


def _without_secrets(found: re.Match[str]) -> str:
    """Return an address without user, password, and the values of its query."""
    user, rest = found["user"], found["rest"]
    if user and re.search("[?#]", user):  # a query with an `@` in it, or a password with a `?`
        return found["scheme"] + MASK
    place = re.split("[?#]", rest, maxsplit=1)[0]
    query = rest[len(place) :]
    if not query.startswith("#/"):  # which is a place within a page, as the pages of MLflow and Prefect have
        query = query[:1] + PAIR.sub(rf"\g<name>={MASK}", query[1:])
    return found["scheme"] + (f"{MASK}@" if user else "") + place + query


def _secrets_of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if _names_secret(name) and len(value.strip()) >= SHORTEST and not _is_there(value.strip()):
            yield value.strip()
        if "://" in value:
            yield from _secrets_of_address(value)


@lru_cache(1 << 10)
def _names_secret(name: str) -> bool:
    """Say whether a name tells that it names a secret, such as `OPENAI_API_KEY`, `X-Amz-Signature`, `apiKey`."""
    return not SECRET_NAMES.isdisjoint(re.split(r"[^A-Z]+", re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()))


def _is_there(value: str) -> bool:
    """Say whether a value is the path of what is there: it names where a secret is."""
    with suppress(OSError, RuntimeError):
        return value.startswith(("/", "~", "./")) and Path(value).expanduser().exists()
    return False


def _secrets_of_address(address: str) -> Iterator[str]:
    parsed = ADDRESS.search(address)
    if not parsed:
        return
    query = address.partition("?")[2].partition("#")[0]
    found = [value for name, value in parse_qsl(query) if _names_secret(name) or TOKEN.fullmatch(value)]
    well_formed = re.split("[/?#]", address[parsed.end("scheme") :], maxsplit=1)[0].rpartition("@")[0]
    for before in filter(None, dict.fromkeys((parsed["user"], well_formed))):
        user, _, password = before.partition(":")
        if password:
            found += [password, unquote(password)]
            found.append(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
        else:
            found += [user, unquote(user)]  # a token alone, as code hosts take it
    yield from (secret for secret in found if len(secret) >= SHORTEST)
