"""DATA. Decides about each request of a CORS proxy before a target is fetched."""

from __future__ import annotations

from typing import Any, Final

from attrs import define

from lbproxy.cors.call import CallError, masked_target
from lbproxy.cors.fields import allow_fields, is_policy_field
from lbproxy.cors.help import HELP_FIELDS, help_page, status_page
from lbproxy.cors.origins import preflight_fields
from lbproxy.cors.quota import QuotaExceeded
from lbproxy.cors.replies import error_body
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard import TargetRefused
from lbproxy.http.message import Reply, RequestHead, ResponseHead
from lbproxy.limits.fields import retry_after
from lbproxy.proxy.feature import counted
from lbproxy.proxy.features.corsproxy.exits import Exits
from lbproxy.proxy.features.corsproxy.judge import AllowedCall, CallJudge, CallRefused, KeyInURL
from lbproxy.proxy.features.corsproxy.quotas import Quotas

__all__ = ["ASKED", "FETCHED", "POLICY", "CorsCounters", "Gate"]

ASKED: Final = "corsproxy"
"""Key in ``traffic.vars`` for the :class:`AllowedCall`."""

FETCHED: Final = "corsproxy.fetched"
"""Key in ``traffic.vars`` that notes that a target was contacted."""

POLICY: Final = "corsproxy.policy"
"""Key in ``traffic.vars`` for the ``Access-Control`` fields of the response."""

_WORDS: Final = {
    400: "the request is invalid",
    403: "the request is not allowed",
    413: "the request body is too large",
    429: "a quota or a limit is exceeded",
    502: "the target gave no valid response",
    504: "the target did not answer in time",
    508: "the call has passed through this proxy before",
}


_HIDDEN_TARGET: Final = b"/?url=***"

_UNITS: Final = {"requests": "requests", "bytes": "bytes", "concurrent": "calls at once"}


@define(eq=False)
class CorsCounters:
    """Calls of a frontend by outcome. Preflights and the help page do not count as calls.

    ``cached`` (answered by the cache) and ``failed`` (answered by an error page) are included in
    ``allowed``.
    """

    allowed: int = counted()
    cached: int = counted()
    failed: int = counted()
    refused_origin: int = counted()
    refused_key: int = counted()
    refused_target: int = counted()
    refused_quota: int = counted()


class Gate:
    """The gate of one frontend, ``spec``.

    ``judge``: the rules of calls. ``keys``: whether calls need a key. ``counters``: set by the
    feature when it starts serving.
    """

    always = True  # its hook of responses also sees replies and error pages

    def __init__(
        self, spec: Any, judge: CallJudge, quotas: Quotas, exits: Exits, *, keys: bool
    ) -> None:
        self.counters = CorsCounters()
        self._judge = judge
        self._quotas = quotas
        self._exits = exits
        self._pages = {
            "/": help_page(sorted(spec.forms)),
            "/status": status_page(exits.names.rows),
        }
        self._key_header: bytes = spec.key_header.encode("ascii")
        self._keys = keys
        self._credentials: bool = spec.credentials

    def early(self, traffic: Any) -> Reply | None:
        """Answer the request, or store the call in ``traffic.vars`` and return None."""
        request: RequestHead = traffic.request
        target = request.target
        referrer = request.header(b"referer")
        self._mask(request)
        try:
            answer = self._judged(traffic, request, target, referrer)
        except CallError as error:
            if isinstance(error, KeyInURL):
                request.target = _HIDDEN_TARGET
            answer = self._refused(traffic, 400, str(error))
        except TargetRefused as error:
            self._count("refused_target")
            answer = self._refused(traffic, 403, str(error))
        except CallRefused as error:
            self._count(error.kind)
            answer = self._refused(traffic, error.status, str(error))
        if answer is not None:
            self._hide_key(request)
        return answer

    def response(self, traffic: Any) -> None:
        """Set exactly the ``Access-Control`` fields of the policy, overriding targets and filters.

        Replies of filters and limits also get them here, so that pages can read them.
        """
        notes = traffic.vars
        policy = notes.get(POLICY) if notes else None
        head: ResponseHead = traffic.response
        fields = head.pairs()
        if any(is_policy_field(name) for name, _ in fields):
            head.headers = [pair for pair in fields if not is_policy_field(pair[0])]
        if policy is None:
            policy = self._allowing(traffic.request)
            if not any(name.lower() == b"vary" for name, _ in fields):
                head.add_header(b"Vary", b"Origin")
        for name, value in policy:
            head.add_header(name, value)

    def _allowing(self, request: RequestHead) -> list[tuple[bytes, bytes]]:
        """Return the fields that let a page of an allowed origin read any response."""
        fields = allow_fields(self._allowed_origin(request), credentials=self._credentials)
        return [pair for pair in fields if is_policy_field(pair[0])]

    def finish(self, traffic: Any) -> None:
        """Count the outcome of a call, and release its quotas."""
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
        if traffic.vars is None or ASKED not in traffic.vars:  # else the gate has already done it
            self._mask(traffic.request)
            self._hide_key(traffic.request)
        status = error.status or 500
        return self._refused(traffic, status, _WORDS.get(status, "the proxy cannot answer"))

    def _judged(
        self, traffic: Any, request: RequestHead, target: bytes, referrer: bytes | None
    ) -> Reply | None:
        """Return a reply of the proxy itself, or None for a call that continues."""
        page = self._judge.page(request, target)
        if page:
            _note(traffic, [])
            return Reply(200, self._pages[page], list(HELP_FIELDS))
        if traffic.frontend.forwarder.loop_detected(request):
            raise ProxyError(Kind.LOOP_DETECTED)
        judge = self._judge
        judge.check_request(request)
        preflight = judge.preflight(request)
        if preflight is not None:
            fields = preflight_fields(preflight, credentials=self._credentials)
            _note(traffic, fields)
            return Reply(204, b"", fields)
        asked = judge.judge(request, target, referrer, traffic.frontend.wheel.wall())
        origin = None if asked.origin is None else asked.origin.decode("latin-1")
        admitted = self._quotas.admit(asked.record, origin)
        if isinstance(admitted, QuotaExceeded):
            return self._over_quota(traffic, admitted)
        self.counters.allowed += 1
        asked.admitted = admitted
        asked.exit = self._exits.by_name[asked.exit_name]
        if traffic.vars is None:
            traffic.vars = {}
        traffic.vars[ASKED] = asked
        if asked.record is not None:
            # limits count by the name of the key, wherever the key was sent; the key stays hidden
            request.set_header(self._key_header, asked.record.name.encode("ascii"))
        return None

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
        """Remove keys from the values that logs show: the target and Referer."""
        request.target = masked_target(request.target)
        key = request.header(self._key_header)
        for referer in request.header_values(b"referer"):
            if b"key=" in referer or (key and key in referer):
                request.remove_header(b"referer")
                return

    def _hide_key(self, request: RequestHead) -> None:
        """Remove the key from a request that is not passed on: logs may show this header."""
        if self._keys:
            request.remove_header(self._key_header)

    def _allowed_origin(self, request: RequestHead) -> bytes | None:
        origin = request.header(b"origin")
        return origin if origin is not None and self._judge.allows(origin) else None

    def _refused(self, traffic: Any, status: int, words: str) -> Reply:
        """Return an error that a page of an allowed origin can read."""
        fields = [
            (b"Content-Type", b"application/json"),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
        ]
        origin = self._allowed_origin(traffic.request)
        fields += allow_fields(origin, credentials=self._credentials)
        _note(traffic, fields)
        return Reply(status, error_body(status, words, traffic.request_id), fields)


def _note(traffic: Any, fields: list[tuple[bytes, bytes]]) -> None:
    """Store the policy of a reply."""
    if traffic.vars is None:
        traffic.vars = {}
    traffic.vars[POLICY] = [pair for pair in fields if is_policy_field(pair[0])]
