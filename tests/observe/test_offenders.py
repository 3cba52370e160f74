"""Who does the most, in bounded memory."""

from __future__ import annotations

from lbproxy.observe.offenders import Suspects


def test_the_worst_of_the_last_minute() -> None:
    suspects = Suspects()
    assert suspects.worst() is None
    for _ in range(3):
        suspects.add("a")
    suspects.add("b")
    assert suspects.worst() == ("a", 3)
    suspects.turn()
    suspects.add("a")
    assert suspects.worst() == ("a", 4)
    assert suspects.most(1) == {"a": 4}
    suspects.turn()
    suspects.turn()
    assert suspects.worst() is None
    suspects.add("a")
    suspects.turn()
    suspects.replace({"b": 2, "c": 1})
    assert suspects.most(9) == {"b": 2, "c": 1}


def test_a_flood_of_addresses_does_not_hide_the_busy_one_or_take_memory() -> None:
    suspects = Suspects(size=100)
    for n in range(100_000):
        suspects.add(f"n{n}")
        if n % 10 == 0:
            suspects.add("busy")
    assert len(suspects._counts) <= 100
    worst = suspects.worst()
    assert worst is not None and worst == ("busy", 10_000)
