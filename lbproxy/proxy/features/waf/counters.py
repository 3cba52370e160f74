"""DATA. The counters of a firewall at one route."""

from __future__ import annotations

from attrs import define

from lbproxy.proxy.feature import counted

__all__ = ["WafCounters"]


@define(eq=False)
class WafCounters:
    """Totals of a route.  ``detected``: would have been refused in mode ``block``.

    ``broken``: bodies that are not what their head says. ``over_limit``: longer than
    ``body_limit``. ``unjudged``: without a verdict of the processes that judge by ``rules``. The
    others count matches of rules by class, ``own`` those of functions.
    """

    requests: int = counted()
    blocked: int = counted()
    detected: int = counted()
    broken: int = counted()
    over_limit: int = counted()
    unjudged: int = counted()
    protocol: int = counted()
    scanner: int = counted()
    traversal: int = counted()
    rfi: int = counted()
    command: int = counted()
    code: int = counted()
    xss: int = counted()
    sqli: int = counted()
    own: int = counted()

    def note(self, kind: str) -> None:
        """Count the match of a rule."""
        setattr(self, kind, getattr(self, kind) + 1)
