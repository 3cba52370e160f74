"""DATA. The scripts of caches with ``redis``, for :class:`~lbproxy.testing.redis.FakeRedis`."""

from __future__ import annotations

from typing import Any, Final

from lbproxy.proxy.features.caching.nodes.scripts import (
    BITS,
    KEPT,
    LOGGED,
    NAMES,
    PREFIXES,
    RECENT,
)

__all__ = ["CacheScripts"]

_SIZE: Final = 16


class CacheScripts:
    """See the module. Hashes and sorted sets are dicts, and the bitmap has its set bits as keys."""

    __slots__ = ()

    def _live(self, key: bytes) -> Any:
        raise NotImplementedError

    def _set(self, key: bytes, value: Any, seconds: float) -> Any:
        raise NotImplementedError

    def now(self) -> float:
        """Return the time of the server."""
        raise NotImplementedError

    def _dict(self, key: bytes) -> dict[Any, Any]:
        found = self._live(key) or self._set(key, {}, 0.0)
        value: dict[Any, Any] = found.value
        return value

    def _whole(self, keys: tuple[bytes, ...]) -> bool:
        return self._dict(keys[0]).get("count") == self._members(keys)

    def _members(self, keys: tuple[bytes, ...]) -> int:
        sets = sum(len(self._dict(key)) for key in keys[1:5])
        return sets + (self._live(keys[5]) is not None)

    def _begin(self, keys: tuple[bytes, ...], word: bytes) -> None:
        for key in keys[:6]:
            self._dict(key).clear()
        self._dict(keys[0]).update(epoch=word, seq=0, floor=0, trimmed=0, late=0, count=1)

    def _keep(self, keys: tuple[bytes, ...]) -> None:
        for key in keys[:6]:
            self._live(key).until = self.now() + KEPT

    def _run_cache_sync(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        if not self._whole(keys):
            self._begin(keys, words[2])
            self._keep(keys)
            return [words[2], 0, 1]
        if self._live(keys[0]).until < self.now() + KEPT / 2:
            self._keep(keys)
        state, log = self._dict(keys[0]), self._dict(keys[3])
        known = int(words[1])
        if state["epoch"] != words[0] or known < state["trimmed"]:
            return [state["epoch"], state["seq"], 1]
        found = [one for one, number in sorted(log.items(), key=_score) if number > known]
        return [state["epoch"], state["seq"], 0, *found]

    def _run_cache_purge(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        if not self._whole(keys):
            self._begin(keys, words[0])
        state, names, prefixes, log, recent, bits = map(self._dict, keys[:6])
        state["seq"] += 1
        number = state["seq"]
        log[words[1]] = number
        if words[2] == b"1":
            names.clear()
            prefixes.clear()
            bits.clear()
            state["floor"] = number
        else:
            recent.update(dict.fromkeys(words[4:], number))
            stored = [one for one in words[4:] if _bit(one[1:]) in bits]
            names.update(dict.fromkeys(stored, number))
            if words[3]:
                prefixes[words[3]] = number
        limits = (
            (names, NAMES, "floor"), (prefixes, PREFIXES, "floor"), (log, LOGGED, "trimmed"),
            (recent, RECENT, "late"),
        )  # fmt: skip
        for members, most, mark in limits:
            for one, score in sorted(members.items(), key=_score)[: max(0, len(members) - most)]:
                state[mark] = max(state[mark], score)
                del members[one]
        state["count"] = self._members(keys)
        self._keep(keys)
        return number

    def _run_cache_get(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        if not self._whole(keys):
            return []
        state, found = self._dict(keys[0]), self._dict(keys[6])
        out = []
        for selected, value in list(found.items()):
            line, _, rest = value.partition(b"\n")
            try:
                epoch, known, _, names, url = line.split(b" ")
                at = _SIZE * int(names)
                behind = at + int(url)
            except ValueError:
                epoch = b""
            soft = None
            if epoch == state["epoch"] and int(known) >= state["floor"]:
                soft = self._purged(keys, rest[:at], rest[at:behind], int(known))
            if soft is None:
                del found[selected]
            else:
                out += [selected, soft, rest[behind:]]
        return out

    def _purged(
        self, keys: tuple[bytes, ...], names: bytes, url: bytes, known: int
    ) -> int | None:  # None: purged; 1: softly
        purged, prefixes = self._dict(keys[1]), self._dict(keys[2])
        own = {names[at : at + _SIZE] for at in range(0, len(names), _SIZE)}
        meant = [one for one in purged if one[1:] in own and purged[one] > known]
        meant += [one for one in prefixes if url.startswith(one[1:]) and prefixes[one] > known]
        if any(one[:1] == b"0" for one in meant):
            return None
        return int(bool(meant))

    def _run_cache_drop(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        selected, asked, latest = words
        found = self._live(keys[6])
        old = None if found is None else found.value.get(selected)
        if old is None:
            return 0
        try:
            stands = float(asked) < float(old.split(b" ", 3)[2]) <= float(latest)
        except (ValueError, IndexError):
            stands = False
        if not stands:
            del found.value[selected]
        return int(not stands)

    def _run_cache_put(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        epoch, selected, value, asked, latest, milliseconds, most = words
        if not self._whole(keys) or self._dict(keys[0])["epoch"] != epoch:
            return 0
        names = self._storable(keys, value)
        if names is None:
            return 0
        found = self._live(keys[6]) or self._set(keys[6], {}, int(milliseconds) / 1000)
        old = found.value.get(selected)
        if old is not None:
            word, _, before = old.split(b" ", 3)[:3]
            if word == epoch and float(asked) < float(before) <= float(latest):
                return 0
        else:
            same = [one for one in found.value if len(one) == len(selected)]
            if len(same) >= int(most):
                del found.value[same[0]]
        self._dict(keys[5]).update(dict.fromkeys(map(_bit, names), 1))
        found.value[selected] = value
        end = self._set(keys[6], found.value, int(milliseconds) / 1000).until
        found.until = max(found.until, end)
        self._live(keys[6]).until = found.until
        return 1

    def _storable(self, keys: tuple[bytes, ...], value: bytes) -> list[bytes] | None:
        """Return the names of a value, None if it was purged."""
        line, _, rest = value.partition(b"\n")
        known, _, count, _ = map(float, line.split(b" ")[1:])
        names = [rest[at : at + _SIZE] for at in range(0, _SIZE * int(count), _SIZE)]
        if known < self._dict(keys[0])["late"]:
            return None
        recent = self._dict(keys[4])
        marked = [mark + name for name in names for mark in (b"0", b"1")]
        return None if any(recent.get(one, 0) > known for one in marked) else names


def _bit(name: bytes) -> int:
    return int.from_bytes(name[:4], "big") % BITS


def _score(item: tuple[Any, int]) -> int:
    return item[1]
