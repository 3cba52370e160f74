"""DATA. The counters of a firewall at one route."""

from __future__ import annotations

from attrs import define

from lbproxy.proxy.feature import counted

__all__ = ["WafCounters"]


@define(eq=False)
class WafCounters:
    """Totals of a route.

    ``detected``: requests that mode ``block`` would have refused. ``broken``: bodies that do not
    match their head. ``over_limit``: bodies longer than ``body_limit``. ``unjudged``: requests
    without a verdict from the processes that judge by ``rules``. The others count matches of rules
    by class, ``own`` those of the operator's functions.
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
