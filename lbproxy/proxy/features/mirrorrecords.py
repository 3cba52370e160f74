"""DATA. Counters of a mirror, and the differences that it has found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, frozen

if TYPE_CHECKING:
    pass

__all__ = ["MirrorCounters", "MirrorDifference"]


@define(eq=False)
class MirrorCounters:
    """Totals.  ``copied`` were sent; of these ``answered`` or ``failed`` (no server, no answer, too
    late); ``same`` or ``different`` where answers are compared, and what differed in ``status``,
    ``headers``, ``body``, ``predicate``.

    Not sent: ``busy`` (``max`` ran), ``too_large`` (body too long, or not complete when the
    response began).
    """

    copied: int = 0
    answered: int = 0
    failed: int = 0
    busy: int = 0
    too_large: int = 0
    same: int = 0
    different: int = 0
    status: int = 0
    headers: int = 0
    body: int = 0
    predicate: int = 0


@frozen
class MirrorDifference:
    """Two answers that differ.  ``at``: in the clock of ``now``.  ``path`` has no query, which may
    hold secrets.
    """

    at: float
    method: str
    path: str
    server: str
    copy_server: str
    what: tuple[str, ...]
