"""CONTROL. The report of a worker each second, and the sums in the master.

:func:`process_table` lists everything that is reported (:mod:`lbproxy.observe.counters`), the
objects that features declare (:class:`lbproxy.proxy.together.Together`) included. A worker reports
:func:`report_of` its load balancer. The master's :class:`Totals` writes the sums into its own
objects, so metrics, dashboard and API read the same attributes with workers as without.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from lbproxy.features import Kind, all_features
from lbproxy.observe.counters import (
    Lifetime,
    Report,
    Table,
    Value,
    collect,
    counters,
    dump_counters,
    load_counters,
    merge,
    setter,
    show,
)
from lbproxy.proxy.guarding import ask, guard

__all__ = ["Totals", "process_table", "report_of"]

_OFFENDERS = 20  # number of addresses with the most refusals that each worker reports
_MASTER_COUNTS = ("probes_ok", "probes_failed", "downs")  # the master runs the checks


def _show_offenders(frontend: Any, found: dict[str, int]) -> None:
    if frontend.offenders is not None:
        frontend.offenders.replace(found)


def _feature_counts(owner: Any) -> dict[str, Any]:
    """Return the counters of the features of an owner, by name."""
    counts = {name: dump_counters(found) for name, found in owner.counts.items()}
    for one in owner.features.values():
        if one.counters is not None:
            counts[one.name] = dump_counters(one.counters)
    return counts


def _show_feature_counts(owner: Any, total: dict[str, Any]) -> None:
    for name, found in owner.counts.items():
        load_counters(found, total.get(name, {}))
    for one in owner.features.values():
        if one.counters is not None:
            load_counters(one.counters, total.get(one.name, {}))


def _gauges(owner: Any) -> dict[str, Any]:
    return {one.name: ask({}, one.gauges) for one in owner.features.values()}


def _show_gauges(owner: Any, total: dict[str, Any]) -> None:
    for one in owner.features.values():
        guard(one.show_gauges, total.get(one.name, {}))


def _take_records(owner: Any) -> dict[str, Any] | None:
    """Return the records of features since the last report. Each record is returned once."""
    none: list[dict[str, Any]] = []
    found = {
        one.name: records
        for one in owner.features.values()
        if (records := ask(none, one.take_records))
    }
    return found or None


def _add_records(owner: Any, found: dict[str, Any]) -> None:
    for name, records in found.items():
        if name in owner.features:
            guard(owner.features[name].add_records, records)


def _concatenate(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    return {name: [*one.get(name, ()), *two.get(name, ())] for name in one | two}


def _show_active(backend: Any, active: int) -> None:
    backend.group.active = active


def _read_drops(balancer: Any) -> dict[str, int]:
    return {sink.path: sink.dropped for sink in balancer.log_sinks()}


def _show_drops(balancer: Any, found: dict[str, int]) -> None:
    for sink in balancer.log_sinks():
        sink.set_remote_dropped(found.get(sink.path, 0))


def _read_shared(balancer: Any) -> dict[str, float] | None:
    return None if balancer.nodes is None else balancer.nodes.totals()


def _show_shared(balancer: Any, total: dict[str, float]) -> None:
    if balancer.nodes is not None:
        balancer.nodes.elsewhere = total


def _read_shared_down(balancer: Any) -> int:
    return int(balancer.nodes is not None and not balancer.nodes.up)


def _show_shared_down(balancer: Any, total: int) -> None:
    if balancer.nodes is not None:
        balancer.nodes.processes_down = total


FEATURES = (
    Value("feature_counts", _feature_counts, _show_feature_counts, Lifetime.TOTAL, empty={}),
    Value("gauges", _gauges, _show_gauges, empty={}),
    Value("records", _take_records, _add_records, Lifetime.ONCE, _concatenate, empty={}),
)
"""The declarations of :class:`lbproxy.proxy.feature.Feature`, for all features of all owners."""

FRONTEND = Table(
    (
        counters("counters", lambda one: one.counters),
        Value("refused", lambda one: one.limits.refused, setter("limits.refused"), Lifetime.TOTAL),
        Value("active", lambda one: one.limits.active, setter("limits.active")),
        Value("clients", lambda one: len(one.clients), setter("lineage.remote_clients")),
        Value(
            "offenders",
            lambda one: None if one.offenders is None else one.offenders.most(_OFFENDERS),
            _show_offenders,
            empty={},
        ),
        *FEATURES,
    )
)

SERVER = Table(
    (
        counters("counters", lambda one: one.counters, but=_MASTER_COUNTS),
        Value("active", lambda one: one.active - one.remote_active, setter("active")),
        Value("sessions", lambda one: len(one.sessions), setter("remote_sessions")),
    )
)

BACKEND = Table(
    (
        counters("counters", lambda one: one.counters),
        Value("queue", lambda one: len(one.queue), setter("queue.remote")),
        Value(
            "active",
            lambda one: sum(
                server.active - server.remote_active for server in one.group.servers.values()
            ),
            _show_active,
        ),
        *FEATURES,
    ),
    {"servers": (lambda one: one.group.servers, SERVER)},
)

PROCESS = Table(
    (
        Value("connections", lambda one: one.total.active, setter("total.active")),
        Value("handshakes", lambda one: one.handshakes.active, setter("handshakes.active")),
        Value(
            "handshakes_waiting", lambda one: one.handshakes.waiting, setter("handshakes.waiting")
        ),
        Value("lag", lambda one: one.worker_lag, setter("worker_lag"), combine=max, empty=0.0),
        Value(
            "lag_max",
            lambda one: one.worker_lag_max,
            setter("worker_lag_max"),
            combine=max,
            empty=0.0,
        ),
        Value("shared", _read_shared, _show_shared, Lifetime.TOTAL, empty={}),
        Value("shared_down", _read_shared_down, _show_shared_down),
        Value("log_drops", _read_drops, _show_drops, Lifetime.TOTAL, empty={}),
    ),
    {
        "frontends": (lambda one: one.frontends, FRONTEND),
        "backends": (lambda one: one.backends, BACKEND),
        "routes": (lambda one: one.routes, Table(FEATURES)),
    },
)


def process_table() -> Table:
    """Return the table of a process: :data:`PROCESS`, and what features have together."""
    shared = {
        kind.together.name: (partial(_together, kind), kind.together.table)
        for kind in all_features()
        if kind.together is not None
    }
    return Table(PROCESS.values, {**PROCESS.parts, **shared})


def _together(kind: Kind, balancer: Any) -> Any:
    return balancer.together(kind)


def report_of(balancer: Any) -> Report:
    """Return the report of this process. Values that are reported once are removed."""
    return collect(process_table(), balancer)


class Totals:
    """The sums of all workers. ``balancer``: that of the master, which shows them."""

    def __init__(self, balancer: Any) -> None:
        self._balancer = balancer
        self._table = process_table()
        self._latest: dict[int, Report] = {}  # last report by slot
        self._ended: list[Report] = []  # reports of processes that have ended, merged into one
        self._once: list[Report] = []  # changes since the last :meth:`write`

    def received(self, slot: int, report: Report) -> None:
        """Store a worker's latest report."""
        self._latest[slot] = report
        self._once.append(merge(self._table, [report], {Lifetime.ONCE}))
        if len(self._once) > 1:
            self._once = [merge(self._table, self._once, {Lifetime.ONCE})]

    def ended(self, slot: int) -> None:
        """Keep the totals of a process that has ended."""
        last = self._latest.pop(slot, None)
        if last is not None:
            self._ended = [merge(self._table, [*self._ended, last], {Lifetime.TOTAL})]

    def write(self) -> None:
        """Write the sums into the master's objects."""
        latest = merge(self._table, self._latest.values(), {Lifetime.TOTAL, Lifetime.NOW})
        parts = [latest, *self._ended, *self._once]
        show(self._table, self._balancer, merge(self._table, parts, set(Lifetime)))
        self._once.clear()
