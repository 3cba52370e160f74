"""DATA. The scripts of caches with ``redis``, for :class:`~lbproxy.testing.redis.FakeRedis`."""

from __future__ import annotations

from typing import Any, Final

from lbproxy.proxy.features.caching.nodes.scripts import KEPT, LOGGED, NAMES, PREFIXES

__all__ = ["CacheScripts"]

_SIZE: Final = 16


class CacheScripts:
    """See the module. Hashes and sorted sets are dicts."""

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
        members = sum(len(self._dict(key)) for key in keys[1:4])
        return self._dict(keys[0]).get("count") == members

    def _begin(self, keys: tuple[bytes, ...], word: bytes) -> None:
        for key in keys[:4]:
            self._dict(key).clear()
        self._dict(keys[0]).update(epoch=word, seq=0, floor=0, trimmed=0, count=0)

    def _keep(self, keys: tuple[bytes, ...]) -> None:
        for key in keys[:4]:
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
        state, names, prefixes, log = map(self._dict, keys[:4])
        state["seq"] += 1
        number = state["seq"]
        log[words[1]] = number
        if words[2] == b"1":
            names.clear()
            prefixes.clear()
            state["floor"] = number
        else:
            names.update(dict.fromkeys(words[4:], number))
            if words[3]:
                prefixes[words[3]] = number
        limits = ((names, NAMES, "floor"), (prefixes, PREFIXES, "floor"), (log, LOGGED, "trimmed"))
        for members, most, mark in limits:
            for one, score in sorted(members.items(), key=_score)[: max(0, len(members) - most)]:
                state[mark] = max(state[mark], score)
                del members[one]
        state["count"] = len(names) + len(prefixes) + len(log)
        self._keep(keys)
        return number

    def _run_cache_get(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        if not self._whole(keys):
            return []
        state, found = self._dict(keys[0]), self._dict(keys[4])
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

    def _run_cache_put(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        epoch, selected, value, asked, latest, milliseconds, most = words
        if not self._whole(keys) or self._dict(keys[0])["epoch"] != epoch:
            return 0
        found = self._live(keys[4]) or self._set(keys[4], {}, int(milliseconds) / 1000)
        old = found.value.get(selected)
        if old is not None:
            word, _, before = old.split(b" ", 3)[:3]
            if word == epoch and float(asked) < float(before) <= float(latest):
                return 0
        elif len(found.value) >= int(most):
            del found.value[next(iter(found.value))]
        found.value[selected] = value
        end = self._set(keys[4], found.value, int(milliseconds) / 1000).until
        found.until = max(found.until, end)
        self._live(keys[4]).until = found.until
        return 1


def _score(item: tuple[Any, int]) -> int:
    return item[1]
