"""PURE. The conditions of routes: their verbs, their checks for the configuration, and their
compiled tests.

:mod:`lbproxy.config.build` calls :func:`check_condition`, and :mod:`lbproxy.http.route` calls
:func:`compile_condition`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_network

from attrs import frozen

from lbproxy.guard.addresses import AddressSet
from lbproxy.http.checks import (
    Check,
    CookieCheck,
    HeaderCheck,
    HostCheck,
    MethodCheck,
    Not,
    PathCheck,
    Patterns,
    QueryCheck,
    text_patterns,
)
from lbproxy.http.circumstances import (
    compile_port,
    compile_scheme,
    compile_status,
    compile_time,
)
from lbproxy.http.context import Compiled, RouteContext, Test
from lbproxy.http.geo import asn_number, country_code, location_of
from lbproxy.http.message import RequestHead, text_of
from lbproxy.http.pattern import Matcher
from lbproxy.http.patternkey import name_key, name_matcher, path_key, path_patterns
from lbproxy.http.tracked import compile_track, track_of
from lbproxy.model.secrets import mask_condition

__all__ = [
    "VERBS",
    "Condition",
    "RouteContext",
    "Test",
    "Verb",
    "check_condition",
    "compile_condition",
    "name_key",
    "path_key",
    "track_of",
]


@frozen
class Verb:
    """A word that begins a condition.

    ``least``: minimum number of arguments. ``modes``: where it may be used. ``late``: it tests the
    response, so only filters of responses can use it.
    """

    usage: str
    doc: str
    least: int
    modes: frozenset[str]
    compile: Callable[[Sequence[str]], Compiled]
    late: bool = False


@frozen
class Condition:
    """A compiled condition.

    ``holds`` includes the negation. ``shown`` is the value that is tested, for people.
    """

    verb: str
    args: tuple[str, ...]
    negated: bool
    holds: Test
    shown: Callable[[RouteContext, bytes], str]

    @property
    def text(self) -> str:
        """The condition as written, without secrets."""
        words = (self.verb, *mask_condition(self.verb, self.args))
        return " ".join(("not", *words) if self.negated else words)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


def _show(value: bytes | None) -> str:
    return "absent" if value is None else repr(text_of(value))


def _any_of(matchers: Sequence[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]
    every = tuple(matchers)
    return lambda text: any(match(text) for match in every)


def _host(args: Sequence[str]) -> Compiled:
    check = HostCheck(_any_of([name_matcher(arg) for arg in args]))

    def shown(context: RouteContext, path: bytes) -> str:
        return _show(context.request.hostname if context.request else None)

    return check, shown


def _path(args: Sequence[str]) -> Compiled:
    return PathCheck(path_patterns(args)), lambda context, path: _show(path)


def _method(args: Sequence[str]) -> Compiled:
    for arg in args:
        if not _TOKEN.match(arg):
            raise ValueError(f"method {arg!r} is not a word")
        if not arg.isupper():
            raise ValueError(f"method {arg!r}: methods are written in capitals, {arg.upper()}")

    def shown(context: RouteContext, path: bytes) -> str:
        return _show(context.request.method if context.request else None)

    return MethodCheck(frozenset(arg.encode("ascii") for arg in args)), shown


def _named(args: Sequence[str]) -> tuple[bytes, Patterns | None]:
    """Return the name of a value, and its patterns; None if it only has to exist."""
    if not _TOKEN.match(args[0]):
        raise ValueError(f"{args[0]!r} is not a valid name")
    return args[0].encode("ascii"), text_patterns(args[1:]) if args[1:] else None


def _shown(read: Callable[[RequestHead], Sequence[bytes | None]]) -> Callable[..., str]:
    def shown(context: RouteContext, path: bytes) -> str:
        values = read(context.request) if context.request else []
        return ", ".join(_show(value) for value in values) or "absent"

    return shown


def _header(args: Sequence[str]) -> Compiled:
    name, patterns = _named(args)
    return HeaderCheck(name, patterns), _shown(lambda request: request.header_values(name))


def _cookie(args: Sequence[str]) -> Compiled:
    name, patterns = _named(args)
    return CookieCheck(name, patterns), _shown(lambda request: [request.cookie(name)])


def _query(args: Sequence[str]) -> Compiled:
    name, patterns = _named(args)
    return QueryCheck(name, patterns), _shown(lambda request: [request.query_value(name)])


_OTHER = ("list:", "country:", "asn:")


def _client(args: Sequence[str]) -> Compiled:
    names = tuple(arg[5:] for arg in args if arg.startswith("list:"))
    countries = frozenset(country_code(arg[8:]) for arg in args if arg.startswith("country:"))
    systems = frozenset(asn_number(arg[4:]) for arg in args if arg.startswith("asn:"))
    try:
        addresses = AddressSet(ip_network(arg) for arg in args if not arg.startswith(_OTHER))
    except ValueError as error:
        raise ValueError(f"client: {error}") from None

    def listed(context: RouteContext, path: bytes) -> bool:
        ip, lists = context.client_ip, context.frontend.lists
        return ip in addresses or any(ip in lists[name] for name in names)

    def located(context: RouteContext, path: bytes) -> bool:
        place = location_of(context)
        return place.country in countries or place.asn in systems or listed(context, path)

    def shown(context: RouteContext, path: bytes) -> str:
        ip, place = context.client_ip or "no address (Unix socket)", location_of(context)
        known = (place.country, f"AS{place.asn}" if place.asn else "")
        return " ".join([ip, *filter(None, known)]) if countries or systems else ip

    if countries or systems:
        return located, shown
    return (
        listed if names else lambda context, path: context.client_ip in addresses,
        shown,
    )


def _sni(args: Sequence[str]) -> Compiled:
    match = _any_of([name_matcher(arg) for arg in args])
    return (
        lambda context, path: match(context.sni.rstrip(".").encode("utf-8", "replace")),
        lambda context, path: repr(context.sni) if context.sni else "absent",
    )


def _alpn(args: Sequence[str]) -> Compiled:
    wanted = frozenset(args)
    return (
        lambda context, path: not wanted.isdisjoint(context.alpn),
        lambda context, path: ", ".join(context.alpn) or "none offered",
    )


_HTTP = frozenset({"http"})
_BOTH = frozenset({"tcp", "http"})

VERBS: Mapping[str, Verb] = {
    "host": Verb(
        "NAME...", "the host is ``NAME``, matches ``*.NAME``, ``*`` or ``~REGEX``", 1, _HTTP, _host
    ),
    "path": Verb(
        "PATTERN...",
        "the path is ``PATH``, matches ``/prefix/*``, a glob or ``~REGEX``",
        1,
        _HTTP,
        _path,
    ),
    "method": Verb("METHOD...", "the method is one of these", 1, _HTTP, _method),
    "header": Verb(
        "NAME [PATTERN...]", "the header exists, or matches a pattern", 1, _HTTP, _header
    ),
    "cookie": Verb(
        "NAME [PATTERN...]", "the cookie exists, or matches a pattern", 1, _HTTP, _cookie
    ),
    "query": Verb(
        "NAME [PATTERN...]", "the query parameter exists, or matches a pattern", 1, _HTTP, _query
    ),
    "client": Verb(
        "NETWORK|list:NAME|country:CODE|asn:NUMBER...",
        "the client's address is in one of the networks, lists, countries or autonomous systems",
        1,
        _BOTH,
        _client,
    ),
    "sni": Verb(
        "NAME...", "the server name of the TLS handshake is one of the names", 1, _BOTH, _sni
    ),
    "alpn": Verb("PROTOCOL...", "the TLS client offers one of the protocols", 1, _BOTH, _alpn),
    "scheme": Verb("http|https", "the request's scheme is one of these", 1, _HTTP, compile_scheme),
    "port": Verb("PORT...", "the client connected to one of these ports", 1, _BOTH, compile_port),
    "time": Verb(
        "SPAN|DAY...",
        "the local time is within ``22:00-06:00``, or the day is ``mon`` or within ``sat-sun``",
        1,
        _BOTH,
        compile_time,
    ),
    "track": Verb(
        "NAME > NUMBER",
        "the [track NAME] has counted more (also ``>=``, ``<``, ``<=``, ``=``) for this client",
        1,
        _BOTH,
        compile_track,
    ),
    "status": Verb(
        "STATUS...",
        "the response has this status, such as 404 or 5xx; only in filters of responses",
        1,
        _HTTP,
        compile_status,
        late=True,
    ),
}
"""Every condition by its first word. A preceding ``not`` negates it."""


def check_condition(verb: str, args: Sequence[str], mode: str, *, response: bool = False) -> None:
    """Raise ValueError if a condition is invalid in ``mode`` (``tcp`` or ``http``).

    ``response``: conditions about the response are allowed.
    """
    known = VERBS.get(verb)
    if known is None:
        close = get_close_matches(verb, VERBS, 1, 0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(VERBS)}"
        raise ValueError(f"unknown condition {verb!r}: {hint}")
    if mode not in known.modes:
        allowed = ", ".join(name for name, one in VERBS.items() if mode in one.modes)
        raise ValueError(f"{verb!r} needs mode = http; conditions in tcp mode: {allowed}")
    if known.late and not response:
        raise ValueError(f"{verb!r} is about the response; only filters can use it")
    if len(args) < known.least:
        raise ValueError(f"{verb!r} wants {known.usage}")
    known.compile(args)


def compile_condition(
    verb: str, args: Sequence[str], negated: bool, *, response: bool = False
) -> Condition:
    """Return the compiled condition. Raises ValueError like :func:`check_condition`."""
    check_condition(verb, args, "http", response=response)
    test, shown = VERBS[verb].compile(args)
    return Condition(verb, tuple(args), negated, _negate(test) if negated else test, shown)


def _negate(test: Test) -> Test:
    if isinstance(test, Check):
        return Not(test)
    return lambda context, path: not test(context, path)
