"""Addresses and names that lbproxy does not connect to on behalf of others."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbproxy.guard import AddressJudge, TargetRefused
from lbproxy.guard.judge import name_reason
from lbproxy.guard.special import V4, V6, special_reason

ADDRESSES = st.ip_addresses()
JUDGE = AddressJudge()

DIFFERENCES = {
    # networks that ipaddress calls global, of one Python version or another, and that are refused
    "168.63.129.16/32", "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
    "192.175.48.0/24", "224.0.0.0/4", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48",
    "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:10::/28", "2001:20::/28", "2002::/16",
    "2620:4f:8000::/48", "3ffe::/16", "3fff::/20", "5f00::/16", "fec0::/10", "ff00::/8",
}  # fmt: skip

REFUSED_TEXT = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.1.2.3
127.255.255.255 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1
192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1
192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.254 255.255.255.255 168.63.129.16 100.100.100.200 :: ::1
::2 ::7f00:1 ::a00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
::ffff:0:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 64:ff9b:1::808:808 100::1
100:0:0:1::1 1::1 2001::1 2001:0:7f00:1:: 2001:1::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1
2002:7f00:1::1 2002:808:808::1 2620:4f:8000::1 3ffe::1 3fff::1 3fff:fff::1 4000::1 5f00::1
8000::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1
2a00:1450:4001::5efe:7f00:1 2a00:1450:4001::200:5efe:a00:1 fe00::1
"""

PUBLIC_TEXT = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
168.63.129.15 172.15.255.255 172.32.0.0 192.0.1.0 198.17.255.255 198.20.0.0 223.255.255.255
2000::1 2001:200::1 2001:4860:4860::8888 2606:4700::1111 2a00:1450:4001:81b::200e 3ffd::1
3fff:1000::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
"""


@pytest.mark.parametrize("address", REFUSED_TEXT.split())
def test_refused(address: str) -> None:
    assert JUDGE.reason(address, 80)
    with pytest.raises(TargetRefused, match=r"is"):
        JUDGE.check([address], 80)


@pytest.mark.parametrize("address", PUBLIC_TEXT.split())
def test_public(address: str) -> None:
    assert JUDGE.reason(address, 80) == ""


@pytest.mark.parametrize("text", ["", "example.com", "127.1", "0x7f.0.0.1", "08.8.8.8", "::1%lo"])
def test_no_literal_or_one_with_a_zone(text: str) -> None:
    assert JUDGE.reason(text, 80)


@given(ADDRESSES)
@example(ip_address("192.0.0.9"))
@example(ip_address("fec0::1"))
def test_what_ipaddress_refuses_we_refuse(address: IPv4Address | IPv6Address) -> None:
    inner = getattr(address, "ipv4_mapped", None) or address
    if not inner.is_global or inner.is_multicast or inner.is_reserved or inner.is_unspecified:
        nat64 = address in IPv6Network("64:ff9b::/96") if address.version == 6 else False
        assert nat64 or special_reason(address)


@given(st.integers(0, 2**32 - 1))
def test_translated_addresses_are_judged_by_the_address_inside(number: int) -> None:
    wanted = special_reason(IPv4Address(number))
    for network in ("::ffff:0:0", "64:ff9b::"):
        assert special_reason(IPv6Address(int(IPv6Address(network)) + number)) == wanted


@pytest.mark.parametrize("network", [network for network, _ in (*V4, *V6)], ids=str)
def test_the_first_and_last_address_of_each_network(network: IPv6Network) -> None:
    for address in (network[0], network[-1]):
        assert special_reason(address)
    ends = (network[1 % network.num_addresses], network[-1])
    different = any(one.is_global and not one.is_multicast for one in ends)
    assert not different or str(network) in DIFFERENCES


def test_the_differences_are_networks_of_the_table() -> None:
    assert {str(network) for network, _ in (*V4, *V6)} >= DIFFERENCES


def test_one_forbidden_address_spoils_an_answer() -> None:
    JUDGE.check(["1.1.1.1", "2606:4700::1111"], 443)
    with pytest.raises(TargetRefused, match=r"10.0.0.1 is private"):
        JUDGE.check(["1.1.1.1", "10.0.0.1"], 443)
    with pytest.raises(TargetRefused, match="no address"):
        JUDGE.check([], 443)


def test_public_networks_lift_the_rules_of_addresses_and_interfaces() -> None:
    judge = AddressJudge(public=["127.95.1.0/24"], interfaces=["127.95.1.9"])
    assert judge.reason("127.95.1.9", 80) == ""
    assert judge.reason("::ffff:127.95.1.9", 80) == ""
    assert judge.reason("127.95.2.1", 80)


def test_addresses_of_this_machine() -> None:
    judge = AddressJudge(interfaces=["8.8.8.8", "fe80::1%eth0", "2606:4700::1"])
    for address in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1"):
        assert judge.reason(address, 80) == "an address of this machine"
    assert judge.reason("8.8.8.9", 80) == ""


def test_own_listeners_are_refused_whatever_is_public() -> None:
    judge = AddressJudge(
        public=["127.0.0.0/8", "8.0.0.0/8", "::/0"],
        interfaces=["8.8.8.8"],
        listeners=[
            ("127.0.0.1", 8404),
            ("", 8080),
            ("::", 8081),
            ("8.8.8.8", 443),
            ("::ffff:0.0.0.0", 8082),
        ],
    )
    mine = [
        ("127.0.0.1", 8404), ("::ffff:127.0.0.1", 8404), ("0.0.0.0", 8404), ("::", 8404),
        ("127.0.0.1", 8080), ("127.9.9.9", 8080), ("::1", 8081), ("8.8.8.8", 8080),
        ("127.0.0.1", 8082),
        ("8.8.8.8", 443), ("64:ff9b::8.8.8.8", 443),
    ]  # fmt: skip
    for address, port in mine:
        assert judge.reason(address, port) == "a listener of lbproxy itself", (address, port)
    for address, port in (("127.0.0.2", 8404), ("8.8.8.9", 8080), ("127.0.0.1", 80)):
        assert judge.reason(address, port) == ""


@pytest.mark.parametrize("network", ["10.0.0.0/8", "fc00::/7"])
def test_a_public_network_may_be_any(network: str) -> None:
    assert AddressJudge(public=[network]).reason(str(ip_network(network)[5]), 80) == ""


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "a.localhost", "printer.local", "metadata.google.internal", "metadata",
        "instance-data", "db.corp", "a.home.arpa", "x.onion", "kubernetes.default.svc",
        "api.default.svc.cluster.local", "router.lan", "intranet", "example.com.", "a..b", ".a.b",
        "a.b-", "-a.b", "a_.-b", "", ".", "a.1", "1.2.3", "x" * 64 + ".com", "a." * 126 + "comm",
        "a b.com", "a/b.com", "a%.com", "localhost.",
    ],
)  # fmt: skip
def test_names_that_are_refused_whatever_they_resolve_to(name: str) -> None:
    assert name_reason(name)


@pytest.mark.parametrize("name", ["example.com", "a_b.example", "xn--bcher-kva.example", "1.com"])
def test_names_that_may_be_resolved(name: str) -> None:
    assert name_reason(name) == ""


def test_listeners_that_come_later() -> None:
    found: list[tuple[str, int]] = []
    judge = AddressJudge(
        public=["127.95.1.0/24"], interfaces=["192.0.2.7"], listening=lambda: list(found)
    )
    assert judge.reason("127.95.1.1", 8000) == ""
    found.append(("127.95.1.1", 8000))
    assert judge.reason("127.95.1.1", 8000) == "a listener of lbproxy itself"
    assert judge.reason("127.95.1.1", 8001) == ""
    found.append(("", 8001))
    assert judge.reason("127.95.1.1", 8001) == "a listener of lbproxy itself"
    assert judge.reason("8.8.8.8", 8001) == ""
