"""DATA. Converts bodies in threads, a few at a time."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool

from lbproxy.cors.call import Call
from lbproxy.cors.convert import ConvertError, convert
from lbproxy.proxy.features.corsproxy.extraction import extract_apart

__all__ = ["CONVERSIONS_MAX", "Conversions"]

CONVERSIONS_MAX: Final = 2
"""Maximum number of concurrent conversions of one CORS proxy, because they compete with traffic for
the interpreter.
"""


class Conversions:
    """Converts bodies in the threads of ``reactor``. Further bodies wait for their turn."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._turns = DeferredSemaphore(CONVERSIONS_MAX)

    def run(self, call: Call, body: bytes, content_type: str) -> Deferred[bytes]:
        """Return the JSON that ``call`` requests from ``body``, or fail with ConvertError.

        Cancelling removes a waiting conversion. A running one occupies its turn until it ends.
        """
        turn: Deferred[Any] = self._turns.acquire()
        done: Deferred[bytes] = Deferred(lambda _: turn.cancel())

        def work() -> bytes:
            try:
                if call.extract:
                    return extract_apart(call.extract, body, content_type)
                return convert(call.convert, body, content_type)
            except RecursionError:
                raise ConvertError("nested too deeply") from None

        def begin(_: Any) -> None:
            if done.called:
                self._turns.release()
            else:
                pool = self._reactor.getThreadPool()
                deferToThreadPool(self._reactor, pool, work).addBoth(end)

        def end(result: Any) -> None:
            self._turns.release()
            if not done.called:
                done.callback(result)  # a Failure is an errback

        turn.addCallbacks(begin, lambda failure: None)
        return done
