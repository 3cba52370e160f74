"""DATA. Decides about each request of a CORS proxy before anything is fetched."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from lbproxy.cors.call import Call, CallError, masked_target, parse_call
from lbproxy.cors.fields import allow_fields
from lbproxy.cors.help import HELP_FIELDS, help_page
from lbproxy.cors.keys import KeyRecord
from lbproxy.cors.origins import AccessRules, checked_origin, preflight_fields, preflight_of
from lbproxy.cors.replies import error_body
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard import AllowedTarget, Guard, TargetRefused
from lbproxy.http.message import Reply, RequestHead
from lbproxy.proxy.features.corsproxy.keyfile import KeyFile

__all__ = ["ASKED", "AllowedCall", "Gate"]

ASKED: Final = "corsproxy"
"""Where ``traffic.vars`` has the :class:`AllowedCall`."""

_WORDS: Final = {
    400: "the request is invalid",
    403: "the request is not allowed",
    413: "the request body is too large",
    502: "the target gave no valid response",
    504: "the target did not answer in time",
    508: "the call has passed through this proxy before",
}


@frozen
class AllowedCall:
    """A call that may go on: its target, the allowed origin of the request, and its key."""

    call: Call
    target: AllowedTarget
    origin: bytes | None
    record: KeyRecord | None = None


class Gate:
    """The gate of one frontend.

    ``spec``: the frontend; ``guard``: decides about targets; ``keys``: None if calls need none.
    """

    def __init__(self, spec: Any, guard: Guard, keys: KeyFile | None) -> None:
        self._guard = guard
        self._forms = frozenset(spec.forms)
        self._target_header = spec.target_header
        self._key_header = spec.key_header
        self._keys = keys
        origins = [checked_origin(text) for text in spec.origins]
        self._rules = AccessRules(origins, keys=keys is not None)

    def early(self, traffic: Any) -> Reply | None:
        """Answer the request, or note what it asks for in ``traffic.vars`` and return None."""
        request: RequestHead = traffic.request
        target = request.target
        self._mask(request)
        try:
            return self._judged(traffic, request, target)
        except CallError as error:
            return self._refused(traffic, 400, str(error))
        except TargetRefused as error:
            return self._refused(traffic, 403, str(error))

    def failed(self, traffic: Any, error: ProxyError) -> Reply:
        """Return the JSON page for a failure, without internal details."""
        if traffic.vars is None or ASKED not in traffic.vars:  # else the gate has done it
            self._mask(traffic.request)
        status = error.status or 500
        return self._refused(traffic, status, _WORDS.get(status, "the proxy cannot answer"))

    def _judged(self, traffic: Any, request: RequestHead, target: bytes) -> Reply | None:
        """Return an answer of the proxy's own, or None for a call that goes on."""
        origin = request.header(b"origin")
        if self._wants_help(request, target):
            return Reply(200, help_page(sorted(self._forms)), list(HELP_FIELDS))
        if traffic.frontend.forwarder.loop_detected(request):
            raise ProxyError(Kind.LOOP_DETECTED)
        if request.method in (b"CONNECT", b"TRACE"):
            return self._refused(traffic, 405, "the method is not allowed")
        mode = request.header(b"sec-fetch-mode")
        if mode == b"navigate" or request.header(b"service-worker") is not None:
            return self._refused(traffic, 403, "this proxy serves scripts, not pages or workers")
        if len(request.header_values(b"origin")) > 1:
            return self._refused(traffic, 400, "more than one Origin")
        if not self._allows(origin):
            words = "this origin may not use the proxy" if origin else "Origin is missing"
            return self._refused(traffic, 403, words)
        preflight = self._preflight(request)
        if preflight is not None:
            return preflight
        call = parse_call(
            target,
            request.header,
            forms=self._forms,
            target_header=self._target_header,
            key_header=self._key_header,
        )
        if call is None:
            return self._refused(traffic, 404, "the request names no target URL")
        record = None
        if self._keys is not None:
            record = self._keys.ring.find(call.key, traffic.frontend.wheel.wall())
            if record is None:
                return self._refused(traffic, 401, "a valid key is needed")
            if not record.allows_origin(None if origin is None else origin.decode("latin-1")):
                return self._refused(traffic, 403, "this origin may not use this key")
        found = self._guard.target(call.url)
        if record is not None and not record.allows_target(found.host, found.port, found.path):
            return self._refused(traffic, 403, "this key may not be used for this target")
        if found.scheme in ("ws", "wss") and request.upgrade != b"websocket":
            return self._refused(traffic, 400, "a ws or wss URL needs a WebSocket handshake")
        if traffic.vars is None:
            traffic.vars = {}
        traffic.vars[ASKED] = AllowedCall(call, found, origin, record)
        if record is not None:
            # limits count by the name of the key, wherever the key was; nobody else sees the key
            request.set_header(self._key_header.encode("ascii"), record.name.encode("ascii"))
        return None

    def _mask(self, request: RequestHead) -> None:
        """Take keys out of what logs show: the target and Referer."""
        request.target = masked_target(request.target)
        key = request.header(self._key_header.encode("ascii"))
        for referer in request.header_values(b"referer"):
            if b"key=" in referer or (key and key in referer):
                request.remove_header(b"referer")
                return

    def _wants_help(self, request: RequestHead, target: bytes) -> bool:
        if target != b"/" or request.method not in (b"GET", b"HEAD"):
            return False
        return request.header(self._target_header.encode("ascii")) is None

    def _allows(self, origin: bytes | None) -> bool:
        return self._rules.allows_origin(None if origin is None else origin.decode("latin-1"))

    @staticmethod
    def _preflight(request: RequestHead) -> Reply | None:
        """The answer to a preflight; None for any other request.  CallError for a bad one."""
        try:
            asked = preflight_of(request.method, request.header)
        except ValueError as error:
            raise CallError(str(error)) from None
        if asked is None:
            return None
        return Reply(204, b"", preflight_fields(asked, credentials=False))

    def _refused(self, traffic: Any, status: int, words: str) -> Reply:
        """An error that a page of an allowed origin can read."""
        origin = traffic.request.header(b"origin")
        fields = [
            (b"Content-Type", b"application/json"),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
        ]
        fields += allow_fields(origin if origin is not None and self._allows(origin) else None)
        return Reply(status, error_body(status, words, traffic.request_id), fields)
