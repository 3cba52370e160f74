"""DATA. The contract between an exchange and the source of its answer.

A :class:`Source` answers requests: the servers of a backend
(:class:`lbproxy.proxy.http.attempts.Servers`), a fixed or streamed reply and an error page
(:class:`lbproxy.proxy.http.replysource.ReplySource`), a cache, a file, an application in the
process. An :class:`~lbproxy.proxy.http.exchange.Exchange` holds one source at a time and does not
depend on which one it is.

.. code-block:: text

              begin(head, data, end, sink)          server_events([head, bytes, ..., END])
   exchange ------------------------------> source ---------------------------------------> exchange
                send_body(data, end)        stream  server_failed(error)                     (sink)
                pause_response()                    server_paused(), server_resumed()
                resume_response()                   hook_replied(reply), fail(error)
                close(reuse=...)

Rules for the source and the stream that :meth:`Source.begin` returns:

1. **Order.** The stream gives the sink any number of interim heads, then one final head, body bytes
   and one End. Events of one call are in order; ``bytes`` are never empty. Calls to the sink may be
   made at any time, also before ``begin`` has returned. Only a 101 and a 2xx to CONNECT must come
   later, because the exchange then calls ``start_tunnel`` of the stream.
2. **The end.** The stream is over after the End, after ``server_failed``, ``hook_replied`` or
   ``fail``, and after ``close``. It has released everything by then (in particular a server: the
   next request of the client may use its connection), and it calls the sink no more. ``close`` of a
   stream that is over has no effect.
3. **Failures.** ``server_failed(error)`` before the final head runs filters of phase ``failed`` and
   sends an error page; after it, the client's connection is aborted, as HTTP/1 has no other sign.
   An exception in ``begin`` is logged and answered with 500; one in another method of a source
   of an installed feature, too (:mod:`lbproxy.proxy.http.guardedsource`).
4. **Answers of lbproxy's own.** ``origin`` of the source says whether its responses count as those
   of a server. Filters of phase ``response`` run for these; for others only filters with
   ``always``. A source that decides per request calls ``sink.hook_replied(Reply(...))`` for an
   answer of its own, or returns ``inner.begin(...)`` of the source behind it.
5. **Back-pressure towards the client.** After ``pause_response`` the stream gives at most what it
   has already read, until ``resume_response``. It must not produce a long body in one call: it
   gives at most about 256 KiB in a turn of the reactor.
6. **Back-pressure from the client.** ``data`` and ``end`` of ``begin`` and ``send_body`` are the
   request body. A source that cannot take more calls ``server_paused``, and ``server_resumed``
   later. At most what was read from the client at once still follows. A source may ignore the body;
   it is then read and dropped.
7. **Deadlines.** A source has a deadline for everything it waits for. The exchange sets none.
8. ``sink.traffic`` is the :class:`~lbproxy.proxy.http.traffic.HTTPTraffic` of the exchange.
   ``traffic.request`` is the request after filters; ``head`` is the same object.

A feature provides sources with :meth:`lbproxy.proxy.feature.Feature.source`: for a backend, or for
a frontend around those of its backends. One source object serves all exchanges of its owner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from lbproxy.compiled import native
from lbproxy.http.message import End, Reply, RequestHead
from lbproxy.proxy.http.sink import Asking

if TYPE_CHECKING:
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["BACKEND_SOURCE", "STARTING", "Source", "SourceReply"]


@native(allow_interpreted_subclasses=True)
class Source:
    """Base class of sources; see the module.

    - ``name``: value of ``traffic.source`` for its responses.
    - ``origin``: whether its responses count as those of a server (rule 4).

    A source that uses another one is responsible for both.
    """

    name: ClassVar[str] = "server"
    origin: ClassVar[bool] = True

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """Answer a request; ``data`` and ``end`` are its body received so far.

        Return the stream of this exchange. The response goes to ``sink``.
        """
        raise NotImplementedError

    def cached_by(self, wrap: Callable[[Source], Source]) -> Source:
        """Return this source with a cache; ``wrap(source)`` puts the cache in front of ``source``.

        A source whose responses depend on the caller overrides it, and lets the cache be in front
        of the part that does not.
        """
        return wrap(self)


@native(allow_interpreted_subclasses=True)
class BackendSource(Source):
    """The present source of the backend, for sources of frontends that wrap it."""

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        source: Source = sink.traffic.backend.source
        return source.begin(head, data, end, sink)


BACKEND_SOURCE: Final = BackendSource()
"""Shared by all frontends, because it has no state."""


class SourceReply(Reply):
    """The reply of a hook of phase ``early`` or ``request`` that leaves the answer to ``source``,
    because the answer depends on the body of the request.

    The source answers with ``hook_replied`` or ``fail`` of its sink.
    """

    __slots__ = ("source",)

    def __init__(self, source: Source) -> None:
        super().__init__(500)
        self.source = source


class Starting:
    """The stream of an exchange while :meth:`Source.begin` runs. It does nothing."""

    queued = False

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`~lbproxy.proxy.http.streams.SourceStream`."""

    def pause_response(self) -> None:
        """See :class:`~lbproxy.proxy.http.streams.SourceStream`."""

    def resume_response(self) -> None:
        """See :class:`~lbproxy.proxy.http.streams.SourceStream`."""

    def start_tunnel(self) -> bytes:
        """See :class:`~lbproxy.proxy.http.streams.SourceStream`."""
        raise RuntimeError("a source must not switch to a tunnel before begin has returned")

    def close(self, *, reuse: bool) -> None:
        """See :class:`~lbproxy.proxy.http.streams.SourceStream`."""


STARTING: Final = Starting()
"""Shared by all exchanges, because it has no state."""
