"""CONTROL. The selection of records for an access log, and unique ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import RequestHead
from lbproxy.model import LogSpec
from lbproxy.observe.accesslog import choose
from lbproxy.observe.fields import frontend_of
from lbproxy.observe.record import Record

__all__ = ["selection"]

_QUIET = (Kind.OK, Kind.CLIENT_GONE)

Wanted = Callable[[Any], bool]
"""Whether a record is logged."""


def selection(log: LogSpec, random: Callable[[], float]) -> Wanted | None:
    """Return the test for the records of ``log``; None if it logs all of them.

    ``random`` returns numbers from 0 to below 1.
    """
    tests: list[Wanted] = []
    if log.skip_empty:
        tests.append(_has_data)
    if log.conditions:
        tests.append(_Matching(log).holds)
    if log.sample < 1 or log.min_time:
        tests.append(choose(log.sample, log.min_time, random))
    if log.request_ids:
        tests.append(_identified)  # last, because only logged records get an id
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda record: all(test(record) for test in tests)


def _has_data(record: Any) -> bool:
    """Return whether a connection carried data, or failed."""
    empty = record.mode == "tcp" and not (record.bytes_in or record.bytes_out)
    return not (empty and record.close in _QUIET)


def _identified(record: Any) -> bool:
    """Create the record's id, and return True."""
    return bool(record.request_id)


class _Matching:
    def __init__(self, log: LogSpec) -> None:
        self._conditions = Conditions(log.conditions)

    def holds(self, record: Any) -> bool:
        """Return whether the conditions hold, or cannot be tested because the path is ambiguous."""
        try:
            return self._conditions.hold(_Finished(record))
        except ProxyError:
            return True


class _Finished:
    """A record in the form that conditions read. ``response`` is the response to the client."""

    __slots__ = (
        "alpn",
        "client_ip",
        "client_port",
        "frontend",
        "frontend_name",
        "info",
        "request",
        "response",
        "scheme",
        "sni",
        "started",
    )

    def __init__(self, record: Record) -> None:
        info = record.info
        request: RequestHead | None = getattr(record, "request", None)
        self.request = request if request is not None and request.method else None
        self.client_ip = record.client_ip
        self.client_port = record.client_port
        self.frontend = frontend_of(record)
        self.frontend_name = record.frontend_name
        self.info = info
        self.sni = info.sni
        self.alpn = info.alpn
        self.started = record.started
        self.scheme = getattr(record, "scheme", "http" if info.tls is None else "https")
        self.response = record if getattr(record, "status", 0) else None
