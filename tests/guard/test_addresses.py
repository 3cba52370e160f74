"""Address sets against the obvious implementation, and the order of deny and allow."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.guard.addresses import Access, AddressSet, address_number, split_address

MAPPED = ip_network("::ffff:0:0/96")


def networks(*texts: str) -> list[Any]:
    return [ip_network(text) for text in texts]


def naive(nets: list[Any], text: str) -> bool:
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in net for net in nets if net.version == address.version)


def near(nets: list[Any]) -> list[str]:
    """Addresses at and just outside the edges of each network."""
    found = []
    for net in nets:
        for number in (int(net.network_address), int(net.broadcast_address)):
            for edge in (number - 1, number, number + 1):
                if 0 <= edge < 1 << net.max_prefixlen:
                    found.append(str(type(net.network_address)(edge)))
    return found


v4_nets = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: ip_network((pair[0], pair[1]), strict=False)
)
v6_nets = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda pair: ip_network((pair[0], pair[1]), strict=False)
)


@given(st.lists(v4_nets | v6_nets, max_size=12), st.lists(st.ip_addresses().map(str), max_size=8))
def test_set_equals_naive(nets: list[Any], texts: list[str]) -> None:
    nets = [net for net in nets if net.version == 4 or not net.subnet_of(MAPPED)]
    addresses = AddressSet(nets)
    for text in texts + near(nets):
        assert (text in addresses) == naive(nets, text), text


@pytest.mark.parametrize(
    ("nets", "ip", "inside"),
    [
        (("10.0.0.0/8",), "10.255.255.255", True),
        (("10.0.0.0/8",), "11.0.0.0", False),
        (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (("::ffff:10.0.0.0/104",), "10.1.2.3", True),
        (("::ffff:10.0.0.0/104",), "11.1.2.3", False),
        (("::/0",), "10.1.2.3", False),
        (("::/0",), "2001:db8::1", True),
        (("0.0.0.0/0",), "2001:db8::1", False),
        (("0.0.0.0/0",), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False),
        (("0.0.0.0/0", "::/0"), "1.2.3.4", True),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("0.0.0.0/0", "::/0"), "", False),
        (("0.0.0.0/0", "::/0"), "localhost", False),
        (("0.0.0.0/0",), "1.2.3.4:80", False),
        ((), "1.2.3.4", False),
    ],
)
def test_set(nets: tuple[str, ...], ip: str, inside: bool) -> None:
    assert (ip in AddressSet(networks(*nets))) is inside


def test_neighbours_are_merged() -> None:
    addresses = AddressSet(networks("10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"))
    assert len(addresses._firsts) == 1


def test_numbers() -> None:
    assert address_number("nonsense") == -1
    assert address_number("::1") == 1
    assert address_number("::ffff:1.2.3.4") == address_number("1.2.3.4")
    assert address_number("::102:304") != address_number("1.2.3.4")


@pytest.mark.parametrize(
    ("allow", "deny", "ip", "passes"),
    [
        ((), (), "1.2.3.4", True),
        ((), (), "", True),
        (("10.0.0.0/8",), (), "10.0.0.1", True),
        (("10.0.0.0/8",), (), "11.0.0.1", False),
        (("10.0.0.0/8",), (), "", False),
        ((), ("10.0.0.0/8",), "10.0.0.1", False),
        ((), ("10.0.0.0/8",), "11.0.0.1", True),
        (("10.0.0.0/8",), ("10.9.0.0/16",), "10.9.0.1", False),
        (("10.0.0.0/8",), ("10.9.0.0/16",), "10.8.0.1", True),
    ],
)
def test_access(allow: tuple[str, ...], deny: tuple[str, ...], ip: str, passes: bool) -> None:
    access = Access(networks(*allow), networks(*deny))
    assert access.allows(ip) is passes
    assert access.open is (not allow and not deny)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b" 192.0.2.1\t", ("192.0.2.1", 0)),
        (b"192.0.2.1:80", ("192.0.2.1", 80)),
        (b"192.0.2.1:", ("", 0)),
        (b"192.0.2.1:_port", ("192.0.2.1", 0)),
        (b"192.0.2.1:65536", ("192.0.2.1", 0)),
        (b"192.0.2.1:8 0", ("", 0)),
        (b"2001:db8::1", ("2001:db8::1", 0)),
        (b"[2001:db8::1]", ("2001:db8::1", 0)),
        (b"[2001:db8::1]:80", ("2001:db8::1", 80)),
        (b"[2001:db8::1]80", ("", 0)),
        (b"[2001:db8::1", ("", 0)),
        (b"[192.0.2.1]", ("", 0)),
        (b"fe80::1%eth0", ("", 0)),
        (b"_hidden", ("", 0)),
        (b"unknown", ("", 0)),
        (b"1" * 200, ("", 0)),
    ],
)
def test_an_address_and_its_port(text: bytes, found: tuple[str, int]) -> None:
    assert split_address(text) == found


class Office:
    """A list that may change."""

    name = "office"

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    def __contains__(self, ip: str) -> bool:
        return ip in self._addresses


def test_why_a_client_may_not_connect() -> None:
    ip, other = "192.0.2.1", AddressSet(networks("198.51.100.0/24"))
    listed = Office(ip)
    assert Access(deny_lists=[other, listed]).why_not(ip) == (
        f"{ip} is not allowed: it is in list:office"
    )
    empty = Office()
    access = Access(allow_lists=[empty])
    assert not access.allows(ip)
    assert access.why_not(ip) == f"{ip} is not allowed: it is not in list:office"
    both = Access(deny=networks("192.0.2.0/24"), deny_lists=[listed], allow_lists=[empty])
    assert both.why_not(ip) == f"{ip} is not allowed", "the key itself denies it"
    assert repr(other) == "<addresses 198.51.100.0/24>"
