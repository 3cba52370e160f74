"""Who does the most, in bounded memory."""

from __future__ import annotations

from lbproxy.observe.offenders import Offenders


def test_the_worst_of_the_last_minute() -> None:
    offenders = Offenders()
    assert offenders.worst() is None
    for _ in range(3):
        offenders.add("a")
    offenders.add("b")
    assert offenders.worst() == ("a", 3)
    offenders.turn()
    offenders.add("a")
    assert offenders.worst() == ("a", 4)
    assert offenders.most(1) == {"a": 4}
    offenders.turn()
    offenders.turn()
    assert offenders.worst() is None
    offenders.add("a")
    offenders.turn()
    offenders.replace({"b": 2, "c": 1})
    assert offenders.most(9) == {"b": 2, "c": 1}


def test_a_flood_of_addresses_does_not_hide_the_busy_one_or_take_memory() -> None:
    offenders = Offenders(size=100)
    for n in range(100_000):
        offenders.add(f"n{n}")
        if n % 10 == 0:
            offenders.add("busy")
    assert len(offenders._counts) <= 100
    worst = offenders.worst()
    assert worst is not None and worst == ("busy", 10_000)
