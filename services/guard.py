"""Which network addresses an agent may have: public ones, and those in networks that the operator allows.

A name is resolved once and the connection made to the very address that was checked, so that a name which
resolves to something else a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

import httpx

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port → addresses as text, best first. Raises OSError (socket.gaierror) where there are none."""

RESOLVE_SECONDS = 10.0
"""The system's resolver takes 30 s to give up on two dead name servers, far longer than anyone waits."""

MAX_URL_CHARACTERS = 2_000

# `is_global` calls these global. They reach IPv4 addresses by another name (6to4 and its relays), or are not
# an endpoint's (documentation). NAT64, IPv4-mapped and the like lie outside 2000::/3.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_REFUSED: tuple[Network, ...] = (
    IPv4Network("192.0.0.0/24"),  # RFC 6890: protocol assignments
    IPv4Network("192.88.99.0/24"),  # RFC 7526: 6to4 relay anycast
    IPv4Network("168.63.129.16/32"),  # Azure's own services for a machine, keys among them, on a public address
    IPv6Network("2001::/23"),  # RFC 6890: protocol assignments, Teredo among them
    IPv6Network("2002::/16"),  # RFC 3056: 6to4
    IPv6Network("3fff::/20"),  # RFC 9637: documentation
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)


class EndpointNotAllowedError(Exception):
    """The URL, or an address of its host, is none that agents may have. The message is one sentence."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, which also reads 127.1 and 0x7f000001 as addresses."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True)
class Guard:
    """Decides where agents may live."""

    allowed_networks: Sequence[Network] = ()
    resolve: Resolve = field(default=resolve, repr=False)

    def allows(self, address: Address) -> bool:
        """Whether an agent may have this address."""
        if any(address in network for network in self.allowed_networks):
            return True
        if any(address in network for network in _REFUSED):
            return False
        in_use = address in _GLOBAL_UNICAST if isinstance(address, IPv6Address) else not address.is_multicast
        return address.is_global and in_use

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Resolve a host to the addresses that may be connected to, best first.

        Raises EndpointNotAllowedError where any address of it is not allowed, OSError where it does not
        resolve, TimeoutError (which is an OSError) where that takes longer than 10 s.
        """
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await self.resolve(host, port)
        for text in found:
            if not self.allows(ipaddress.ip_address(text)):
                # One bad address is enough: whoever controls the name would else choose when it is its turn.
                where = host if host == text else f"{host} ({text})"
                raise EndpointNotAllowedError(f"{where} is not a public address, nor in a network allowed to agents.")
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return found

    async def endpoint_problem(self, url: str) -> str | None:
        """Say in a sentence why `url` cannot be an agent's endpoint, or return None.

        It must be an http or https URL with a host, without userinfo and fragment, whose host has only
        allowed addresses. A well-formed host that does not resolve just now is no problem: name servers have
        bad days and agents get deployed after they are registered, and every call checks again.
        """
        try:
            to = endpoint(url)
            await self.addresses(to.host, to.port)
        except EndpointNotAllowedError as error:
            return str(error)
        except OSError:
            return None
        return None


@dataclass(frozen=True)
class Endpoint:
    """An endpoint's parts, as everything here reads them: `host` in ASCII and without brackets."""

    url: httpx.URL
    host: str
    port: int


def endpoint(url: str) -> Endpoint:
    """Read a URL. Raises EndpointNotAllowedError where it cannot be an agent's endpoint."""
    if len(url) > MAX_URL_CHARACTERS:
        raise EndpointNotAllowedError(f"The URL has more than {MAX_URL_CHARACTERS} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise EndpointNotAllowedError("The URL holds a space, a backslash or a control character.")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        raise EndpointNotAllowedError("This is not a URL.") from None
    if parsed.scheme not in {"http", "https"}:
        raise EndpointNotAllowedError("The URL must begin with http:// or https://.")
    if parsed.userinfo:
        raise EndpointNotAllowedError("The URL must not hold a user name or password; set a secret instead.")
    if parsed.fragment:
        raise EndpointNotAllowedError("The URL must not have a fragment (#…); it would not be sent.")
    if not _is_host(host):
        raise EndpointNotAllowedError("The URL has no valid host.")
    port = parsed.port or {"http": 80, "https": 443}[parsed.scheme]
    if parsed.port is not None and not 0 < parsed.port <= 65535:  # noqa: PLR2004
        raise EndpointNotAllowedError("The URL's port must be from 1 to 65535.")
    return Endpoint(parsed, host, port)


def _is_host(host: str) -> bool:
    """Whether a host is an IPv6 address, or labels between dots (as IPv4 addresses are too)."""
    if ":" in host:
        try:
            return IPv6Address(host).scope_id is None
        except ValueError:
            return False
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)  # noqa: PLR2004
