"""Changes of operators to a list: what one turn of the reactor does with 100,000 of them."""

from __future__ import annotations

from time import thread_time

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
