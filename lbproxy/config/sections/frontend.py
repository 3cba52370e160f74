"""PURE. ``[frontend NAME]``: its listeners, routes and filters."""

from __future__ import annotations

import re

from lbproxy.config.draft import Draft
from lbproxy.config.section import Judge, Section
from lbproxy.config.units import dump
from lbproxy.http.condition import path_key
from lbproxy.model import Condition, FrontendSpec, ListName, Where
from lbproxy.model.base import BACKEND_MODES

__all__ = ["FRONTEND"]

_NO_PATH = re.compile(r"~\^(\\[^\w/*]|[\w%!#&',:;=@~<>\"-])(?![?*{])[^|]*")
"""Matches regular expressions for text that begins with neither ``/`` nor ``*``, if their first
characters show that.
"""

_HYPHENS = 6  # each one doubles the number of spellings that are removed from other requests


def _check(draft: Draft, judge: Judge) -> None:
    if "listen" not in draft.broken and not draft.get("listen"):
        judge.wrong(draft, draft.line("listen"), "listen", "the frontend has no listener")
    keys = ("backend", "routes")
    routed = draft.get("mode", "http") not in BACKEND_MODES or any(draft.get(key) for key in keys)
    if not routed and not draft.broken.intersection((*keys, "mode")):
        message = (
            "the frontend has neither a backend nor routes, so that traffic has no destination"
        )
        judge.wrong(draft, draft.where, "", message)
    name = draft.get("backend", "")
    judge.known(draft, "backend", draft.line("backend"), "backend", name, judge.backends)
    _defaults(draft, judge)
    _reached(draft, judge)
    _possible(draft, judge)
    _bodies(draft, judge)
    for listen in draft.get("listen"):
        judge.key_pairs(draft, "listen", listen.where, listen.certificates)
    forwarded = draft.get("forwarded")
    if "none" in forwarded and len(forwarded) > 1:
        judge.wrong(
            draft,
            draft.line("forwarded"),
            "forwarded",
            "'none' cannot be combined with other words",
        )
    judge.plugins(draft, draft.mode, "filters", draft.get("filters"))
    actions = [route.action for route in draft.get("routes") if route.action is not None]
    judge.plugins(draft, draft.mode, "routes", actions)
    _lists(draft, judge)
    _methods(draft, judge)
    _real_ip(draft, judge)
    judge.http_only(draft, draft.mode)


def _lists(draft: Draft, judge: Judge) -> None:
    """Check that lists among the addresses exist."""
    names = judge.drafts.names("list")
    for key in ("allow", "deny", "allow_peers", "deny_peers"):
        for item in draft.get(key) if key not in draft.broken else ():
            if isinstance(item, ListName):
                judge.known(draft, key, draft.line(key), "list", item.name, names)


def _real_ip(draft: Draft, judge: Judge) -> None:
    """Check that ``real_ip`` is the name of a header, and that a proxy is trusted to send it."""
    name = draft.get("real_ip", "")
    if not name:
        return
    message = ""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", name) or name.count("-") > _HYPHENS:
        message = f"{name!r} is not the name of a header"
    elif name.lower() in ("x-forwarded-for", "forwarded"):
        message = f"{name} contains a list, which lbproxy reads only because of trusted_proxies"
    elif "trusted_proxies" not in draft.broken and not draft.get("trusted_proxies"):
        message = "no proxy may send this header: add the proxies to trusted_proxies"
    if message:
        judge.wrong(draft, draft.line("real_ip"), "real_ip", message)


def _methods(draft: Draft, judge: Judge) -> None:
    """Report methods that another key refuses."""
    named = draft.get("methods")
    for method, key, value in (("TRACE", "trace", True), ("CONNECT", "connect", "forward")):
        if method in named and key not in draft.broken and draft.get(key) != value:
            wanted = "forward" if key == "connect" else "yes"
            message = f"{method} is refused unless {key} = {wanted}"
            judge.wrong(draft, draft.line("methods"), "methods", message)


def _reached(draft: Draft, judge: Judge) -> None:
    """Report routes that are never reached, because the conditions of an earlier one are no
    stricter.
    """
    alone: dict[Condition, Where] = {}
    sets: dict[frozenset[Condition], Where] = {}
    prefixes: list[tuple[bytes, Where]] = []
    for route in draft.get("routes"):
        conditions: tuple[Condition, ...] = route.conditions
        whole = frozenset(conditions)
        first = sets.get(whole) or next((alone[c] for c in conditions if c in alone), None)
        first = first or _covered(conditions, prefixes)
        if conditions and first is not None:
            message = f"never reached: the route at {first} matches everything that this one would"
            judge.wrong(draft, route.where, "routes", message)
            continue
        sets[whole] = route.where
        if len(conditions) == 1:
            alone[conditions[0]] = route.where
            verb, args, negated = conditions[0]
            if verb == "path" and not negated:
                found = [path_key(arg) for arg in args]
                prefixes += [(path, route.where) for kind, path in found if kind == "prefix"]


def _possible(draft: Draft, judge: Judge) -> None:
    """Report conditions of routes that cannot hold with these listeners and methods.

    Routes of a ``[site NAME]`` are not checked, because a site may belong to several frontends.
    """
    if draft.broken & {"listen", "methods", "trusted_proxies"}:
        return
    own = (one for one in draft.get("routes") if not _of_site(draft, one.where))
    for route in own:
        for verb, args, negated in route.conditions:
            why = "" if negated else _impossible(draft, verb, args)
            if why:
                text = " ".join((verb, *args))
                judge.wrong(draft, route.where, "routes", f"never matches: {text!r}, but {why}")


def _bodies(draft: Draft, judge: Judge) -> None:
    """Report routes that allow a larger body than the frontend, whose limit is checked first."""
    most = None if "max_body" in draft.broken else draft.get("max_body", None)
    for route in draft.get("routes") if most is not None else ():
        if route.max_body is not None and route.max_body > most:
            message = f"max_body={dump('size', route.max_body)} of the route is never reached: "
            message += f"max_body of the frontend is {dump('size', most)}"
            judge.wrong(draft, route.where, "routes", message)


def _of_site(draft: Draft, where: Where) -> bool:
    return draft.elsewhere.get(where, "").lstrip("[").startswith("site ")


def _impossible(draft: Draft, verb: str, args: tuple[str, ...]) -> str:
    """Return why a condition never holds in this frontend, "" if it may."""
    listeners = draft.get("listen")
    plain = all(listen.endpoint.startswith(("tcp:", "tcp6:")) for listen in listeners)
    if verb == "method" and draft.get("methods") and not set(args) & {*draft.get("methods")}:
        return "methods contains none of these"
    connects = "connect" in draft.broken or draft.get("connect") == "forward"
    if verb == "path" and not connects and all(_NO_PATH.fullmatch(arg) for arg in args):
        return "a path begins with '/'"
    if verb == "sni" and draft.mode == "http" and plain:
        return "no listener has TLS"
    if verb == "scheme" and args == ("https",) and plain and not draft.get("trusted_proxies"):
        return "no listener has TLS, and no proxy is trusted"
    if verb == "port" and not any(listen.accept_proxy for listen in listeners):
        addresses = [listen.address for listen in listeners]
        ports = {str(one.port) for one in addresses if one is not None and one.kind == "tcp"}
        known = None not in addresses and "0" not in ports
        if known and not {str(int(arg)) for arg in args} & ports:
            return "no listener uses this port"
    return ""


def _covered(
    conditions: tuple[Condition, ...], prefixes: list[tuple[bytes, Where]]
) -> Where | None:
    """Return the earlier route whose path prefix covers all the paths of a condition."""
    for verb, args, negated in conditions:
        if verb != "path" or negated or not prefixes:
            continue
        keys = [path_key(arg) for arg in args]
        for prefix, where in prefixes:
            if all(kind in ("exact", "prefix") and path.startswith(prefix) for kind, path in keys):
                return where
    return None


def _defaults(draft: Draft, judge: Judge) -> None:
    """Check that a route without conditions is the last one, and that the key ``backend`` is not
    redundant.
    """
    first = None
    for route in draft.get("routes"):
        if first is not None:
            message = f"never reached: the default at {first} takes everything"
            judge.wrong(draft, route.where, "routes", message)
        elif not route.conditions:
            first = route.where
            if draft.get("backend", ""):
                message = "'default' and the key backend set the default twice; keep one of them"
                judge.wrong(draft, route.where, "routes", message)


def _addresses(judge: Judge) -> None:
    """Report lines with overlapping addresses, of which the kernel would refuse one."""
    seen: dict[tuple[str, int | str], list[tuple[str, Where]]] = {}
    lines = [(draft, "listen") for draft in judge.drafts.of("frontend")]
    lines += [(draft, "admin") for draft in judge.drafts.of("lbproxy")]
    for draft, key in lines:
        for listen in draft.get(key):
            address = listen.address
            if address is None or (address.kind == "tcp" and address.port == 0):
                continue
            host = "" if address.host == "0.0.0.0" else address.host
            others = seen.setdefault((address.kind, address.port or address.path), [])
            taken = next((other for other in others if _overlap(host, other[0])), None)
            others.append((host, listen.where))
            if taken is not None:
                how = "is the same address as" if host == taken[0] else "overlaps with the one"
                message = f"{listen.endpoint!r} {how} at {taken[1]}"
                judge.wrong(draft, listen.where, key, message)


def _overlap(one: str, two: str) -> bool:
    """Return whether two hosts share addresses: "" is all of IPv4, ``::`` both families."""
    if one == two or "::" in (one, two):
        return True
    return "" in (one, two) and ":" not in one + two


FRONTEND = Section(
    "frontend",
    FrontendSpec,
    doc="The client-facing side: listeners, filters, routes and limits.",
    field="frontends",
    plural="frontends",
    between=_addresses,
    check=_check,
)
