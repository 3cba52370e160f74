"""DATA. ``[limit NAME]`` and the key ``limits``: section, key and option of routes."""

from __future__ import annotations

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Where, hidden, option
from lbproxy.config.section import Judge, Section
from lbproxy.limits.rate import Rate
from lbproxy.limits.rules import Action, LimitUse
from lbproxy.model.filefunction import FileFunction

__all__ = ["LIMIT", "LimitDeclaration", "LimitSpec", "limit_words"]


@frozen
class LimitSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    rate: Rate | None = option(
        "line:limit_rate",
        None,
        doc="how much a key may use in a time, and at once",
        example="100/10s burst=50",
    )
    concurrent: int = option(
        "int",
        0,
        min=0,
        max=1_000_000,
        doc="requests, or connections, of a key at once; in place of ``rate``",
    )
    key: str = option(
        "string",
        "{client_ip}",
        doc="whom the limit counts: text with the variables of ``set-header``; each value has a"
        " limit of its own",
    )
    key_function: FileFunction | None = option(
        "line:predicate",
        None,
        doc="Python function that returns the key of a request or a session, in place of ``key``;"
        " it runs on the event loop",
        example="keys.py:tenant",
    )
    action: Action = option("line:limit_action", Action(), doc="what happens beyond the limit")
    method: str = option(
        "choice",
        "bucket",
        choices=("bucket", "window"),
        doc="``bucket``: ``burst`` at once, then at the rate; ``window``: at most ``burst`` in any"
        " time span of the rate",
    )
    prefix: tuple[int, int] = option(
        "line:limit_prefix", (32, 64), doc="``{client_ip}`` in keys is a prefix of this length"
    )
    unit: str = option(
        "choice",
        "requests",
        choices=("requests", "connections", "bytes", "errors"),
        doc="what is counted: requests (in tcp mode sessions), accepted connections, bytes in both"
        " directions, or responses with 4xx and 5xx; errors are charged at the end and judged at"
        " the next request; bytes beyond the limit pause traffic that runs (``delay``) or end it"
        " (``reject``)",
    )
    empty: str = option(
        "choice",
        "pass",
        choices=("pass", "limit"),
        doc="traffic whose key is empty: not limited, or limited together",
    )
    on_error: str = option(
        "choice",
        "open",
        choices=("open", "closed"),
        doc="traffic whose limit cannot be asked, because its key fails or the ``[shared]`` store"
        " is down: passed (the limit then holds at each node by itself), or refused with 503",
    )
    nodes: bool = option(
        "bool",
        True,
        doc="with ``[shared]``: all nodes hold the limit together",
    )
    headers: bool = option(
        "bool", False, doc="add RateLimit and RateLimit-Policy to all responses, not only to 429"
    )
    where: Where = hidden(NOWHERE)


def limit_words(spec: LimitSpec) -> str:
    """Return the limit for people."""
    if spec.rate is None:
        return f"{spec.concurrent} at once"
    rate = spec.rate
    return f"{rate.amount:g} {spec.unit} in {rate.seconds:g} s, {rate.burst:g} at once"


def _check(draft: Draft, judge: Judge) -> None:
    if draft.broken & {"rate", "concurrent", "unit", "method", "action"}:
        return
    rate, concurrent, unit = (
        draft.get("rate", None),
        draft.get("concurrent", 0),
        draft.get("unit", ""),
    )
    action = draft.get("action")
    kind = action.kind if isinstance(action, Action) else "reject"
    if (rate is None) == (concurrent == 0):
        message = "a limit has either 'rate' or 'concurrent'"
        judge.wrong(draft, draft.where, "", message)
    if concurrent and unit not in ("", "requests", "connections"):
        message = "'concurrent' counts requests or connections"
        judge.wrong(draft, draft.line("unit"), "unit", message)
    if kind == "delay" and (concurrent or draft.get("method", "") == "window"):
        message = "delay needs a 'rate' with 'method = bucket', which says when a request may go on"
        judge.wrong(draft, draft.line("action"), "action", message)
    if unit == "connections" and kind not in ("reject", "log", "ban"):
        message = "connections are accepted or closed at once: reject, log or ban"
        judge.wrong(draft, draft.line("action"), "action", message)
    _check_key(draft, judge, unit)


def _check_key(draft: Draft, judge: Judge, unit: str) -> None:
    if draft.broken & {"key", "key_function"}:
        return
    if draft.get("key_function", None) is not None:
        _check_function(draft, judge, unit)
        return
    from lbproxy.proxy.features.limiting.key import Key

    try:
        key = Key(draft.get("key", "{client_ip}"), (32, 64))
    except ValueError as error:
        judge.wrong(draft, draft.line("key"), "key", str(error))
        return
    other = sorted(key.variables - {"client_ip", "frontend", "country", "asn"})
    if unit == "connections" and other:
        message = f"{{{other[0]}}} is not known when a connection is accepted"
        judge.wrong(draft, draft.line("key"), "key", message)


def _check_function(draft: Draft, judge: Judge, unit: str) -> None:
    if draft.get("key", "{client_ip}") != "{client_ip}":
        judge.wrong(draft, draft.line("key"), "key", "a limit has either 'key' or 'key_function'")
    if unit == "connections":
        message = "a connection has no request for the function when it is accepted: use 'key'"
        judge.wrong(draft, draft.line("key_function"), "key_function", message)


LIMIT = Section(
    "limit",
    LimitSpec,
    doc="A limit of how much each key may use. Frontends and routes apply it by ``limits``.",
    plural="limits",
    check=_check,
)


@frozen
class LimitKeys:
    """The key of frontends."""

    limits: tuple[LimitUse, ...] = option(
        "lines:limit_use",
        (),
        doc="the [limit NAME] sections that hold for traffic of this frontend",
        example="per-client",
    )


@frozen
class LimitRouteKeys:
    """The option of routes."""

    limits: tuple[str, ...] = option(
        "list:string",
        (),
        doc="further [limit NAME] sections for requests of this route; ``none``: no limits at all,"
        " not even those of the frontend",
    )


class LimitDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    Keys = LimitKeys
    RouteKeys = LimitRouteKeys
    sections = (LIMIT,)
