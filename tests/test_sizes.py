"""A module is one idea: at most 350 lines."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "lbproxy"
MOST = 350

LONGER: dict[str, str] = {
    "net/sender.py": "writing and ending, which share the bytes that wait",
    "proxy/features/caching/fetch.py": "the states of a fetch, and what each of them does",
    "proxy/features/caching/source.py": "the decisions about one request, in their order",
    "proxy/features/caching/store.py": "memory and disk as one store, whose changes go together",
    "proxy/features/caching/nodes/tier.py": "the order of purges among nodes",
}
"""Longer modules, and the one idea that a cut would divide."""

LONGEST = 430


def _lines() -> dict[str, int]:
    return {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }


def test_modules_are_short() -> None:
    wrong = {
        name: count
        for name, count in _lines().items()
        if count > (LONGEST if name in LONGER else MOST)
    }
    assert not wrong


def test_every_exception_is_needed() -> None:
    assert [name for name in LONGER if _lines()[name] <= MOST] == []
