"""DATA. Questions to the processes of a firewall about a request or a response."""

from __future__ import annotations

from typing import Any, Final

from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.waf.modsecurity.messages import Question

__all__ = ["question_of"]

_VERSIONS: Final = {10: "1.0", 11: "1.1", 20: "2.0", 30: "3.0"}


def question_of(
    traffic: Any, excluded: tuple[int, ...] = (), body: bytes = b"", whole: bool = True
) -> Question:
    """Return the question about a request."""
    head: RequestHead = traffic.request
    info = traffic.info
    return Question(
        traffic.request_id,
        (traffic.client_ip or "127.0.0.1", traffic.client_port),
        (info.local_ip or "127.0.0.1", info.local_port),
        head.method,
        head.target,
        _VERSIONS.get(head.version, "1.1"),
        list(head.pairs()),
        excluded,
        whole,
        body=body,
    )
