import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest

from services.guard import EndpointNotAllowedError, Guard, Resolve, endpoint


def resolving(*answers: Sequence[str] | OSError) -> Resolve:
    """A resolver that gives these answers in turn, the last one for ever."""
    waiting = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    return resolve


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert Guard().allows(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",  # noqa: S104 - reaches this very host
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%lo",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not Guard().allows(ip_address(address))


def test_networks_can_be_allowed() -> None:
    inside = Guard((IPv4Network("10.1.0.0/16"), IPv6Network("fd00::/8")))

    assert inside.allows(ip_address("10.1.2.3"))
    assert inside.allows(ip_address("fd00::1"))
    assert not inside.allows(ip_address("10.2.0.1"))
    assert not inside.allows(ip_address("::ffff:10.1.2.3"))
    assert inside.allows(ip_address("8.8.8.8"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "[::1]"])
async def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    problem = await Guard().endpoint_problem(f"http://{host}:8000/run")

    assert problem is not None
    assert "not a public address" in problem


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    problem = await Guard(resolve=resolving(["8.8.8.8", "10.0.0.1"])).endpoint_problem("https://agent.example/")

    assert problem == "agent.example (10.0.0.1) is not a public address, nor in a network allowed to agents."


@pytest.mark.parametrize("trouble", [socket.gaierror(socket.EAI_NONAME, "unknown"), TimeoutError(), OSError()])
async def test_a_host_that_does_not_resolve_just_now_can_be_registered(trouble: OSError) -> None:
    guard = Guard(resolve=resolving(trouble))

    assert await guard.endpoint_problem("https://agent.example/run") is None
    with pytest.raises(type(trouble)):
        await guard.addresses("agent.example", 443)


async def test_a_host_without_addresses_is_as_one_that_does_not_resolve() -> None:
    with pytest.raises(socket.gaierror):
        await Guard(resolve=resolving([])).addresses("agent.example", 443)


async def test_resolving_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr("services.guard.RESOLVE_SECONDS", 0.05)

    with pytest.raises(TimeoutError):
        await Guard(resolve=never).addresses("agent.example", 443)


async def test_addresses_come_in_the_resolvers_order() -> None:
    addresses = ["2606:4700:4700::1111", "1.1.1.1"]

    assert await Guard(resolve=resolving(addresses)).addresses("agent.example", 443) == addresses


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://agent.example", "agent.example", 443),
        ("http://agent.example:8080/run?x=1", "agent.example", 8080),
        ("HTTP://AGENT.example./", "agent.example.", 80),
        ("https://münchen.example/", "xn--mnchen-3ya.example", 443),
        ("http://[2606:4700::1111]:81/", "2606:4700::1111", 81),
        ("http://under_score.example/", "under_score.example", 80),
        ("http://localhost/", "localhost", 80),
    ],
)
def test_endpoints_are_read(url: str, host: str, port: int) -> None:
    read = endpoint(url)

    assert (read.host, read.port) == (host, port)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must begin with http"),
        ("agent.example/run", "must begin with http"),
        ("ftp://agent.example/", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("javascript:alert(1)", "must begin with http"),
        ("http://", "no valid host"),
        ("http:///run", "no valid host"),
        ("http://a..b/", "no valid host"),
        ("http://-a.example/", "no valid host"),
        ("http://a%2eb/", "no valid host"),
        ("http://8.8.8.8%00/", "no valid host"),
        (f"http://{'a' * 64}.example/", "no valid host"),
        (f"http://{'a.' * 130}example/", "no valid host"),
        ("http://[fe80::1%25lo]/", "no valid host"),
        ("http://[::1/", "not a URL"),
        ("http://a:b/", "not a URL"),
        ("http://a:0/", "from 1 to 65535"),
        ("http://a:65536/", "from 1 to 65535"),
        ("http://user:password@agent.example/", "user name or password"),
        ("http://user@agent.example/", "user name or password"),
        ("http://8.8.8.8#@10.0.0.1/", "fragment"),
        ("http://8.8.8.8\\@10.0.0.1/", "backslash"),
        ("http://a b/", "space"),
        ("http://a/\r\nX: y", "control character"),
        ("http://a/\t", "control character"),
        ("http://a/" + "x" * 2000, "more than 2000 characters"),
    ],
)
async def test_urls_that_cannot_be_endpoints_are_refused(url: str, why: str) -> None:
    with pytest.raises(EndpointNotAllowedError, match=why):
        endpoint(url)

    problem = await Guard().endpoint_problem(url)
    assert problem is not None
    assert why in problem
