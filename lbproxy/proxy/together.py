"""PURE. Declarations of objects that several owners of a feature share, such as one cache of many
routes.

:attr:`lbproxy.proxy.feature.Feature.together` declares it. Inventory, workers and alerts read the
declaration, so that none of them knows the feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import field, frozen

from lbproxy.observe.counters import Table
from lbproxy.observe.events import EventKind, EventSeverity

__all__ = ["Growth", "SharedQuestion", "Together"]


@frozen
class Growth:
    """A counter whose growth is an event (``alerts/watch.py``).

    ``key`` names the counter among those of ``subject``, ``total`` is its value since the start.
    ``words(count)`` is the text of an event for ``count`` more.  ``facts`` are its facts besides
    ``count``.
    """

    key: str
    total: int
    kind: EventKind
    subject: str
    words: Callable[[int], str]
    severity: EventSeverity = EventSeverity.INFO
    facts: Mapping[str, Any] = field(factory=dict)

    def check(self) -> None:
        """Raise TypeError for values of a feature with which no event could be shown."""
        if type(self.total) is not int or not isinstance(self.subject, str):
            raise TypeError(f"growth {self.key!r} of {self.subject!r}: total is {self.total!r}")
        if not isinstance(self.kind, EventKind) or not isinstance(self.severity, EventSeverity):
            raise TypeError(f"growth {self.key!r}: {self.kind!r}, {self.severity!r}")


@frozen
class SharedQuestion:
    """A question about an object that every process answers, as ``why`` of a cache.

    ``here(object, **arguments)`` is the answer of one process, in JSON types.  ``gather(answers)``
    makes one answer of those of all processes; a process without the object gives None.
    """

    here: Callable[..., Any]
    gather: Callable[[Iterable[Any]], Any]


@frozen
class Together:
    """Objects that owners of one feature share.

    ``name``: of the kind of object, in the reports of workers.  ``find(features)`` returns the
    objects by their names, for the features by the names of their owners.  ``table``: what workers
    report of each object, how reports are added up, and how the master shows the sums.
    ``questions`` by name: what may be asked about an object in all processes.
    """

    name: str
    find: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    table: Table
    questions: Mapping[str, SharedQuestion] = field(factory=dict)
