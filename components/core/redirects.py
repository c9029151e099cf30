"""Redirects from the internet into a private network, which a download does not follow unless it is told to.

A server may redirect to what only this machine can reach: its own ports, a cloud's metadata service (169.254.169.254).
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from components.core.http_client import HTTPError

if TYPE_CHECKING:
    import requests

Look = Callable[[str, Sequence[str]], None]

NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_private(address: str) -> bool:
    """Return whether an IP address is anything but a public one: loopback, private, link-local, unspecified, ..."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        embedded = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if found in NAT64:
            embedded = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if embedded:
            return is_private(str(embedded))
        if found.is_reserved or found.is_site_local:
            return True
    return not found.is_global or found.is_multicast


class PublicStaysPublic(HTTPAdapter):
    """Refuses to go on to a private address once a public one was asked; one for each chain of redirects.

    An address is looked at before the connection, as the name resolves, and once more as the connection has it: a name
    may mean another address the second time. Through a proxy only the first can be seen. Errors begin with `name`.
    """

    def __init__(self, name: str) -> None:
        self._name, self._was_public = name, False
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make connections that are looked at before anything is sent."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _pool_of(HTTPConnectionPool, HTTPConnection, self._look),
            "https": _pool_of(HTTPSConnectionPool, HTTPSConnection, self._look),
        }

    def send(self, request: "requests.PreparedRequest", *arguments: Any, **options: Any) -> "requests.Response":
        """Send a request over a connection of its own.

        Raises:
            HTTPError: if it would go from a public address to a private one.
        """
        self.poolmanager.clear()  # a connection that is used again would not be looked at
        host = urlsplit(request.url or "").hostname or ""
        addresses: list[str] = []
        with suppress(OSError, UnicodeError):  # what it means is then for the connection, or a proxy, to say
            addresses = [str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        self._look(host, addresses)
        response = super().send(request, *arguments, **options)
        if response.is_redirect:
            response.close()  # requests would read its body whole, however long
        return response

    def _look(self, host: str, addresses: Sequence[str]) -> None:
        private = next((address for address in addresses if is_private(address)), None)
        if private is None:
            self._was_public = True
        elif self._was_public:
            raise HTTPError(
                f"{self._name}: refused to go from a public address to the private one {private} ({host})",
                todo="if that is meant, set source.allow_private=true, otherwise check source.url",
            )


def _pool_of(pool: type, connection: Any, look: Look) -> type:
    def connect(self: Any) -> socket.socket:
        made: socket.socket = connection._new_conn(self)
        try:
            look(self.host, [made.getpeername()[0]])
        except HTTPError:
            made.close()
            raise
        return made

    looked = type(connection.__name__, (connection,), {"_new_conn": connect})
    return type(pool.__name__, (pool,), {"ConnectionCls": looked})
