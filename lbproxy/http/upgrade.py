"""PURE. Protocol switches (RFC 9110 §7.8): which ones are forwarded, and valid responses to
them.
"""

from __future__ import annotations

from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.http.syntax import list_members

__all__ = ["may_upgrade", "switch_fault"]


def may_upgrade(policy: str, head: RequestHead) -> bool:
    """Return whether the switch that ``head`` requests may be forwarded; a proxy may ignore it.

    ``policy``: ``none``, ``websocket`` or ``any``. Only permitted protocols stay in
    ``head.upgrade``.
    """
    if policy == "none" or head.upgrade is None:
        return False
    protocols = list_members(head.upgrade)
    if policy == "websocket":
        kept = [b"websocket"] if b"websocket" in protocols and head.method == b"GET" else []
    else:
        kept = [word for word in protocols if not word.startswith(b"h2c")]
    if kept:
        head.upgrade = b", ".join(kept)
    return bool(kept)


def switch_fault(request: RequestHead, head: ResponseHead, ended: bool) -> str:
    """Return why a 101, or a 2xx to CONNECT, is not a valid response to ``request``, or "".

    ``ended``: the complete request has been sent.
    """
    if request.method != b"CONNECT" and request.upgrade is None:
        return f"{head.status} to a request without Upgrade"
    if head.status == 101 and not _was_asked_for(request, head):
        return "101 to a protocol that was not requested"
    return "" if ended else f"{head.status} before the request was complete"


def _was_asked_for(request: RequestHead, head: ResponseHead) -> bool:
    """Return whether a 101 switches only to protocols that the request names."""
    asked = list_members(request.upgrade or b"")
    chosen = list_members(head.upgrade or b"")
    return bool(chosen) and all(protocol in asked for protocol in chosen)
