"""DATA. Counters of a mirror, and the differences that it has found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, frozen

if TYPE_CHECKING:
    pass

__all__ = ["MirrorCounters", "MirrorDifference"]


@define(eq=False)
class MirrorCounters:
    """Totals. ``copied``: copies sent, of which ``answered`` or ``failed`` (no server, no response,
    too late). ``same`` or ``different``: compared responses, with the differences in ``status``,
    ``headers``, ``body`` and ``predicate``.

    Not sent: ``busy`` (``max`` copies were running), ``too_large`` (body too long, or incomplete
    when the response started).
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
    """Two different responses. ``at``: in the clock of ``now``. ``path`` excludes the query, which
    may contain secrets.
    """

    at: float
    method: str
    path: str
    server: str
    copy_server: str
    what: tuple[str, ...]
