"""PURE. Counters of several processes: how they are reported, added up and shown.

A :class:`Table` lists the :class:`Value` objects that a worker process reports of one kind of
object, such as a frontend.  :func:`collect` makes the report in a worker; the master adds reports
up with :func:`merge` and shows the sums with :func:`show`.  A report consists of JSON types.
:mod:`lbproxy.workers.aggregate` has the tables.

All public attributes of a counters object (:class:`lbproxy.observe.metrics.FrontendCounters` and
others) are reported. A new counter is therefore declared only in its class.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

from lbproxy.errors import Kind
from lbproxy.observe.metrics import Histogram

__all__ = [
    "Lifetime",
    "Report",
    "Table",
    "Value",
    "add",
    "collect",
    "counters",
    "dump_counters",
    "load_counters",
    "merge",
    "setter",
    "show",
]

Report = dict[str, Any]
"""Values by name, and for each kind of part (``frontends``) the reports of the parts by name."""


class Lifetime(Enum):
    """How long a value is kept: beyond the end of its process, or beyond a report."""

    TOTAL = "total"  # a total since start: kept when the process ends
    NOW = "now"  # a state: dropped when the process ends
    ONCE = "once"  # an observation since the last report: shown once


def add(one: Any, two: Any) -> Any:
    """Return the sum of two values: numbers, lists element by element, dicts key by key."""
    if isinstance(one, dict):
        return {**one, **{k: add(one[k], v) if k in one else v for k, v in two.items()}}
    if isinstance(one, list):
        return [a + b for a, b in zip(one, two, strict=True)]
    return one + two


@frozen
class Value:
    """One value of an object.

    ``read(object)`` returns the value in a worker, or None if it reports none. ``write(object,
    sum)`` shows it in the master. ``combine`` adds the values of two processes. ``empty`` is the
    sum when no process reports a value.
    """

    name: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]
    lifetime: Lifetime = Lifetime.NOW
    combine: Callable[[Any, Any], Any] = add
    empty: Any = 0


Parts = Callable[[Any], Mapping[str, Any]]


@frozen
class Table:
    """The values of one kind of object, and the tables of its parts by name."""

    values: tuple[Value, ...]
    parts: Mapping[str, tuple[Parts, Table]] = field(factory=dict)


def collect(table: Table, owner: Any) -> Report:
    """Return the report about ``owner``."""
    report: Report = {}
    for value in table.values:
        found = value.read(owner)
        if found is not None:
            report[value.name] = found
    for kind, (parts, inner) in table.parts.items():
        report[kind] = {name: collect(inner, part) for name, part in parts(owner).items()}
    return report


def merge(table: Table, reports: Iterable[Report], lifetimes: Collection[Lifetime]) -> Report:
    """Return the sum of the values of ``reports`` whose lifetime is one of ``lifetimes``."""
    reports = list(reports)
    merged: Report = {}
    for value in table.values:
        if value.lifetime not in lifetimes:
            continue
        for report in reports:
            if value.name in report:
                one = report[value.name]
                known = value.name in merged
                merged[value.name] = value.combine(merged[value.name], one) if known else one
    for kind, (_, inner) in table.parts.items():
        by_name: dict[str, list[Report]] = {}
        for report in reports:
            for name, part in report.get(kind, {}).items():
                by_name.setdefault(name, []).append(part)
        merged[kind] = {name: merge(inner, found, lifetimes) for name, found in by_name.items()}
    return merged


def show(table: Table, owner: Any, report: Report) -> None:
    """Write the values of ``report`` into ``owner`` and its parts. Missing values are written as
    their ``empty``.
    """
    for value in table.values:
        value.write(owner, report.get(value.name, value.empty))
    for kind, (parts, inner) in table.parts.items():
        found = report.get(kind, {})
        for name, part in parts(owner).items():
            show(inner, part, found.get(name, {}))


def setter(path: str) -> Callable[[Any, Any], None]:
    """Return a function that sets the attribute at ``path``, such as ``limits.active``."""
    *owners, name = path.split(".")

    def write(owner: Any, value: Any) -> None:
        for one in owners:
            owner = getattr(owner, one)
        setattr(owner, name, value)

    return write


def counters(name: str, get: Callable[[Any], Any], but: Collection[str] = ()) -> Value:
    """Return the value for the counters object ``get(object)``, which may be None.

    ``but``: counters that the master counts itself.
    """

    def read(owner: Any) -> Any:
        found = get(owner)
        return None if found is None else dump_counters(found)

    def write(owner: Any, values: Any) -> None:
        found = get(owner)
        if found is not None:
            load_counters(found, values, but)

    return Value(name, read, write, Lifetime.TOTAL, empty={})


def dump_counters(found: Any) -> dict[str, Any]:
    """Return the public attributes of a counters object as JSON types, except those that are
    None.
    """
    values: dict[str, Any] = {}
    for name in _names(found):
        value = getattr(found, name)
        if isinstance(value, Histogram):
            values[name] = {"counts": value.counts, "total": value.total}
        elif isinstance(value, dict):
            values[name] = {getattr(key, "value", key): count for key, count in value.items()}
        elif value is not None:
            values[name] = value
    return values


def load_counters(found: Any, values: Mapping[str, Any], but: Collection[str] = ()) -> None:
    """Set the attributes of a counters object to ``values``, except those in ``but``. Others are
    unchanged.
    """
    for name in _names(found):
        if name in but or name not in values:
            continue
        value = values[name]
        present = getattr(found, name)
        if isinstance(present, Histogram):
            present.counts, present.total = list(value["counts"]), value["total"]
        elif isinstance(present, dict):
            present.clear()
            present.update({Kind(key): count for key, count in value.items()})
        elif present is not None:
            setattr(found, name, value)


_fields: dict[type[Any], tuple[str, ...]] = {}


def _names(found: Any) -> tuple[str, ...]:
    """Return the public data attributes of a counters object: an attrs class, a class with slots,
    or a compiled one.
    """
    names = _fields.get(type(found))
    if names is None:
        public = (name for name in dir(found) if not name.startswith("_"))
        names = tuple(name for name in public if not callable(getattr(found, name)))
        _fields[type(found)] = names
    return names
