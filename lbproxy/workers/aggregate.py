"""CONTROL. Counters of several processes as one.

A worker gives :func:`collect` of its load balancer, as JSON; the master's :class:`Tally` writes the sums into its own
counters and server states, so that whoever reads those (metrics, dashboard, API) need not know of workers.  What a dead
worker had counted is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lbproxy.errors import Kind
from lbproxy.observe.metrics import Histogram

__all__ = ["Elsewhere", "Tally", "collect", "take_records"]

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
                "features": _features(one),
                "now": {"clients": len(one.clients), "active": one.limits.active},
                "suspects": one.suspects.most(_SUSPECTS) if one.suspects is not None else {},
            }
            for name, one in balancer.frontends.items()
        },
        "backends": {
            name: {
                "counters": _plain(one.counters),
                "features": _features(one),
                "now": {"queue": len(one.queue)},
                "servers": {
                    server.name: {
                        "counters": _plain(server.counters),
                        "now": {
                            "active": server.active - server.elsewhere,
                            "sessions": len(server.sessions),
                            "ejected": int(server.ejected),
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


def take_records(balancer: Any) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """What features of backends have recorded since the last time, by backend and feature."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, backend in balancer.backends.items():
        for one in backend.features.values():
            records = one.take_records()
            if records:
                found.setdefault(name, {})[one.name] = records
    return found


def _features(owner: Any) -> dict[str, Any]:
    """What the features of a frontend or a backend count, and their state now."""
    counts = {name: _plain(found) for name, found in owner.counts.items()}
    counts |= {
        one.name: _plain(one.counters)
        for one in owner.features.values()
        if one.counters is not None
    }
    return {
        "counters": counts,
        "now": {one.name: one.gauges() for one in owner.features.values()},
    }


def _show_features(owner: Any, total: dict[str, Any], now: dict[str, Any]) -> None:
    """Write the sums of all workers into ``owner``."""
    counters, states = _at(total, "features", "counters"), _at(now, "features", "now")
    for name, found in owner.counts.items():
        _fill(found, counters.get(name, {}))
    for one in owner.features.values():
        if one.counters is not None:
            _fill(one.counters, counters.get(one.name, {}))
        one.show_gauges(states.get(one.name, {}))


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
        self._records: list[dict[str, Any]] = []  # that came since the last write

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

    def recorded(self, found: dict[str, Any]) -> None:
        """What :func:`take_records` gave in a worker; shown together with its counts."""
        if found:
            self._records.append(found)

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
            _show_features(one, _at(total, "frontends", name), _at(now, "frontends", name))
            _elsewhere(one, "clients", present.get("clients", 0))
            if one.suspects is not None:
                one.suspects.replace(_at(now, "frontends", name, "suspects"))
        for sink in balancer.log_sinks():
            sink.count_elsewhere(_at(total, "logs").get(sink.path, 0))
        for name, one in balancer.backends.items():
            _fill(one.counters, _at(total, "backends", name, "counters"))
            here = _at(now, "backends", name, "now")
            one.queue.elsewhere = here.get("queue", 0)
            _show_features(one, _at(total, "backends", name), _at(now, "backends", name))
            for records in self._records:
                for feature, found in records.get(name, {}).items():
                    if feature in one.features:
                        one.features[feature].add_records(found)
            for server in one.group.servers.values():
                own = ("probes_ok", "probes_failed", "downs")  # the master itself probes
                counters = _at(total, "backends", name, "servers", server.name, "counters")
                _fill(server.counters, counters, but=own)
                present = _at(now, "backends", name, "servers", server.name, "now")
                server.active = present.get("active", 0)
                _elsewhere(server, "sessions", present.get("sessions", 0))
            one.group.active = sum(server.active for server in one.group.servers.values())
        self._records.clear()


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
