"""PURE. Decisions about a call of a CORS proxy: origin, key, parameters, exit and target.

Traffic and ``lbproxy explain`` take the same steps.
:mod:`~lbproxy.proxy.features.corsproxy.quotas` counts quotas. The addresses of a name are judged
when it is resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from attrs import define, field

from lbproxy.cors.call import Call, CallError, parse_call
from lbproxy.cors.keys import KeyRecord, KeyRing
from lbproxy.cors.origins import (
    AccessRules,
    Preflight,
    checked_origin,
    preflight_of,
)
from lbproxy.guard import AllowedTarget, Guard
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.corsproxy.egress import ExitNames

if TYPE_CHECKING:
    from lbproxy.proxy.features.corsproxy.exits import Exit
    from lbproxy.proxy.features.corsproxy.quotas import Admitted

__all__ = ["AllowedCall", "CallJudge", "CallRefused", "KeyInURL"]


SECRET_MIN: Final = 8
"""Minimum length in characters of keys that are searched for in target URLs; random keys have 22 or
more.
"""


@define(eq=False)
class AllowedCall:
    """A call that may continue: its target, the allowed origin of the request, and its key.

    ``exit_name``: name of the exit, "" for the direct way. ``credentials``: cookies pass. ``ttl``:
    that of the call, bounded. Traffic sets the rest: ``exit``: the way to the target. ``admitted``:
    the counted call, if a key or a quota counts it. ``cache``: ``hit``, ``miss``, ``bypass``, or
    "".
    """

    call: Call
    target: AllowedTarget
    exit_name: str
    origin: bytes | None
    record: KeyRecord | None = None
    credentials: bool = False
    ttl: int | None = None
    exit: Exit = field(init=False)
    admitted: Admitted | None = None
    cache: str = ""


class CallRefused(Exception):
    """A call that is not allowed. ``kind``: its counter, or ""."""

    def __init__(self, status: int, words: str, kind: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.kind = kind


class KeyInURL(CallError):
    """A target whose URL contains the key of its call, and must not be logged."""


class CallJudge:
    """The rules of one frontend, ``spec``.

    ``ring()``: the current keys; None if calls need none. All methods that decide raise
    :class:`CallRefused`, ``CallError`` (400) or ``TargetRefused`` (403).
    """

    def __init__(
        self, spec: Any, guard: Guard, ring: Callable[[], KeyRing] | None, exits: ExitNames
    ) -> None:
        self._guard = guard
        self._ring = ring
        self._exits = exits
        self._forms = frozenset(spec.forms)
        self._target_header: str = spec.target_header
        self._key_header: str = spec.key_header
        self._credentials: bool = spec.credentials
        self._convert: bool = spec.convert
        self._ttl_max = int(spec.ttl_max)
        origins = [checked_origin(text) for text in spec.origins]
        self._access = AccessRules(origins, keys=ring is not None)

    def judge(
        self, request: RequestHead, target: bytes, referrer: bytes | None, now: float
    ) -> AllowedCall:
        """Return the call of ``request``, which must have passed :meth:`check_request`.

        ``target`` and ``referrer``: as sent by the client. ``now``: seconds since the epoch.
        """
        origin = request.header(b"origin")
        call = self.call(request, target)
        record = self.record(call, request, referrer, now)
        exit_name = self.exit_name(call)
        found = self.target(call, record)
        self.check_scheme(found, request)
        cookies = (
            self._credentials
            and record is not None
            and record.lists_target(found.host, found.port, found.path)
        )
        ttl = None if call.ttl is None else min(call.ttl, self._ttl_max)
        return AllowedCall(call, found, exit_name, origin, record, cookies, ttl)

    def page(self, request: RequestHead, target: bytes) -> str:
        """Return the path of the requested human-readable page, "" for other requests."""
        if request.method not in (b"GET", b"HEAD") or target not in (b"/", b"/status"):
            return ""
        if target == b"/" and request.header(self._target_header.encode("ascii")) is not None:
            return ""
        return target.decode("ascii")

    def check_request(self, request: RequestHead) -> None:
        """Check method, mode and origin, which preflights also have."""
        if request.method in (b"CONNECT", b"TRACE"):
            raise CallRefused(405, "the method is not allowed")
        mode = request.header(b"sec-fetch-mode")
        if mode == b"navigate" or request.header(b"service-worker") is not None:
            raise CallRefused(403, "this proxy serves scripts, not pages or workers")
        if len(request.header_values(b"origin")) > 1:
            raise CallRefused(400, "more than one Origin")
        origin = request.header(b"origin")
        if not self.allows(origin):
            words = "this origin may not use the proxy" if origin else "Origin is missing"
            raise CallRefused(403, words, "refused_origin")

    def allows(self, origin: bytes | None) -> bool:
        """Return whether requests with this ``Origin`` may continue."""
        return self._access.allows_origin(_text(origin))

    def preflight(self, request: RequestHead) -> Preflight | None:
        """Return the preflight in a request, None for any other request."""
        try:
            return preflight_of(request.method, request.header)
        except ValueError as error:
            raise CallError(str(error)) from None

    def call(self, request: RequestHead, target: bytes) -> Call:
        """Return the URL and the parameters that a request names."""
        call = parse_call(
            target,
            request.header,
            forms=self._forms,
            target_header=self._target_header,
            key_header=self._key_header,
        )
        if call is None:
            raise CallRefused(404, "the request names no target URL")
        return call

    def record(
        self, call: Call, request: RequestHead, referrer: bytes | None, now: float
    ) -> KeyRecord | None:
        """Return the key of a call if its rules allow the request; None if calls need no key."""
        if self._ring is None:
            return None
        record = self._ring().find(call.key, now)
        if record is None:
            raise CallRefused(401, "a valid key is needed", "refused_key")
        if len(call.key) >= SECRET_MIN and call.key in unquote(call.url):
            raise KeyInURL("the URL of the target contains the key of the proxy")
        if not record.allows_origin(_text(request.header(b"origin"))):
            raise CallRefused(403, "this origin may not use this key", "refused_origin")
        if not record.allows_referrer(_text(referrer)):
            raise CallRefused(403, "this page may not use this key", "refused_origin")
        if not record.allows_method(request.method.decode("latin-1")):
            raise CallRefused(403, "this key may not be used with this method", "refused_target")
        return record

    def exit_name(self, call: Call) -> str:
        """Return the name of the exit of a call, "" for the direct way."""
        name = self._exits.find(call.colo)
        if name is None:
            names = ", ".join(one for one, _, _ in self._exits.rows)
            raise CallError(f"there is no exit {call.colo[:40]!r}; there are {names}")
        return name

    def target(self, call: Call, record: KeyRecord | None) -> AllowedTarget:
        """Return the target of a call; the addresses of its name are judged later."""
        if (call.convert or call.extract) and not self._convert:
            name = "convert" if call.convert else "extract"
            raise CallError(f"the parameter {name} is not supported")
        found = self._guard.target(call.url)
        if record is not None and not record.allows_target(found.host, found.port, found.path):
            raise CallRefused(403, "this key may not be used for this target", "refused_target")
        return found

    def check_scheme(self, target: AllowedTarget, request: RequestHead) -> None:
        """Decide whether the scheme of a target fits the request."""
        if target.scheme in ("ws", "wss") and request.upgrade != b"websocket":
            raise CallRefused(400, "a ws or wss URL needs a WebSocket handshake")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
