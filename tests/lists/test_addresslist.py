"""Changes of operators to a list: what one turn of the reactor does with 100,000 of them."""

from __future__ import annotations

from time import thread_time

import pytest

from lbproxy.lists import addresslist
from lbproxy.lists.addresslist import AddressList


def test_replacing_many_edits_takes_no_long_turn() -> None:
    many = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(0, 200_000, 2)]
    addresses = AddressList("office")
    addresses.edit(many[:99_500], ())
    start = thread_time()
    for text in many[99_500:]:  # one message of a process that begins
        addresses.add(text)
    assert thread_time() - start < 0.04
    start = thread_time()
    addresses.edit((), ())  # the message that precedes them
    assert thread_time() - start < 0.04
    assert not addresses.added and many[0] not in addresses


def test_an_edit_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresslist, "MOST_EDITS", 2)
    made = AddressList("x")
    made.add("192.0.2.1")
    made.add("192.0.2.2")
    made.add("192.0.2.2")
    with pytest.raises(ValueError, match="at most 2 changes"):
        made.bounds_for("192.0.2.3", made.added)
    assert made.bounds_for("192.0.2.2", made.added)
    with pytest.raises(ValueError, match="neither an address"):
        made.bounds_for("x", made.added)
