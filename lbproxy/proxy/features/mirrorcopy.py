"""DATA. The copy of one request, sent to another backend: one attempt with its own deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lbproxy.balance.server import ServerState
from lbproxy.config.model import MirrorSpec
from lbproxy.errors import Outcome, ProxyError
from lbproxy.http.compare import BodyNote, ComparedAnswer
from lbproxy.http.message import END, RequestHead, ResponseHead
from lbproxy.proxy.http.attempt import Attempt
from lbproxy.proxy.http.attemptowner import AttemptOwner, OwnedAttempt

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["Copy"]


class Copy(AttemptOwner):
    """The owner of one attempt, like an exchange but without a client.

    The traffic of an attempt has these attributes. Lists of sessions show a copy as a request of
    ``frontend_name``.
    """

    priority = 1 << 30  # lowest priority in the queue
    tunnelled = False
    watched = None
    bytes_out = 0

    def __init__(
        self,
        original: Any,
        backend: Backend,
        head: RequestHead,
        body: bytes,
        spec: MirrorSpec,
        notes_body: bool,
    ) -> None:
        self.client_ip: str = original.client_ip
        self.client_port: int = original.client_port
        self.sni: str = original.sni
        self.info = original.info
        self.frontend_name: str = original.frontend_name
        self.original_server: str = original.server_name
        self.request: RequestHead = head
        self.tried: list[ServerState] = []
        self.server_name = ""
        self.bytes_in = len(body)
        self.over = False
        self.started: float = backend.wheel.now()
        self._backend = backend
        self._forwarder = original.frontend.forwarder
        self._body = body
        keep = spec.body if spec.judge is not None else 0
        self._note = BodyNote(keep) if notes_body else None
        self._timer = backend.wheel.timer(self.cancel)
        self._timeout = spec.timeout
        self._done: Callable[[ComparedAnswer | None], None] | None = None
        self._answer: ComparedAnswer | None = None
        # copies do not count for passive health
        self._attempt: Attempt | None = Attempt(self, backend, self, self.tried, judged=False)

    def start(self, done: Callable[[ComparedAnswer | None], None]) -> None:
        """Start. ``done`` is called once, with the response or with None."""
        self._done = done
        self._timer.set(self._timeout)
        if self._attempt is not None:
            self._attempt.acquire()

    def cancel(self) -> None:
        """End the copy because its time is over.

        A slow copy counts as neutral, because no client waits for it.
        """
        self._end(None)

    # -- AttemptOwner ---------------------------------------------------------------------------

    def attempt_leased(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""
        if attempt.server is not None:
            self.server_name = attempt.server.name
        attempt.request = self.request
        attempt.connect()

    def attempt_refused(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """See :class:`AttemptOwner`."""
        self._end(None)

    def attempt_connected(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`.  The body is sent whole."""
        try:
            attempt.send(self._body, END)
        except (ValueError, TypeError):
            self._end(None)

    def attempt_may_resend(self, attempt: OwnedAttempt) -> bool:
        """See :class:`AttemptOwner`."""
        return True

    def attempt_paused(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""

    def attempt_resumed(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""

    def attempt_interim(self, attempt: OwnedAttempt, head: ResponseHead) -> None:
        """See :class:`AttemptOwner`."""

    def attempt_answered(self, attempt: OwnedAttempt, events: list[Any]) -> bool:
        """See :class:`AttemptOwner`."""
        seconds = self._backend.wheel.now() - self.started
        head = events[0]
        self._answer = ComparedAnswer(head.status, self._forwarder.response(head).pairs(), seconds)
        return True

    def attempt_events(self, attempt: OwnedAttempt, events: list[Any]) -> None:
        """See :class:`AttemptOwner`."""
        answer, note = self._answer, self._note
        if note is not None:
            for event in events:
                if type(event) is bytes:
                    note.add(event)
        if attempt.over:
            if answer is not None and note is not None:
                answer.size, answer.digest, answer.body = note.size, note.digest, note.start
            self._end(answer)

    def attempt_failed(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """See :class:`AttemptOwner`."""
        self._end(None)

    # -- the end --------------------------------------------------------------------------------

    def _end(self, answer: ComparedAnswer | None) -> None:
        if self.over:
            return
        self.over = True
        self._timer.close()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel(Outcome.NEUTRAL)
        done, self._done = self._done, None
        if done is not None:
            done(answer)
