"""DATA. The body of a response in a file, in pieces: from the page cache if possible, else read
in a thread.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from lbproxy.cache.codec import DamagedError
from lbproxy.cache.ranges import Span
from lbproxy.errors import Kind, ProxyError
from lbproxy.proxy.features.caching.disk.openfile import OpenFile
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.ratelog import Quiet

__all__ = ["FileReading"]

_quiet: Final = Quiet(Logger())


class FileReading:
    """An open body. :meth:`pieces` may be called once; the iterator closes the file."""

    def __init__(self, body: OpenFile, jobs: Jobs) -> None:
        self.size = body.size
        self._body = body
        self._jobs = jobs
        self._spans: list[bytes | Span] = []
        self._piece = 0
        self._closed = self._busy = False

    def pieces(self, plan: list[bytes | Span], size: int) -> FileReading:
        """Return the parts of ``plan`` as an asynchronous iterator, at most ``size`` at a time."""
        self._spans = list(reversed(plan))
        self._piece = size
        return self

    def __aiter__(self) -> FileReading:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece. Raises ProxyError if the file has changed or cannot be read."""
        if not self._spans:
            raise StopAsyncIteration
        part = self._spans.pop()
        if isinstance(part, bytes):
            return part
        last = min(part.last, part.first + self._piece - 1)
        if last < part.last:
            self._spans.append(Span(last + 1, part.last))
        size = last - part.first + 1
        try:
            data = self._body.read_cached(part.first, size)
            return data if data is not None else await self._read(part.first, size)
        except (OSError, DamagedError) as error:
            _quiet.warn(
                f"stored body {self._body.path}",
                "a client that was receiving {path} is cut off: {error}",
                path=self._body.path,
                error=error,
            )
            raise ProxyError(Kind.SERVER_GONE, f"a file of the cache: {error}") from None

    def _read(self, at: int, size: int) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred(lambda _: None)

        def read(result: bytes | Exception) -> None:
            self._busy = False
            if self._closed:
                self._body.close()
            if done.called:
                return  # the client has left
            if isinstance(result, Exception):
                done.errback(result)
            else:
                done.callback(result)

        self._busy = True
        self._jobs.run(lambda: self._body.read(at, size), read)
        return done

    async def aclose(self) -> None:
        """Close the file, after a running read has finished."""
        self.close()

    def close(self) -> None:
        """See :meth:`aclose`."""
        if not self._closed:
            self._closed = True
            self._spans.clear()
            if not self._busy:
                self._body.close()

    def __del__(self) -> None:
        if not self._closed:
            self.close()
