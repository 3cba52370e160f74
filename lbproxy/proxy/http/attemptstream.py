"""DATA. The stream of an attempt: body and back-pressure, and exceptions of the code behind it."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import End
from lbproxy.proxy.http.attemptowner import OwnedAttempt
from lbproxy.proxy.http.attemptstate import AttemptState
from lbproxy.proxy.http.serverlink import ServerLink
from lbproxy.proxy.http.streams import ServerStream
from lbproxy.proxy.ratelog import Quiet

__all__ = ["AttemptStream"]

_quiet: Final = Quiet(Logger(__name__))
_OVER: Final = AttemptState.OVER


class AttemptStream(OwnedAttempt):
    """Base of :class:`~lbproxy.proxy.http.attempt.Attempt`. Rule 5 of its module applies here."""

    __slots__ = ("_stream",)

    _stream: ServerStream | None

    def _fail(self, error: ProxyError, blame: bool = True) -> None:
        """End with ``error``. ``blame``: report it to passive health."""
        raise NotImplementedError

    def send_body(self, data: bytes, end: End | None) -> None:
        """Send more of the body, and the end if known; in a tunnel, bytes and the client's FIN."""
        if end is not None:
            self.ended = True
        if self._stream is not None:
            try:
                self._stream.send_body(data, end)
            except BaseException as error:
                self._break("send_body", error)

    def pause_response(self) -> None:
        """See :class:`OwnedAttempt`."""
        if self._stream is not None:
            try:
                self._stream.pause_response()
            except BaseException as error:
                self._break("pause_response", error)

    def resume_response(self) -> None:
        """Resume the response."""
        if self._stream is not None:
            try:
                self._stream.resume_response()
            except BaseException as error:
                self._break("resume_response", error)

    def _break(self, method: str, error: BaseException) -> None:
        """Fail in the next turn because the stream raised, as the owner may be in the middle of a
        call.
        """
        failure = ProxyError(Kind.SERVER_GONE, self._bug(method, error))
        self._close_stream(False)
        self.backend.wheel.clock.callLater(0, self._broken, failure)

    def _broken(self, error: ProxyError) -> None:
        if self.state is not _OVER:
            self._fail(error, blame=False)

    def _close_stream(self, reuse: bool) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                if isinstance(stream, ServerLink):  # the same as below, compiled to a C call
                    stream.close(reuse=reuse)
                else:
                    stream.close(reuse=reuse)
            except BaseException as error:
                self._bug("close", error)

    def _bug(self, what: str, error: BaseException) -> str:
        """Log an exception of the code behind this attempt, and return the detail."""
        kind = f"{self.backend.name} {what} {type(error).__name__}"
        _quiet.failure(kind, "{what} failed", Failure(error), what=f"{self.backend.name} {what}")
        return f"{what}: {type(error).__name__}: {error}"
