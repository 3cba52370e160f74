"""DATA. Mirroring: copies of a share of a backend's requests go to another backend.

Their responses are discarded or compared.

The rules:

1. A request is copied when its response is complete, as its server got it. The original does not
   wait for the copy, and the client sees nothing of the copy.
2. A request is copied if a server answered it, its method is in ``methods``, and its body was
   complete before the response started and is at most ``body`` (and the backend's
   ``retry_buffer``) long. Upgrades, CONNECT and requests whose body filters changed are never
   copied.
3. At most ``max`` copies run; further ones are dropped and counted. Each has ``timeout`` seconds,
   including its wait in the other backend's queue, and is not retried.
4. Responses are compared as received from the servers, before filters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import asdict, define, fields
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.config.model import MirrorSpec
from lbproxy.http.compare import BodyNote, ComparedAnswer, Comparison, differences
from lbproxy.http.filter import Phases
from lbproxy.http.message import RequestHead, text_of
from lbproxy.http.transform import Transform
from lbproxy.proxy.adminpart import AdminPart, Argument, Column, Operation
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.mirrorcopy import Copy
from lbproxy.proxy.features.mirrorrecords import MirrorCounters, MirrorDifference
from lbproxy.proxy.ratelog import Quiet

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["Mirror", "MirrorCounters", "MirrorDifference"]

_quiet = Quiet(Logger())
_KEPT = 50  # number of differences kept
_NOTE = "lbproxy.mirror"  # key in traffic.vars


@define(eq=False)
class _Note:
    """The data about the original request until it is over."""

    head: RequestHead
    body: bytes
    answer: ComparedAnswer
    passing: BodyNote | None


class _Tap(Transform):
    """Reads the body on its way to the client."""

    keeps_length = True

    def __init__(self, add: Callable[[bytes], None]) -> None:
        self._add = add

    def data(self, data: bytes) -> bytes:
        """See :class:`Transform`."""
        self._add(data)
        return data


class Mirror(Feature["Backend"]):
    """The mirror of one backend. ``running``: its copies. Its methods are hooks of filter phases.

    ``remote``: number of copies that run in workers; 0 except in their master.
    """

    name = "mirror"
    keys = ("mirror",)
    fail_open = True

    def __init__(self, spec: MirrorSpec, random: Random) -> None:
        self.spec = spec
        self.counters = MirrorCounters()  # another line starts the comparison anew
        self.last: deque[MirrorDifference] = deque(maxlen=_KEPT)
        self.running: set[Copy] = set()
        self.remote = 0
        self._random = random.random
        self._methods = frozenset(method.encode("ascii") for method in spec.methods)
        self._ignore = frozenset(name.lower().encode("latin-1", "replace") for name in spec.ignore)
        self._mark = spec.header.encode("ascii")
        self._notes_body = "body" in spec.compare or spec.judge is not None

    @classmethod
    def prepare(cls, spec: Any, old: Mirror | None, given: Given) -> Mirror | None:
        """See :class:`Feature`."""
        wanted: MirrorSpec | None = spec.mirror
        if wanted is None:
            return None
        if old is not None and old.spec == wanted and old.spec.judge is wanted.judge:
            return old
        return cls(wanted, given.env.random)

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self._now = owner.wheel.now

    def around(self, phases: Phases) -> Phases:
        """Return ``phases`` with the hooks of the mirror: the response is seen before others change
        it, the end after all others.
        """
        return phases.before(response=self.response).after(finish=self.finish)

    def response(self, traffic: Any) -> None:
        """Phase ``response``: select the request, and record it."""
        spec = self.spec
        head: RequestHead | None = traffic.server_request
        if (
            head is None
            or traffic.server is None
            or head.method not in self._methods
            or head.upgrade is not None
            or traffic.request_transforms is not None
            or (spec.share < 1.0 and self._random() >= spec.share)
        ):
            return
        body = traffic.kept_body()
        if body is None or len(body) > spec.body:
            self.counters.too_large += 1
            return
        response = traffic.response
        answer = ComparedAnswer(response.status, response.pairs(), traffic.t_response)
        passing = None
        if self._notes_body:
            passing = BodyNote(spec.body if spec.judge is not None else 0)
            traffic.transform_response(_Tap(passing.add))
        if traffic.vars is None:
            traffic.vars = {}
        traffic.vars[_NOTE] = _Note(head, body, answer, passing)

    def finish(self, traffic: Any) -> None:
        """Phase ``finish``: start the copy, after the client has its response."""
        note: _Note | None = traffic.vars.pop(_NOTE, None) if traffic.vars else None
        if note is None:
            return
        if len(self.running) >= self.spec.max:
            self.counters.busy += 1
            return
        backend: Backend | None = traffic.frontend.backends.get(self.spec.backend)
        if backend is None or traffic.frontend.stopping:
            return
        if note.passing is not None:
            note.answer.size = note.passing.size
            note.answer.digest = note.passing.digest
            note.answer.body = note.passing.start
        whole = traffic.close.value == "ok"
        self.counters.copied += 1
        copy = Copy(
            traffic, backend, self._head(note, backend), note.body, self.spec, self._notes_body
        )
        self.running.add(copy)

        def done(answer: ComparedAnswer | None) -> None:
            self.running.discard(copy)
            self._done(note, answer if whole or answer is None else None, copy, answer is not None)

        copy.start(done)

    def _head(self, note: _Note, backend: Backend) -> RequestHead:
        old = note.head
        drop = {b"expect", b"host"} if backend.host_header else {b"expect"}
        headers = [pair for pair in old.pairs() if pair[0].lower() not in drop]
        if backend.host_header:
            headers.insert(0, (b"Host", backend.host_header))
        if self._mark:
            headers.append((self._mark, b"1"))
        host = backend.host_header or old.host
        return RequestHead(old.method, old.target, headers, 11, host, old.scheme, len(note.body))

    def _done(self, note: _Note, answer: ComparedAnswer | None, copy: Copy, answered: bool) -> None:
        counters, spec = self.counters, self.spec
        if answered:
            counters.answered += 1
        else:
            counters.failed += 1
        if answer is None or not (spec.compare or spec.judge is not None):
            return
        found = differences(note.answer, answer, spec.compare, self._ignore)
        if spec.judge is not None:
            found += self._judged(
                Comparison(note.head.method, note.head.target, note.answer, answer)
            )
        if not found:
            counters.same += 1
            return
        counters.different += 1
        for part in ("status", "header", "body", "predicate"):
            if any(words.startswith(part) for words in found):
                name = "headers" if part == "header" else part
                setattr(counters, name, getattr(counters, name) + 1)
        self._tell(note, copy, found)

    def _judged(self, comparison: Comparison) -> list[str]:
        """Call the user's predicate. A falsy result means equal; otherwise it is True or a text."""
        try:
            verdict = self.spec.judge(comparison)
            if not verdict:
                return []
        except BaseException:  # any exception: traffic continues
            _quiet.failure(
                f"predicate {self.spec.backend}",
                "the predicate of mirror {name} failed",
                Failure(),
                name=self.spec.backend,
            )
            return ["predicate failed"]
        return [f"predicate: {str(verdict)[:200]}" if isinstance(verdict, str) else "predicate"]

    def _tell(self, note: _Note, copy: Copy, found: list[str]) -> None:
        head = note.head
        path = text_of(head.path)[:200]
        method = head.method.decode("latin-1")
        one = MirrorDifference(
            copy.started, method, path, copy.original_server, copy.server_name, tuple(found[:20])
        )
        self.last.append(one)
        _quiet.warn(
            f"mirror {self.spec.backend}",
            "mirror {name}: {method} {path} differs: {what}",
            name=self.spec.backend,
            method=method,
            path=path,
            what=", ".join(one.what),
        )

    def close(self) -> None:
        """Cancel the running copies."""
        for copy in list(self.running):
            copy.cancel()

    # -- snapshots, and sums of workers ---------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        running = len(self.running) + self.remote
        return {"backend": self.spec.backend, "running": running, **asdict(self.counters)}

    def detailed(self, limit: int) -> dict[str, Any]:
        """:meth:`snapshot`, and at most ``limit`` of the last differences, the newest first."""
        now = self._now()
        # those of workers arrive late and out of order
        last = sorted(self.last, key=lambda one: one.at, reverse=True)[:limit]
        shown = [
            {
                "age_s": round(max(0.0, now - one.at), 3),
                "method": one.method,
                "path": one.path,
                "server": one.server,
                "copy_server": one.copy_server,
                "what": list(one.what),
            }
            for one in last
        ]
        return {**self.snapshot(), "differences": shown}

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return {"running": len(self.running)}

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self.remote = total.get("running", 0)

    def take_records(self) -> list[dict[str, Any]]:
        """See :class:`Feature`: the differences."""
        found = [asdict(one) for one in self.last]
        self.last.clear()
        return found

    def add_records(self, records: Sequence[dict[str, Any]]) -> None:
        """See :class:`Feature`."""
        for one in records:
            self.last.append(MirrorDifference(**{**one, "what": tuple(one["what"])}))


_COUNTS = {
    "backend": "string",
    "running": "count",
    **{field.name: "count" for field in fields(MirrorCounters)},
}
_DIFFERENCE = {
    "age_s": "number",
    "method": "string",
    "path": "string",
    "server": "string",
    "copy_server": "string",
    "what": ["string"],
}

Mirror.part = AdminPart(
    "mirrors",
    state="mirrors",
    title="Mirrors",
    fields=_COUNTS,
    columns=(
        Column("name", "Backend"),
        Column("backend", "Mirror"),
        Column("copied", "Copied", "count"),
        Column("failed", "Failed", "count"),
        Column("same", "Same", "count"),
        Column("different", "Different", "count"),
        Column("busy", "Too many", "count"),
        Column("too_large", "Too large", "count"),
    ),
    operations=(
        Operation(
            "GET",
            "mirror",
            "Counters of copies, and the last differences, the newest first",
            Mirror.detailed,
            {**_COUNTS, "differences": [_DIFFERENCE]},
            {
                "limit": Argument(
                    "maximum number of differences in the response", low=1, high=50, default=50
                )
            },
        ),
    ),
)
