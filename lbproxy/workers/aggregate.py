"""CONTROL. Counters of several processes as one.

A worker gives :func:`collect` of its load balancer, as JSON; the master's :class:`Tally` writes the sums into its own
counters and server states, so that whoever reads those (metrics, dashboard, API) need not know of workers.  What a dead
worker had counted is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from lbproxy.errors import Kind
from lbproxy.observe.metrics import Histogram
from lbproxy.proxy.features.mirror import Difference

__all__ = ["Elsewhere", "Tally", "collect", "take_differences"]

_SUSPECTS = 20  # addresses with the most refusals that each worker tells of


class Elsewhere(set[Any]):
    """As many sessions as the workers have: they can be counted, and not touched from here."""

    count = 0

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return self.count > 0


def collect(balancer: Any) -> dict[str, Any]:
    """What this process has counted."""
    return {
        "frontends": {
            name: {
                "counters": _plain(one.counters),
                "limits": {"refused": one.limits.refused},
                "now": {"clients": len(one.clients), "active": one.limits.active},
                "suspects": one.suspects.most(_SUSPECTS) if one.suspects is not None else {},
            }
            for name, one in balancer.frontends.items()
        },
        "backends": {
            name: {
                "counters": _plain(one.counters),
                "sticky": {} if one.sticky is None else _plain(one.sticky.counters),
                "mirror": {} if one.mirror is None else _plain(one.mirror.counters),
                "now": {
                    "queue": len(one.queue),
                    "copies": 0 if one.mirror is None else len(one.mirror.running),
                },
                "servers": {
                    server.name: {
                        "counters": _plain(server.counters),
                        "now": {
                            "active": server.active - server.elsewhere,
                            "sessions": len(server.sessions),
                            "ejected": int(server.ejected),
                            "long": one.rebalancer.count(server) if one.rebalancer else 0,
                        },
                    }
                    for server in one.group.servers.values()
                },
            }
            for name, one in balancer.backends.items()
        },
        "logs": {sink.path: sink.dropped for sink in balancer.log_sinks()},
        "now": {"connections": balancer.total.active},
    }


def take_differences(balancer: Any) -> dict[str, list[dict[str, Any]]]:
    """What mirrors have found since the last time, by backend; it is forgotten here."""
    found = {}
    for name, backend in balancer.backends.items():
        if backend.mirror is not None and backend.mirror.last:
            found[name] = [attrs.asdict(one) for one in backend.mirror.last]
            backend.mirror.last.clear()
    return found


def _plain(counters: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _names(counters):
        value = getattr(counters, name)
        if isinstance(value, Histogram):
            found[name] = {"counts": value.counts, "total": value.total}
        elif isinstance(value, dict):
            found[name] = {getattr(key, "value", key): count for key, count in value.items()}
        elif value is not None:
            found[name] = value
    return found


_fields: dict[type[Any], list[str]] = {}


def _names(counters: Any) -> Iterable[str]:
    """What a counters object counts; some are attrs classes and some are not."""
    names = _fields.get(type(counters))
    if names is None:
        public = [name for name in dir(counters) if not name.startswith("_")]
        names = [name for name in public if not callable(getattr(counters, name))]
        _fields[type(counters)] = names
    return names


class Tally:
    """``balancer``: the master's; its own probes and events count too."""

    def __init__(self, balancer: Any) -> None:
        self._balancer = balancer
        self._latest: dict[int, dict[str, Any]] = {}  # by slot
        self._dead: list[dict[str, Any]] = []
        self._differences: list[dict[str, Any]] = []  # that came since the last write

    def came(self, slot: int, found: dict[str, Any]) -> None:
        """A worker's latest."""
        self._latest[slot] = found

    def died(self, slot: int) -> None:
        """Its worker is gone; what it had counted stays."""
        last = self._latest.pop(slot, None)
        if last is not None:
            self._dead.append(last)
            if len(self._dead) > 1:
                self._dead = [_merged(self._dead)]

    def differ(self, found: dict[str, list[dict[str, Any]]]) -> None:
        """What :func:`take_differences` gave in a worker; shown together with its counts."""
        if found:
            self._differences.append(found)

    def write(self) -> None:
        """Bring the master's objects up to date."""
        total = _merged([*self._dead, *self._latest.values()])
        now = _merged(list(self._latest.values()))
        balancer = self._balancer
        balancer.total.active = _at(now, "now").get("connections", 0)
        for name, one in balancer.frontends.items():
            _fill(one.counters, _at(total, "frontends", name, "counters"))
            present = _at(now, "frontends", name, "now")
            one.limits.refused = _at(total, "frontends", name, "limits").get("refused", 0)
            one.limits.active = present.get("active", 0)
            _elsewhere(one, "clients", present.get("clients", 0))
            if one.suspects is not None:
                one.suspects.replace(_at(now, "frontends", name, "suspects"))
        for sink in balancer.log_sinks():
            sink.count_elsewhere(_at(total, "logs").get(sink.path, 0))
        for name, one in balancer.backends.items():
            _fill(one.counters, _at(total, "backends", name, "counters"))
            here = _at(now, "backends", name, "now")
            one.queue.elsewhere = here.get("queue", 0)
            if one.sticky is not None:
                _fill(one.sticky.counters, _at(total, "backends", name, "sticky"))
            if one.mirror is not None:
                _fill(one.mirror.counters, _at(total, "backends", name, "mirror"))
                _elsewhere(one.mirror, "running", here.get("copies", 0))
                for found in self._differences:
                    one.mirror.last.extend(map(_difference, found.get(name, ())))
            long: dict[str, int] = {}
            for server in one.group.servers.values():
                own = ("probes_ok", "probes_failed", "downs")  # the master itself probes
                counters = _at(total, "backends", name, "servers", server.name, "counters")
                _fill(server.counters, counters, but=own)
                present = _at(now, "backends", name, "servers", server.name, "now")
                server.active = present.get("active", 0)
                _elsewhere(server, "sessions", present.get("sessions", 0))
                long[server.name] = present.get("long", 0)
            if one.rebalancer is not None:
                one.rebalancer.elsewhere = long
            one.group.active = sum(server.active for server in one.group.servers.values())
        self._differences.clear()


def _difference(found: dict[str, Any]) -> Difference:
    """From JSON, which knows no tuples."""
    return Difference(**{**found, "what": tuple(found["what"])})


def _elsewhere(owner: Any, name: str, count: int) -> None:
    found = getattr(owner, name)
    if not isinstance(found, Elsewhere):
        found = Elsewhere()
        setattr(owner, name, found)
        if hasattr(owner, "lineage"):
            owner.lineage.clients = found
    found.count = count


def _at(tree: dict[str, Any], *path: str) -> dict[str, Any]:
    for word in path:
        tree = tree.get(word, {})
    return tree


def _merged(trees: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers added, lists element by element, dicts key by key."""
    merged: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            merged[key] = _sum(merged[key], value) if key in merged else value
    return merged


def _sum(one: Any, two: Any) -> Any:
    if isinstance(one, dict):
        return _merged([one, two])
    if isinstance(one, list):
        return [a + b for a, b in zip(one, two, strict=True)]
    return one + two


def _fill(counters: Any, values: dict[str, Any], but: Iterable[str] = ()) -> None:
    for name in _names(counters):
        if name in but or name not in values:
            continue
        value = values[name]
        present = getattr(counters, name)
        if isinstance(present, Histogram):
            present.counts, present.total = list(value["counts"]), value["total"]
        elif isinstance(present, dict):
            present.clear()
            present.update({Kind(key): count for key, count in value.items()})
        elif present is not None:
            setattr(counters, name, value)
