"""What the HTTP/1 tests share: running a parser over pieces, and writing events down shortly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.message import End, Event, Invalid, Limits, RequestHead, ResponseHead


def merged(events: Iterable[Event]) -> list[Event]:
    """Events with adjacent body bytes joined."""
    result: list[Event] = []
    for event in events:
        if isinstance(event, bytes):
            assert event, "empty body event"
            if result and isinstance(result[-1], bytes):
                result[-1] += event
                continue
        result.append(event)
    return result


def facts(event: Event) -> object:
    """An event as something that compares by value; what is remembered about its lines is not part
    of that.
    """
    if isinstance(event, RequestHead | ResponseHead):
        common = (event.headers, event.version, event.length, event.keep_alive)
        common += (event.upgrade, event.nominated)
        if isinstance(event, RequestHead):
            rest: tuple[object, ...] = (event.method, event.target, event.host, event.scheme)
            return RequestHead, *common, *rest, event.expect_continue
        return ResponseHead, *common, event.status, event.reason, event.chunked, event.until_close
    return event


def shorthand(event: Event) -> str:
    """An event as the tables write it."""
    if isinstance(event, bytes):
        return "+" + event.decode("latin-1")
    if isinstance(event, End):
        return " ".join(["end", *(f"{n.decode()}={v.decode()}" for n, v in event.trailers)])
    if isinstance(event, Invalid):
        return f"{event.status} {event.kind.value}"
    if isinstance(event, RequestHead):
        words = [event.method, event.target, b"%d" % event.version, event.host or b"-"]
        text = b" ".join(words).decode("latin-1") + f" {event.length}"
        text += f" scheme={event.scheme.decode()}" if event.scheme != b"http" else ""
        text += " expect" if event.expect_continue else ""
    else:
        text = f"{event.status} {event.version} {event.length}"
        text += " chunked" if event.chunked else ""
        text += " until-close" if event.until_close else ""
    text += "" if event.keep_alive else " close"
    text += f" upgrade={event.upgrade.decode()}" if event.upgrade is not None else ""
    if event.nominated:
        text += " nominated=" + b",".join(event.nominated).decode()
    return text


def pieces(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """``data`` cut at these positions."""
    edges = [0, *sorted(cuts), len(data)]
    return (data[a:b] for a, b in pairwise(edges))


def receive_all(parser: RequestParser, data: bytes) -> list[Event]:
    """The events of every request that ``data`` completes."""
    events = parser.receive(data)
    while parser.pending:
        events += parser.proceed()
    return events


def run_requests(parts: Iterable[bytes], limits: Limits) -> tuple[list[Event], bytes]:
    """All events, and what a tunnel would get."""
    parser = RequestParser(limits)
    events: list[Event] = []
    for part in parts:
        events += receive_all(parser, part)
    return merged(events), parser.detach() if parser.stopped else b""


def run_responses(
    parts: Iterable[bytes], method: bytes, limits: Limits
) -> tuple[list[Event], bytes, bool]:
    """All events with those of the connection's end, what a tunnel would get, and whether one
    would."""
    parser = ResponseParser(limits)
    parser.begin(method)
    events: list[Event] = []
    for part in parts:
        events += parser.receive(part)
    stopped = parser.stopped
    kept = parser.detach() if stopped else b""
    events += parser.eof()
    return merged(events), kept, stopped
