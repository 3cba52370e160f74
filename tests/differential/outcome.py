"""The outcome of one input as plain values, which two interpreters can compare.

An input is a tuple: the name of a function of this module, and its arguments. Everything in it and
in an outcome can be pickled without lbproxy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lbproxy.config.model import FrontendSpec
from lbproxy.errors import ProxyError
from lbproxy.http.forward import Forwarder
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.h1_write import encode_end, encode_request, encode_response
from lbproxy.http.message import Event, Invalid, Limits, RequestHead, ResponseHead
from tests.differential.proxy import talk
from tests.http.h1_support import facts, receive_all

__all__ = ["LIMITS", "OPERATIONS", "Input", "outcome"]

Input = tuple[Any, ...]

LIMITS = (
    Limits(),
    Limits(header_bytes=150, header_count=5, url_bytes=40, trailer_bytes=30, body_bytes=12),
    Limits(header_bytes=1024, header_count=12, url_bytes=200, trailer_bytes=128, body_bytes=100),
    Limits(header_bytes=128 * 1024, header_count=1200, url_bytes=64 * 1024),
)
PROBES = (b"Host", b"X", b"te", b"Connection", b"COOKIE", b"set-cookie", b"x-forwarded-for", b"Via")
COOKIES = (b"a", b"c", b"LB", b"session")

_FORWARDERS = tuple(
    Forwarder(FrontendSpec(name="web", forwarded=forwarded))
    for forwarded in (("x-forwarded",), ("rfc7239",), ())
)


def outcome(given: Input) -> Any:
    """Return what an input leads to."""
    name, *arguments = given
    return _JOBS[name](*arguments)


def _try(call: Callable[..., Any], *words: Any, **more: Any) -> Any:
    try:
        return call(*words, **more)
    except (ValueError, TypeError, ProxyError) as error:
        return type(error).__name__, str(error)


# -- parsers -------------------------------------------------------------------------------------


def _requests(parts: Sequence[bytes], limits: int) -> Any:
    """Events, and what each head says and becomes on its way to a server."""
    parser = RequestParser(LIMITS[limits])
    found: list[Any] = []
    for part in parts:
        found += map(_shown, receive_all(parser, part))
        found.append((parser.idle, parser.stopped, parser.pending))
    return found, parser.detach() if parser.stopped else b""


def _responses(parts: Sequence[bytes], method: bytes, limits: int) -> Any:
    """The same of responses, and of the end of the connection."""
    parser = ResponseParser(LIMITS[limits])
    parser.begin(method)
    found: list[Any] = []
    for part in parts:
        found += map(_shown, parser.receive(part))
    stopped = parser.stopped
    kept = parser.detach() if stopped else b""
    return found, stopped, kept, [_shown(event) for event in parser.eof()]


def _shown(event: Event) -> Any:
    if isinstance(event, RequestHead):
        return _plain(facts(event)), _asked(event), _sent(event)
    if isinstance(event, ResponseHead):
        return _plain(facts(event)), _asked(event), _answered(event)
    if isinstance(event, Invalid):
        return "invalid", event.kind.value, event.detail, event.status
    if isinstance(event, bytes):
        return event
    return "end", event.trailers, encode_end(event)


def _plain(found: object) -> Any:
    """``facts`` without the class, which is not the same in both."""
    assert isinstance(found, tuple)
    return found[0].__name__, found[1:]


def _asked(head: RequestHead | ResponseHead) -> Any:
    lines = head.lines
    found: list[Any] = [repr(head), head.pairs(), lines.table, lines.present, lines.repeated]
    found += [(head.header(name), head.header_values(name)) for name in PROBES]
    if isinstance(head, RequestHead):
        found += [head.path, head.query, head.hostname, head.query_value(b"b")]
        found += [(head.cookie(name), head.cookies(name)) for name in COOKIES]
    return found


def _sent(head: RequestHead) -> Any:
    found: list[Any] = []
    for forwarder in _FORWARDERS:
        client = _try(forwarder.client, "192.0.2.9", head, "http", 1234)
        words = {"client_ip": "192.0.2.9", "client_port": 1234, "scheme": "http"}
        onward = _try(forwarder.server_request, head, local_port=80, **words)
        written = onward
        if isinstance(onward, RequestHead):
            written = _try(encode_request, onward), _try(encode_request, onward, b"b", close=True)
        found.append((client, written))
    return found


def _answered(head: ResponseHead) -> Any:
    found: list[Any] = []
    for forwarder in _FORWARDERS:
        for version in (10, 11):
            onward = _try(forwarder.response, head, client_version=version)
            written = onward
            if isinstance(onward, ResponseHead):
                words = {"client_version": version, "date": b"today"}
                written = [
                    _try(encode_response, onward, method=method, keep_alive=keep, **words)
                    for method, keep in ((b"GET", True), (b"HEAD", False))
                ]
            found.append(written)
    return found


# -- heads that filters change -------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Any, bytes, bytes], Any]] = {
    "add": lambda head, name, value: head.add_header(name, value),
    "set": lambda head, name, value: head.set_header(name, value),
    "remove": lambda head, name, value: head.remove_header(name),
    "several": lambda head, name, value: head.remove_headers(
        frozenset((name.lower(), value.lower(), *(b"x-%d" % n for n in range(9))))
    ),
    "list": lambda head, name, value: head.headers.append((name, value)),
    "get": lambda head, name, value: (head.header(name), head.header_values(name)),
    "cookie": lambda head, name, value: (head.cookie(name), head.cookies(value)),
    "drop": lambda head, name, value: head.drop_cookie(name),
    "target": lambda head, name, value: setattr(head, "target", value),
    "host": lambda head, name, value: setattr(head, "host", value),
    "method": lambda head, name, value: setattr(head, "method", name),
}


def _edits(raw: bytes, steps: Sequence[tuple[str, bytes, bytes]]) -> Any:
    """A head that a filter has changed, as it is read and as it is sent."""
    events = RequestParser(LIMITS[0]).receive(raw)
    head = events[0] if events else None
    if not isinstance(head, RequestHead):
        return "no head"
    done = [_try(OPERATIONS[name], head, one, other) for name, one, other in steps]
    return done, _asked(head), _sent(head)


_JOBS: dict[str, Callable[..., Any]] = {
    "requests": _requests,
    "responses": _responses,
    "edits": _edits,
    "traffic": talk,
}
