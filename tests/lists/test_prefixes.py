"""Prefix sets against a plain model, their text, and lists that change."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.guard.addresses import V4_BASE, AddressSet
from lbproxy.lists.addresslist import AddressList
from lbproxy.lists.prefixes import PrefixSet
from lbproxy.lists.ranges import RangeSet
from lbproxy.lists.text import BROKEN, bounds_of, read_list

V4 = st.builds(
    lambda number, length: f"{ip_address(number)}/{length}",
    st.integers(0, (1 << 32) - 1),
    st.integers(0, 32),
)
V6 = st.builds(
    lambda number, length: f"{ip_address(number)}/{length}",
    st.one_of(st.integers(1 << 60, (1 << 128) - 1), st.integers(1 << 127, (1 << 127) + (1 << 66))),
    st.integers(0, 128),
)


WHERE = st.integers(0, 40)


def near(network: str) -> list[str]:
    """Addresses at the borders of a network."""
    one = ip_network(network, strict=False)
    first, last = int(one.network_address), int(one.broadcast_address)
    most = (1 << one.max_prefixlen) - 1
    kind = type(one.network_address)
    return [
        str(kind(n))
        for n in (first - 1, first, (first + last) // 2, last, last + 1)
        if 0 <= n <= most
    ]


@given(st.lists(st.one_of(V4, V6), max_size=20), st.lists(st.one_of(V4, V6), max_size=5))
def test_it_agrees_with_the_set_of_networks(members: list[str], others: list[str]) -> None:
    found = read_list(members)
    model = AddressSet(ip_network(one, strict=False) for one in members)
    assert found.lines == len(members) and not found.bad
    for one in (*members, *others):
        for ip in near(one):
            assert (ip in found.prefixes) == (ip in model), ip
    again = read_list(found.prefixes.networks())
    assert list(again.prefixes.networks()) == list(found.prefixes.networks())
    assert "" not in found.prefixes and "unix" not in found.prefixes


def test_a_large_set_uses_its_index() -> None:
    odd = [f"{ip_address(n * 70001)}" for n in range(60_000)]
    found = read_list([*odd, "2001:db8::/32", "2001:db9::1"]).prefixes
    assert found._index is not None and len(found) == 60_002
    assert all(ip in found for ip in odd)
    assert not any(str(ip_address(n * 70001 + 1)) in found for n in range(60_000))
    assert "2001:db8:ffff::" in found and "2001:db9::2" not in found
    assert "255.255.255.255" not in found and "0.0.0.1" not in found
    assert found.bytes < 60_000 * 8 + 300_000
    assert "::ffff:0.1.17.113" in found, "an IPv4-mapped address is the IPv4 address"


def test_a_large_set_of_ipv6() -> None:
    base = int(ip_address("2001:db8::"))
    wide = [f"{ip_address(base + (n * 3 << 64))}/64" for n in range(1000)]
    same = [f"{ip_address((base << 1) + n * 3)}" for n in range(1000)]  # one first half for all
    found = read_list([*wide, *same]).prefixes
    model = AddressSet(ip_network(one) for one in (*wide, *same))
    for one in (*wide, *same):
        for ip in near(one):
            assert (ip in found) == (ip in model), ip
    assert "::1" not in found and "ffff::" not in found


RANGES = st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda one: (one[0], sum(one)))


@given(st.lists(st.tuples(st.booleans(), RANGES)), st.lists(RANGES))
def test_a_range_set_agrees_with_a_set_of_numbers(
    steps: list[tuple[bool, tuple[int, int]]], begin: list[tuple[int, int]]
) -> None:
    found = RangeSet(begin)
    model = {number for first, last in begin for number in range(first, last + 1)}
    for more, (first, last) in steps:
        span = set(range(first, last + 1))
        assert found.overlaps((first, last)) == bool(model & span)
        if more:
            found.add((first, last))
            model |= span
        else:
            found.remove((first, last))
            model -= span
        assert {number for number in range(42) if found.has(number)} == model


def test_an_edit_among_many_takes_little_time() -> None:
    one = AddressList("l")
    many = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(0, 200_000, 2)]
    one.edit(many[:90_000], [f"9.{text}" for text in ("0.0.1", "0.0.3")])
    start = time.process_time()
    for text in many[90_000:90_100]:
        one.add(text)
        assert text in one
    assert time.process_time() - start < 0.5, "edits that copy the list take seconds"
    one.remove("10.0.0.4")
    assert "10.0.0.4" not in one and "10.0.0.2" in one and len(one.added) == 90_099


def test_text_of_lists() -> None:
    text = ["# bad", "", "192.0.2.1 ; SBL1", "10.0.0.7/8", "2001:db8::1/64", " 10.1.0.0-10.1.0.9"]
    found = read_list(text)
    assert found.lines == 4 and not found.bad
    assert list(found.prefixes.networks()) == ["10.0.0.0/8", "192.0.2.1", "2001:db8::/64"]
    wrong = ["x", "1.2.3", "1.2.3.4/33", "9.0.0.0-8.0.0.0", "1.2.3.4-::1", "1.2.3.4/", "١.2.3.4"]
    bad = read_list([*wrong, "192.0.2.9"])
    assert [one.number for one in bad.bad] == [1, 2, 3, 4, 5, 6, 7]
    assert "192.0.2.9" in bad.prefixes
    assert len(read_list(["<html>"] * 1000).bad) == BROKEN
    assert bounds_of("0.0.0.0/0") is not None and bounds_of("::/0") is not None
    assert "::1" not in read_list(["0.0.0.0/0"]).prefixes
    assert "1.2.3.4" not in read_list(["::/0"]).prefixes


def test_a_list_that_operators_change() -> None:
    one = AddressList("office")
    told: list[int] = []
    one.changed.append(lambda: told.append(one.version))
    assert not one.loaded and not one and "10.0.0.1" not in one
    one.load(read_list(["10.0.0.0/8"]).prefixes)
    one.remove("10.0.0.1")
    one.add("192.0.2.0/24")
    assert "10.0.0.1" not in one and "10.0.0.2" in one and "192.0.2.7" in one
    one.load(read_list(["10.0.0.1"]).prefixes)
    assert "10.0.0.1" not in one, "what an operator took out stays out"
    one.add("10.0.0.1")
    assert "10.0.0.1" in one and not one.removed
    one.remove("192.0.2.0/24")
    assert "192.0.2.7" not in one
    assert told == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="neither an address"):
        one.add("office.example.com")
    one.edit(["192.0.2.1", "junk"], ["10.0.0.1"])
    assert "192.0.2.1" in one and "10.0.0.1" not in one


def test_a_range_inside_the_source_can_be_taken_out_after_it_was_added() -> None:
    one = AddressList("l")
    one.load(read_list(["10.0.0.0/8"]).prefixes)
    one.add("10.1.0.0/16")
    one.remove("10.1.0.0/16")
    assert "10.1.2.3" not in one and "10.2.0.0" in one
    one.add("10.0.0.0/7")
    one.remove("10.0.0.0/7")
    assert "10.2.0.0" not in one, "a part of it is in the source"
    empty = AddressList("e")
    empty.load(PrefixSet())
    assert empty.loaded and not empty


def test_the_last_word_of_an_operator_holds() -> None:
    one = AddressList("l")
    one.load(read_list(["192.0.2.7", "2001:db8::/32"]).prefixes)
    one.add("192.0.2.128/25")
    one.remove("192.0.2.130")
    assert "192.0.2.130" not in one and "192.0.2.129" in one and "192.0.2.131" in one
    one.add("192.0.2.9")
    one.remove("192.0.2.9/32")
    assert "192.0.2.9" not in one, "in another spelling"
    one.remove("2001:db8::/16")
    one.add("2001:db8:1::-2001:db8:2::5")
    assert "2001:db8:1::1" in one and "2001:db8::1" not in one and "2001:db8:2::6" not in one
    again = AddressList("l")
    again.load(one.source)
    for text in one.added:
        again.add(text)
    for text in one.removed:
        again.remove(text)
    for ip in ("192.0.2.129", "192.0.2.130", "192.0.2.9", "2001:db8:1::1", "2001:db8:3::"):
        assert (ip in again) is (ip in one), "a process that begins is told in any order"


def test_what_was_added_and_taken_out_leaves_nothing() -> None:
    one = AddressList("l")
    one.load(read_list(["10.0.0.0/8", "2001:db8::1"]).prefixes)
    for text in ("192.0.2.1", "2001:db8::/127"):
        one.add(text)
        one.remove(text)
    assert not one.added and list(one.removed) == ["2001:db8::/127"]


@given(st.lists(st.tuples(WHERE, WHERE), max_size=6), WHERE, WHERE)
def test_overlaps(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    for base in (0, V4_BASE):
        inside = [(base + min(one), base + max(one)) for one in ranges]
        low, high = base + min(first, last), base + max(first, last)
        expected = any(one[0] <= high and one[1] >= low for one in inside)
        assert PrefixSet(inside).overlaps((low, high)) is expected


def test_large_sets_of_ipv6_that_are_spread_unevenly() -> None:
    """Few of the first 16 bits, dense and sparse parts, and ranges from one of them to another."""
    random = Random(7)
    tops = (0x0, 0x2001, 0x2002, 0x2A00, 0xFFFF)
    ranges = []
    for top in tops:
        for _ in range(600):
            first = (top << 112) + (random.getrandbits(random.choice((20, 60, 111))) << 1)
            ranges.append((first, first + random.choice((0, 1 << 10, (1 << 64) - 1, 1 << 80))))
    ranges.append((0x2003 << 112, (0x29FE << 112) + 5))
    ranges = [(first, min(last, (1 << 128) - 1)) for first, last in ranges]
    prefixes = PrefixSet(ranges)
    merged = RangeSet(ranges)
    asked = [number + step for one in ranges for number in one for step in (-1, 0, 1)]
    asked += [(random.getrandbits(16) << 112) + random.getrandbits(112) for _ in range(2000)]
    asked += [0, (1 << 128) - 1]
    for number in asked:
        if 0 <= number < 1 << 128:
            assert prefixes.has(number) is merged.has(number), hex(number)
