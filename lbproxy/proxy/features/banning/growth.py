"""PURE. The event of new bans."""

from __future__ import annotations

from lbproxy.observe.events import EventKind, EventSeverity
from lbproxy.proxy.together import Growth

__all__ = ["new_bans"]


def new_bans(frontend: str, total: int) -> Growth:
    """Return the counter of bans of a frontend, and its event."""

    def words(count: int) -> str:
        return f"frontend {frontend} banned {count} address{'' if count == 1 else 'es'}"

    facts = {"frontend": frontend}
    kind, severity = EventKind.CLIENTS_BANNED, EventSeverity.WARNING
    return Growth("bans", total, kind, frontend, words, severity, facts)
