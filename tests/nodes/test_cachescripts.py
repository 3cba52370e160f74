"""Laws of the scripts of a cache in Redis, against a model that keeps all purges."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from lbproxy.testing import MemoryReactor, rediscache
from lbproxy.testing.redis import FakeRedis

KEYS = tuple(b"k:%d" % number for number in range(6))
NAMES = [bytes([letter]) * 16 for letter in b"abcdefgh"]
URL = b"/ab"


class Model:
    """A store, and all purges: number, hard or soft, and what they name."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.redis = FakeRedis(MemoryReactor())
        self.purges: list[tuple[int, bytes, Any]] = []
        self.run("sync", b"", b"0", b"e")
        self.stored: dict[tuple[bytes, bytes], tuple[int, list[bytes]]] = {}

    def run(self, name: str, *words: bytes, key: bytes = b"") -> Any:
        keys = (*KEYS, key) if key else KEYS
        return getattr(self.redis, f"_run_cache_{name}")(keys, words)

    def put(self) -> None:
        """Store a response of a node that lacks some of the purges."""
        key, field = self.place()
        names = self.random.sample(NAMES, self.random.randrange(1, 4))
        known = max(0, len(self.purges) - self.random.choice([0, 0, 0, 1, 2, 9]))
        value = b"e %d 1.5 %d 3\n" % (known, len(names)) + b"".join(names) + URL + b"%d" % known
        if self.run("put", b"e", field, value, b"1.5", b"4", b"60000", b"8", key=key):
            self.stored[key, field] = known, names
        else:
            assert self.purged(known, names) is not False or known < self.state("late")

    def place(self) -> tuple[bytes, bytes]:
        number = self.random.randrange(3)
        return b"o%d" % number, self.random.choice([b"", b"p"]) + bytes([number]) * 8

    def state(self, name: str) -> int:
        found: int = self.redis._dict(KEYS[0])[name]
        return found

    def purge(self) -> None:
        mark = self.random.choice([b"0", b"1"])
        kind = self.random.random()
        number = len(self.purges) + 1
        if kind < 0.05:
            self.run("purge", b"w", b"all%d" % number, b"1", b"")
            self.purges.append((number, b"0", None))
        elif kind < 0.15:
            prefix = self.random.choice([b"/a", b"/b"])
            self.run("purge", b"w", b"prefix%d" % number, b"0", mark + prefix)
            self.purges.append((number, mark, prefix))
        else:
            names = self.random.sample(NAMES, 2)
            self.run("purge", b"w", b"url%d" % number, b"0", b"", *(mark + one for one in names))
            self.purges.append((number, mark, names))

    def purged(self, known: int, names: list[bytes]) -> bool | None:
        """Whether a response is purged: True hard, None softly, False not."""
        marks = set()
        for number, mark, meant in self.purges:
            if number <= known:
                continue
            if meant is None:
                named = True
            elif isinstance(meant, bytes):
                named = URL.startswith(meant)
            else:
                named = bool(set(meant) & set(names))
            if named:
                marks.add(mark)
        return True if b"0" in marks else (None if marks else False)

    def get(self) -> None:
        """Nothing that is purged is found, and nothing else is lost if few purges are kept."""
        key, _ = self.place()
        reply = self.run("get", key=key)
        found = dict(zip(reply[::3], reply[1::3], strict=True))
        for (at, field), (known, names) in list(self.stored.items()):
            if at != key:
                continue
            purged = self.purged(known, names)
            if field in found:
                assert purged is not True
                assert bool(found[field]) == (purged is None)
            else:
                assert purged is True or known < self.state("floor")
                del self.stored[at, field]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kept", [6, 1000])
def test_nothing_purged_is_found(seed: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NAMES", "PREFIXES", "RECENT"):
        monkeypatch.setattr(rediscache, name, kept)
    random = Random(seed)
    model = Model(random)
    for _ in range(300):
        what = random.random()
        (model.put if what < 0.4 else model.get if what < 0.8 else model.purge)()


def test_purges_of_names_that_nothing_stored_has_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rediscache, "NAMES", 2)
    model = Model(Random(0))
    value = b"e 0 1.5 1 3\n" + NAMES[0] + URL + b"x"
    model.run("put", b"e", bytes(8), value, b"1.5", b"4", b"60000", b"8", key=b"o")
    for number in range(50):
        model.run("purge", b"w", b"%d" % number, b"0", b"", b"0%016d" % number)
    assert model.run("get", key=b"o") == [bytes(8), 0, b"x"]
    model.run("purge", b"w", b"it", b"0", b"", b"0" + NAMES[0])
    assert model.run("get", key=b"o") == []
