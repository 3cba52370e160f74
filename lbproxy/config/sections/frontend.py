"""PURE. ``[frontend NAME]``: its listeners, routes and filters."""

from __future__ import annotations

from lbproxy.config.draft import Draft
from lbproxy.config.section import Judge, Section
from lbproxy.model import Address, FrontendSpec, Where

__all__ = ["FRONTEND"]


def _check(draft: Draft, judge: Judge) -> None:
    if "listen" not in draft.broken and not draft.get("listen"):
        judge.wrong(draft, draft.line("listen"), "listen", "the frontend has no listener")
    keys = ("backend", "routes")
    if not any(draft.get(key) for key in keys) and not draft.broken.intersection(keys):
        message = "the frontend has neither a backend nor routes; traffic has nowhere to go"
        judge.wrong(draft, draft.where, "", message)
    name = draft.get("backend", "")
    judge.known(draft, "backend", draft.line("backend"), "backend", name, judge.backends)
    _defaults(draft, judge)
    for listen in draft.get("listen"):
        judge.key_pairs(draft, "listen", listen.where, listen.certificates)
    forwarded = draft.get("forwarded")
    if "none" in forwarded and len(forwarded) > 1:
        judge.wrong(draft, draft.line("forwarded"), "forwarded", "'none' stands alone")
    judge.plugins(draft, draft.mode, "filters", draft.get("filters"))
    actions = [route.action for route in draft.get("routes") if route.action is not None]
    judge.plugins(draft, draft.mode, "routes", actions)
    judge.http_only(draft, draft.mode)


def _defaults(draft: Draft, judge: Judge) -> None:
    """A route without conditions ends the list, and makes the key ``backend`` idle."""
    first = None
    for route in draft.get("routes"):
        if first is not None:
            message = f"never reached: the default at {first} takes everything"
            judge.wrong(draft, route.where, "routes", message)
        elif not route.conditions:
            first = route.where
            if draft.get("backend", ""):
                message = "'default' and the key backend say the same thing twice; keep one"
                judge.wrong(draft, route.where, "routes", message)


def _addresses(judge: Judge) -> None:
    """No two lines listen at the same address."""
    seen: dict[Address, Where] = {}
    lines = [(draft, "listen") for draft in judge.drafts.of("frontend")]
    lines += [(draft, "admin") for draft in judge.drafts.of("lbproxy")]
    for draft, key in lines:
        for listen in draft.get(key):
            address = listen.address
            if address is None or (address.kind == "tcp" and address.port == 0):
                continue
            if address.host == "0.0.0.0":
                address = Address("tcp", "", address.port)
            first = seen.setdefault(address, listen.where)
            if first is not listen.where:
                message = f"{listen.endpoint!r} is the same address as at {first}"
                judge.wrong(draft, listen.where, key, message)


FRONTEND = Section(
    "frontend",
    FrontendSpec,
    doc="The client-facing side: listeners, filters, routes and limits.",
    field="frontends",
    plural="frontends",
    between=_addresses,
    check=_check,
)
