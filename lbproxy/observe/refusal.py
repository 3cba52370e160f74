"""PURE. The access record of a connection that was refused before it carried traffic."""

from __future__ import annotations

from typing import Any

from lbproxy.errors import ProxyError
from lbproxy.http.message import RequestHead
from lbproxy.observe.record import HTTPRecord, Record

__all__ = ["refused_connection"]


def refused_connection(
    mode: str,
    frontend: str,
    info: Any,
    error: ProxyError,
    started: float,
    seconds: float,
    refused_by: Any = None,
) -> Record:
    """Return the record of a connection that ended with ``error``.

    In http mode the record has no request: method, target and version are empty, and the status is
    0. ``started``: Unix time. ``seconds``: from the accept to the refusal. ``refused_by``: the
    frontend, as traffic objects have it.
    """
    record: Record
    if mode == "http":
        record = HTTPRecord(info, RequestHead(b"", b"", [], version=0), started, -1.0)
    else:
        record = Record(info, started)
    record.frontend_name = frontend
    record.close = error.kind
    record.detail = error.detail
    record.t_total = seconds
    record.refused_by = refused_by
    return record
