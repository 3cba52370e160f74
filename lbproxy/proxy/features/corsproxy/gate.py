"""DATA. Decides about each request of a CORS proxy before anything is fetched."""

from __future__ import annotations

from typing import Any, Final

from attrs import define

from lbproxy.cors.call import Call, CallError, masked_target, parse_call
from lbproxy.cors.fields import allow_fields, is_policy_field
from lbproxy.cors.help import HELP_FIELDS, help_page, status_page
from lbproxy.cors.keys import KeyRecord
from lbproxy.cors.origins import AccessRules, checked_origin, preflight_fields, preflight_of
from lbproxy.cors.quota import QuotaExceeded
from lbproxy.cors.replies import error_body
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard import AllowedTarget, Guard, TargetRefused
from lbproxy.http.message import Reply, RequestHead, ResponseHead
from lbproxy.limits.fields import retry_after
from lbproxy.proxy.feature import counted
from lbproxy.proxy.features.corsproxy.exits import Exit, Exits
from lbproxy.proxy.features.corsproxy.keyfile import KeyFile
from lbproxy.proxy.features.corsproxy.quotas import Admitted, Quotas

__all__ = ["ASKED", "FETCHED", "POLICY", "AllowedCall", "CorsCounters", "Gate"]

ASKED: Final = "corsproxy"
"""Where ``traffic.vars`` has the :class:`AllowedCall`."""

FETCHED: Final = "corsproxy.fetched"
"""Where ``traffic.vars`` notes that a target was asked."""

POLICY: Final = "corsproxy.policy"
"""Where ``traffic.vars`` has the ``Access-Control`` fields of the response."""

_WORDS: Final = {
    400: "the request is invalid",
    403: "the request is not allowed",
    413: "the request body is too large",
    429: "a quota or a limit is exceeded",
    502: "the target gave no valid response",
    504: "the target did not answer in time",
    508: "the call has passed through this proxy before",
}


_UNITS: Final = {"requests": "requests", "bytes": "bytes", "concurrent": "calls at once"}


@define(eq=False)
class CorsCounters:
    """Calls of a frontend by outcome.  Preflights and the help page are no calls.

    ``cached`` (answered by the cache) and ``failed`` (answered by an error page) are parts of
    ``allowed``.
    """

    allowed: int = counted()
    cached: int = counted()
    failed: int = counted()
    refused_origin: int = counted()
    refused_key: int = counted()
    refused_target: int = counted()
    refused_quota: int = counted()


@define(eq=False)
class AllowedCall:
    """A call that may go on: its target, the allowed origin of the request, and its key.

    ``admitted``: what counts it, if a key or a quota does.  ``cache``: how the cache took part:
    ``hit``, ``miss``, ``bypass``, or "".  ``credentials``: cookies pass.  ``ttl``: that of the
    call, bounded.  ``exit``: by which the target is reached.
    """

    call: Call
    target: AllowedTarget
    exit: Exit
    origin: bytes | None
    record: KeyRecord | None = None
    admitted: Admitted | None = None
    credentials: bool = False
    ttl: int | None = None
    cache: str = ""


class _Refused(Exception):
    """A call that is not allowed.  ``kind``: its counter, without ``cors_refused_``; or ""."""

    def __init__(self, status: int, words: str, kind: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.kind = kind


class Gate:
    """The gate of one frontend.

    ``spec``: the frontend; ``guard``: decides about targets; ``keys``: None if calls need none.
    ``counters``: set by the feature when it serves.
    """

    always = True  # its hook of responses also sees replies and error pages

    def __init__(
        self, spec: Any, guard: Guard, keys: KeyFile | None, quotas: Quotas, exits: Exits
    ) -> None:
        self.counters = CorsCounters()
        self._guard = guard
        self._quotas = quotas
        self._exits = exits
        self._forms = frozenset(spec.forms)
        self._target_header = spec.target_header
        self._key_header = spec.key_header
        self._keys = keys
        self._credentials: bool = spec.credentials
        self._convert: bool = spec.convert
        self._ttl_max = int(spec.ttl_max)
        origins = [checked_origin(text) for text in spec.origins]
        self._rules = AccessRules(origins, keys=keys is not None)

    def early(self, traffic: Any) -> Reply | None:
        """Answer the request, or note what it asks for in ``traffic.vars`` and return None."""
        request: RequestHead = traffic.request
        target = request.target
        referrer = request.header(b"referer")
        self._mask(request)
        try:
            answer = self._judged(traffic, request, target, referrer)
        except CallError as error:
            answer = self._refused(traffic, 400, str(error))
        except TargetRefused as error:
            self._count("refused_target")
            answer = self._refused(traffic, 403, str(error))
        except _Refused as error:
            self._count(error.kind)
            answer = self._refused(traffic, error.status, str(error))
        if answer is not None:
            self._hide_key(request)
        return answer

    def response(self, traffic: Any) -> None:
        """Let the policy win over targets and filters: exactly its ``Access-Control`` fields.

        Replies of filters and limits get them here, so that pages can read these, too.
        """
        notes = traffic.vars
        policy = notes.get(POLICY) if notes else None
        head: ResponseHead = traffic.response
        fields = [pair for pair in head.headers if not is_policy_field(pair[0])]
        if policy is None:
            policy = self._allowing(traffic.request)
            if not any(name.lower() == b"vary" for name, _ in fields):
                fields.append((b"Vary", b"Origin"))
        head.headers = fields + policy

    def _allowing(self, request: RequestHead) -> list[tuple[bytes, bytes]]:
        """The fields that let a page of an allowed origin read any response."""
        origin = request.header(b"origin")
        allowed = origin if origin is not None and self._allows(origin) else None
        fields = allow_fields(allowed, credentials=self._credentials)
        return [pair for pair in fields if is_policy_field(pair[0])]

    def finish(self, traffic: Any) -> None:
        """Count the outcome of a call, and give back what it held."""
        asked: AllowedCall | None = traffic.vars.get(ASKED) if traffic.vars else None
        if asked is None:
            return
        outcome = "failed" if traffic.source == "error" else ""
        if asked.cache == "hit":
            outcome = "cached"
        self._count(outcome)
        if asked.admitted is not None:
            self._quotas.ended(asked.admitted, outcome)

    def _count(self, kind: str) -> None:
        if kind:
            setattr(self.counters, kind, getattr(self.counters, kind) + 1)

    def failed(self, traffic: Any, error: ProxyError) -> Reply:
        """Return the JSON page for a failure, without internal details."""
        if traffic.vars is None or ASKED not in traffic.vars:  # else the gate has done it
            self._mask(traffic.request)
            self._hide_key(traffic.request)
        status = error.status or 500
        return self._refused(traffic, status, _WORDS.get(status, "the proxy cannot answer"))

    def _judged(
        self, traffic: Any, request: RequestHead, target: bytes, referrer: bytes | None
    ) -> Reply | None:
        """Return an answer of the proxy's own, or None for a call that goes on."""
        origin = request.header(b"origin")
        page = self._page(request, target)
        if page is not None:
            _note(traffic, [])
            return Reply(200, page, list(HELP_FIELDS))
        if traffic.frontend.forwarder.loop_detected(request):
            raise ProxyError(Kind.LOOP_DETECTED)
        if request.method in (b"CONNECT", b"TRACE"):
            raise _Refused(405, "the method is not allowed")
        mode = request.header(b"sec-fetch-mode")
        if mode == b"navigate" or request.header(b"service-worker") is not None:
            raise _Refused(403, "this proxy serves scripts, not pages or workers")
        if len(request.header_values(b"origin")) > 1:
            raise _Refused(400, "more than one Origin")
        if not self._allows(origin):
            words = "this origin may not use the proxy" if origin else "Origin is missing"
            raise _Refused(403, words, "refused_origin")
        preflight = self._preflight(request)
        if preflight is not None:
            _note(traffic, preflight.headers)
            return preflight
        call = parse_call(
            target,
            request.header,
            forms=self._forms,
            target_header=self._target_header,
            key_header=self._key_header,
        )
        if call is None:
            raise _Refused(404, "the request names no target URL")
        record = self._record(call, request, origin, referrer, traffic.frontend.wheel.wall())
        if (call.convert or call.extract) and not self._convert:
            name = "convert" if call.convert else "extract"
            raise CallError(f"the parameter {name} is not supported")
        way = self._exits.find(call.colo)
        if way is None:
            names = ", ".join(name for name, _, _ in self._exits.rows)
            raise CallError(f"there is no exit {call.colo[:40]!r}; there are {names}")
        found = self._guard.target(call.url)
        if record is not None and not record.allows_target(found.host, found.port, found.path):
            raise _Refused(403, "this key may not be used for this target", "refused_target")
        if found.scheme in ("ws", "wss") and request.upgrade != b"websocket":
            raise _Refused(400, "a ws or wss URL needs a WebSocket handshake")
        admitted = self._quotas.admit(record, None if origin is None else origin.decode("latin-1"))
        if isinstance(admitted, QuotaExceeded):
            return self._over_quota(traffic, admitted)
        self.counters.allowed += 1
        if traffic.vars is None:
            traffic.vars = {}
        cookies = (
            self._credentials
            and record is not None
            and record.lists_target(found.host, found.port, found.path)
        )
        ttl = None if call.ttl is None else min(call.ttl, self._ttl_max)
        asked = AllowedCall(call, found, way, origin, record, admitted, cookies, ttl)
        traffic.vars[ASKED] = asked
        if record is not None:
            # limits count by the name of the key, wherever the key was; nobody else sees the key
            request.set_header(self._key_header.encode("ascii"), record.name.encode("ascii"))
        return None

    def _record(
        self,
        call: Call,
        request: RequestHead,
        origin: bytes | None,
        referrer: bytes | None,
        now: float,
    ) -> KeyRecord | None:
        """The key of a call, whose rules allow the request; None if calls need none."""
        if self._keys is None:
            return None
        record = self._keys.ring.find(call.key, now)
        if record is None:
            raise _Refused(401, "a valid key is needed", "refused_key")
        if not record.allows_origin(None if origin is None else origin.decode("latin-1")):
            raise _Refused(403, "this origin may not use this key", "refused_origin")
        if not record.allows_referrer(None if referrer is None else referrer.decode("latin-1")):
            raise _Refused(403, "this page may not use this key", "refused_origin")
        if not record.allows_method(request.method.decode("latin-1")):
            raise _Refused(403, "this key may not be used with this method", "refused_target")
        return record

    def _over_quota(self, traffic: Any, refusal: QuotaExceeded) -> Reply:
        self._count("refused_quota")
        words = f"the quota of {_UNITS[refusal.unit]} of this {refusal.owner} is exceeded"
        reply = self._refused(traffic, 429, words)
        wait = max(1, retry_after(refusal.seconds))
        reply.headers.append((b"Retry-After", b"%d" % wait))
        reply.headers.append((b"Access-Control-Expose-Headers", b"Retry-After"))
        _note(traffic, reply.headers)
        return reply

    def _mask(self, request: RequestHead) -> None:
        """Take keys out of what logs show: the target and Referer."""
        request.target = masked_target(request.target)
        key = request.header(self._key_header.encode("ascii"))
        for referer in request.header_values(b"referer"):
            if b"key=" in referer or (key and key in referer):
                request.remove_header(b"referer")
                return

    def _hide_key(self, request: RequestHead) -> None:
        """Take the key out of a request that is not passed on; logs may show this header."""
        if self._keys is not None:
            request.remove_header(self._key_header.encode("ascii"))

    def _page(self, request: RequestHead, target: bytes) -> bytes | None:
        """The page for people that a request asks for, None for any other request."""
        if request.method not in (b"GET", b"HEAD"):
            return None
        if target == b"/status":
            return status_page(self._exits.rows)
        if target != b"/" or request.header(self._target_header.encode("ascii")) is not None:
            return None
        return help_page(sorted(self._forms))

    def _allows(self, origin: bytes | None) -> bool:
        return self._rules.allows_origin(None if origin is None else origin.decode("latin-1"))

    def _preflight(self, request: RequestHead) -> Reply | None:
        """The answer to a preflight; None for any other request.  CallError for a bad one."""
        try:
            asked = preflight_of(request.method, request.header)
        except ValueError as error:
            raise CallError(str(error)) from None
        if asked is None:
            return None
        return Reply(204, b"", preflight_fields(asked, credentials=self._credentials))

    def _refused(self, traffic: Any, status: int, words: str) -> Reply:
        """An error that a page of an allowed origin can read."""
        origin = traffic.request.header(b"origin")
        fields = [
            (b"Content-Type", b"application/json"),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
        ]
        allowed = origin if origin is not None and self._allows(origin) else None
        fields += allow_fields(allowed, credentials=self._credentials)
        _note(traffic, fields)
        return Reply(status, error_body(status, words, traffic.request_id), fields)


def _note(traffic: Any, fields: list[tuple[bytes, bytes]]) -> None:
    """Note the policy of a reply."""
    if traffic.vars is None:
        traffic.vars = {}
    traffic.vars[POLICY] = [pair for pair in fields if is_policy_field(pair[0])]
