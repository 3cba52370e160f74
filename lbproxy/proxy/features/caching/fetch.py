"""DATA. One request of the cache to the servers, for the clients that wait for its response.

A :class:`Fetch` is the sink of the source behind the cache, and it has a traffic of its own, so
that it goes on when the client that caused it leaves. Its states:

======== ============================================================== =================
state    meaning                                                        next
======== ============================================================== =================
ASKING   there is no head; clients may join                             KEEPING, PASSING,
                                                                        OVER
KEEPING  the body is kept to be stored; clients may join, and each      PASSING, OVER
         reads at its own pace
PASSING  the response is not stored: nobody joins, a chunk is dropped   OVER
         when all readers have it, and the slowest sets the pace, for
         ``timeout_server`` in all
OVER     the end, a failure, or nobody reads what is not stored         -
======== ============================================================== =================

Chunks count as memory of the cache (``reserve``) while they are kept, and afterwards until all
readers have taken them. Once the body is stored, readers take it from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key, sent_fields, sent_headers, sent_target
from lbproxy.cache.memory import Entry, Reading
from lbproxy.cache.serving import usable_on_error
from lbproxy.cache.stored import Stored
from lbproxy.cache.storing import Refusal, store
from lbproxy.cache.updating import conditional, is_same, updated
from lbproxy.cache.vary import matching
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, Headers, Reply, ResponseHead
from lbproxy.proxy.features.caching.asking import traffic_like, unconditional
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.chunks import PER_CHUNK, SpooledChunks, StoredChunks
from lbproxy.proxy.features.caching.disk.claims import Claim
from lbproxy.proxy.features.caching.disk.files import INLINE
from lbproxy.proxy.features.caching.disk.spool import AHEAD, Spool
from lbproxy.proxy.features.caching.holds import TOO_SLOW, Hold, patience_of
from lbproxy.proxy.http.deferredstream import begin_failed
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.traffic import HTTPTraffic

if TYPE_CHECKING:
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Fetch", "FetchState", "Waiting"]

WINDOW: Final = 256 * 1024
"""Bytes of a response that is not stored that wait for its slowest reader before the server is
paused."""

_FAILURES: Final = frozenset({500, 502, 503, 504})


class FetchState(Enum):
    """See the module."""

    ASKING = 0
    KEEPING = 1
    PASSING = 2
    OVER = 3


class Waiting(Protocol):
    """A client that gets the response: :class:`lbproxy.proxy.features.caching.reader.Reader`.

    ``position``: chunks that it has taken; ``behind``: chunks that it has not.
    """

    @property
    def position(self) -> int: ...
    @property
    def behind(self) -> int: ...

    def interim(self, head: ResponseHead) -> None:
        """Take an interim head."""

    def deliver(self) -> None:
        """Take what has come."""

    def revalidated(self, entry: Entry, stored: Stored, status: int) -> None:
        """Answer with a stored response, which the server has called good."""

    def stale(self, entry: Entry, why: str) -> None:
        """Answer with a stored response, because the server failed."""

    def again(self) -> None:
        """Ask a server; the fetch is over."""

    def failed(self, error: ProxyError) -> None:
        """The fetch has failed, perhaps in the middle."""

    def refused(self, error: ProxyError) -> None:
        """The fetch has failed before a server had the request."""

    def replied(self, reply: Reply) -> None:
        """A filter answers."""


class Fetch(Asking):
    """See the module.

    ``entry``: the stored response that the request validates, or None. ``readers``: the clients
    that get the response. ``stored``: the head as it will be stored, from state KEEPING on.
    ``last``: the End, with trailers. ``reason``: for Cache-Status. ``outdated``: a purge has named
    it since it began, so it is not stored. ``claim``: other processes wait for it.
    """

    def __init__(
        self,
        cache: Cache[Fetch],
        key: Key,
        url: bytes,
        asked: Asked,
        original: HTTPTraffic,
        entry: Entry | None,
        body: bytes = b"",
    ) -> None:
        self.cache = cache
        self.key = key
        self.url = url
        self.asked = asked
        self.entry = entry
        self.state = FetchState.ASKING
        self.readers: list[Waiting] = []
        self.stored: Stored | None = None
        self.head: ResponseHead | None = None
        self.length: int | None = (
            None  # of the body; the first client's filters may change the head
        )
        self.last = END
        self.refusal: Refusal | None = None
        self.chunks: Sequence[bytes] = []
        self.dropped = 0  # chunks that all readers of a response that is not stored have taken
        self._waiting = 0  # bytes of the chunks
        self.size = 0
        self.complete = False
        self.outdated = False
        self.claim: Claim | None = None
        self.reason = "stale"
        self._reserved = 0
        self._spool: Spool | None = None
        self._reading: Reading | None = None  # of the stored body, while readers take it
        self._hold: Hold | None = None
        self._request = original.request
        self._sent_at = cache.wall()
        self._stream: SourceStream = STARTING
        self._paused = False
        self._patience: Any = None  # a timer, from the first time that the server waits
        self._patient = True  # the slowest of several readers still sets the pace
        self._worth = cache.worth(key)
        self._body = body
        super().__init__(self._traffic(original))

    def _traffic(self, original: HTTPTraffic) -> HTTPTraffic:
        target = sent_target(self._request, self.cache.policy)
        return traffic_like(original, self._headers(), target, len(self._body))

    def _headers(self) -> Headers:
        if self.entry is not None:
            headers = conditional(self._request, self.entry.stored)
        else:
            headers = unconditional(self._request)
        return sent_headers(headers, self.cache.policy)

    def start(self, source: Source) -> None:
        """Send the request to ``source``, which may answer before this returns."""
        try:
            stream = source.begin(self.traffic.request, self._body, END, self)
        except BaseException as error:  # as an exchange does: nobody may wait for it
            self.fail(begin_failed(source, error))
            return
        if self.state is FetchState.OVER:
            stream.close(reuse=False)
        else:
            self._stream = stream
            self._balance()

    @property
    def joinable(self) -> bool:
        """Whether a further client may get this response."""
        return self.state in (FetchState.ASKING, FetchState.KEEPING) and not self.outdated

    @property
    def personal(self) -> bool:
        """Whether the request has cookies or credentials that may change the response."""
        return self.asked.personal

    @property
    def waiters(self) -> int:
        """Clients that wait for the head, but for the first."""
        return max(0, len(self.readers) - 1) if self.state is FetchState.ASKING else 0

    # -- from the source ------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        for event in events:
            if self.state is FetchState.OVER:
                return
            if type(event) is bytes:
                self._add(event)
            elif type(event) is End:
                self.last = event
                self._end()
            elif event.status < 200:
                self._interim(event)
            else:
                self._answer(event)
        self._deliver()
        if self.state is FetchState.PASSING and not self.readers:
            self.stop(Kind.CLIENT_GONE)  # nobody reads what is not stored

    def _interim(self, head: ResponseHead) -> None:
        for reader in list(self.readers):
            reader.interim(ResponseHead(head.status, head.pairs(), head.reason))

    def _answer(self, head: ResponseHead) -> None:
        """The final head decides what becomes of the response."""
        now = self.cache.wall()
        entry, times = self.entry, (self._sent_at, now)
        if entry is not None and head.status == 304:
            self._not_modified(entry, head, times)
            return
        if (
            entry is not None
            and head.status in _FAILURES
            and self._serve_stale(f"status {head.status}")
        ):
            return
        self.head = head
        self.length = head.length
        found = store(self.url, self._request, self.asked, head, self.cache.policy, times)
        large = head.length is not None and head.length > self.cache.policy.max_object
        if isinstance(found, Stored) and not self._worth:
            found = _TOO_FEW
        if head.status in _FAILURES and self._has_good(now):
            found = _BETTER
        if isinstance(found, Stored) and not large and not self.outdated:
            self.stored = found
            self.state = FetchState.KEEPING
            return
        self.refusal = found if isinstance(found, Refusal) else _TOO_LARGE if large else _PURGED
        self.state = FetchState.PASSING
        self.cache.fetch_passes(self, self.refusal)

    def _has_good(self, now: float) -> bool:
        """Whether the store has a response that may still be used in place of a failure."""
        asked, policy = self.asked, self.cache.policy
        entries = self.cache.store.select(self.key) or []
        known = matching([one.stored for one in entries], sent_fields(self._request, policy))
        return known is not None and usable_on_error(known, asked, policy, now) is not None

    def _not_modified(self, entry: Entry, head: ResponseHead, times: tuple[float, float]) -> None:
        """The server says that the stored response is still good."""
        policy = self.cache.policy
        if not is_same(entry.stored, head):
            self._over()
            self.cache.store.remove(entry)
            self.cache.fetch_over(self)
            for reader in self._leave():
                reader.again()
            return
        fresh = updated(entry.stored, self._request, self.asked, head, policy, times)
        if fresh is None:
            self.cache.store.remove(entry)
        elif not self.outdated:
            entry = self.cache.fetch_confirmed(self, entry, fresh) or entry
        self.entry = entry
        self._over()
        self.cache.fetch_over(self)
        for reader in self._leave():
            reader.revalidated(entry, fresh or entry.stored, head.status)

    def _serve_stale(self, why: str) -> bool:
        """Answer with the stored response because the server failed, if that is allowed."""
        entry = self.entry
        if entry is None or self.outdated:
            return False
        rule = usable_on_error(entry.stored, self.asked, self.cache.policy, self.cache.wall())
        if rule is None:
            return False
        self._over().close(reuse=False)
        self.cache.fetch_over(self)
        for reader in self._leave():
            reader.stale(entry, f"{why}, {rule}")
        return True

    def _add(self, data: bytes) -> None:
        assert isinstance(self.chunks, list | SpooledChunks)
        self.chunks.append(data)
        self.size += len(data)
        self._waiting += len(data)
        if self.state is FetchState.KEEPING:
            self._keep(data, len(data) + PER_CHUNK)

    def _keep(self, data: bytes, size: int) -> None:
        """Let ``data`` go to a file, or set ``size`` more bytes aside; else store nothing."""
        if self.size > self.cache.policy.max_object:
            self._pass(_TOO_LARGE)
        elif self._spool is not None:
            self._spool.write(data)
        elif self.size > INLINE and self.cache.store.spools:
            self._begin_spool()
        elif not self.cache.reserve(size):
            self._pass(_NO_ROOM)
        else:
            self._reserved += size

    def _pass(self, why: Refusal) -> None:
        """The response will not be stored; the present readers get all of it."""
        if self.state is FetchState.OVER:
            return  # a client that was cut for its memory was the last that read this, too
        self.stored = None
        self.refusal = why
        self.state = FetchState.PASSING
        self.cache.fetch_passes(self, why)
        self._hold_chunks()

    # -- the file of a large body ---------------------------------------------------------------

    def _begin_spool(self) -> None:
        self.cache.fetch_is_large(self)
        spool = self.cache.store.spool(self._wrote, self._spool_failed)
        before = self.chunks
        self._spool, self.chunks = spool, SpooledChunks(spool, before)
        self._reserve_at_most(0)
        for chunk in before:
            spool.write(chunk)

    def _wrote(self, offset: int, size: int) -> None:
        """A chunk is in the file, so memory need not hold it."""
        if isinstance(self.chunks, SpooledChunks):
            self._waiting -= self.chunks.wrote(offset, size)
            self._balance()

    def _spool_failed(self) -> None:
        """Go on without storing the response."""
        if self.state is not FetchState.KEEPING:
            return
        self.stored = None
        self.refusal = _DISK
        if self.complete:
            self._recorded()
        else:
            self.state = FetchState.PASSING
            self.cache.fetch_over(self)  # nobody joins it
            self._hold_chunks()
            self._balance()

    def _spooled(self, digest: bytes) -> None:
        """The body is complete, and in its file."""
        assert self._spool is not None
        if self.stored is not None and not self.outdated and self.state is FetchState.KEEPING:
            self.cache.fetch_spooled(self, self._spool, digest, self._recorded)
        else:
            self.cache.store.discard_spooled(self._spool)
            self._recorded()

    def _recorded(self) -> None:
        """The response is stored, or cannot be."""
        self.state = FetchState.OVER
        self.cache.fetch_over(self)
        if not self.readers:
            self._free()

    # -- memory ---------------------------------------------------------------------------------

    def _hold_chunks(self) -> None:
        """From now on the readers decide when the chunks go."""
        if self._hold is None and self.readers:
            self._hold = Hold(self.traffic, self._cut)
            self.cache.holds.add(self._hold)
        self._drop_taken()

    def _drop_taken(self) -> None:
        """Drop the chunks that all readers have, and free their memory."""
        taken = min((reader.position for reader in self.readers), default=0) - self.dropped
        if taken > 0 and isinstance(self.chunks, SpooledChunks):
            self._waiting -= self.chunks.drop(taken)
            self.dropped += taken
        elif taken > 0 and isinstance(self.chunks, list):
            self._waiting -= sum(map(len, self.chunks[:taken]))
            del self.chunks[:taken]
            self.dropped += taken
        if self._reserved:
            self._reserve_at_most(self._waiting + PER_CHUNK * len(self.chunks))

    def _reserve_at_most(self, size: int) -> None:
        if self._reserved > size:
            self.cache.memory.release(self._reserved - size)
            self._reserved = size

    def _store(self, entry: Entry, sizes: Sequence[bytes]) -> None:
        """Let readers that are behind take the rest from ``entry``."""
        assert isinstance(entry.body, bytes)
        self.chunks = StoredChunks(entry.body, sizes)
        self._reading = self.cache.memory.begin_reading(entry)
        self._hold_chunks()

    def _free(self) -> None:
        """Release the chunks and their memory: there is no reader."""
        self._reserve_at_most(0)
        self.chunks, self._waiting = [], 0
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._reading is not None:
            self.cache.memory.end_reading(self._reading)
            self._reading = None
        if self._hold is not None:
            self.cache.holds.remove(self._hold)
            self._hold = None

    def _cut(self) -> None:
        """Fail all readers: others need the memory."""
        self.stop(Kind.CLIENT_STALLED)
        for reader in self._leave():
            reader.failed(ProxyError(Kind.CLIENT_STALLED, TOO_SLOW))
        self._free()

    def _end(self) -> None:
        self.complete = True
        if self._spool is not None and self.state is FetchState.KEEPING and not self.outdated:
            self.over = True
            self._spool.finish(self._spooled)  # until then clients may join
            return
        state, self.state = self.state, FetchState.OVER
        self._stream = STARTING
        self.over = True
        self._end_patience()
        if state is FetchState.KEEPING and self.stored is not None and not self.outdated:
            chunks = self.chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            kept = self._reserved
            self._reserve_at_most(0)
            entry = self.cache.fetch_stored(self, body)
            if entry is not None:
                self._store(entry, chunks)
            else:
                self.cache.memory.reserved += kept  # the readers still have to take it
                self._reserved = kept
        self.cache.fetch_over(self)
        if self.readers:
            self._hold_chunks()
        else:
            self._free()

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if self.state is FetchState.OVER:
            return
        if self.state is FetchState.ASKING and self._serve_stale(str(error.kind.value)):
            return
        self._over()
        self.cache.fetch_over(self)
        for reader in self._leave():
            reader.failed(error)

    def server_paused(self) -> None:
        """The request has no body."""

    def server_resumed(self) -> None:
        """The request has no body."""

    def hook_replied(self, reply: Reply) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`.

        All who wait get the reply, except one whose body is produced: that serves the first of
        them, and the others ask a server.
        """
        self._over()
        self.cache.fetch_over(self)
        whole = isinstance(reply.body, bytes)
        served = False
        for reader in self._leave():
            if whole or not served:
                reader.replied(reply)
                served = True
            else:
                reader.again()

    def fail(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        if self.state is FetchState.OVER:
            return
        if self.state is FetchState.ASKING and self._serve_stale(str(error.kind.value)):
            return
        self._over()
        self.cache.fetch_over(self)
        for reader in self._leave():
            reader.refused(error)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """Only tunnels are parted."""

    # -- readers --------------------------------------------------------------------------------

    def join(self, reader: Waiting) -> None:
        """Let ``reader`` have the response, from its beginning."""
        self.readers.append(reader)

    def left(self, reader: Waiting) -> None:
        """``reader`` needs no more.  A response that is stored is fetched to its end."""
        if reader in self.readers:
            self.readers.remove(reader)
        if self.readers:
            self._balance()
        elif self.state is FetchState.OVER:
            self._free()
        elif self.state is FetchState.PASSING or not self.cache.users:
            self.stop(Kind.CLIENT_GONE)

    def stop(self, kind: Kind) -> None:
        """End early; ``kind`` says why."""
        if self.state is FetchState.OVER:
            return
        self.traffic.close = kind
        self._over().close(reuse=False)
        self.cache.fetch_over(self)

    def abandon(self) -> None:
        """End if nobody waits for the response."""
        if not self.readers:
            self.stop(Kind.SHUTDOWN)

    def took(self) -> None:
        """A reader has taken more, or stops taking."""
        self._balance()

    def _deliver(self) -> None:
        for reader in list(self.readers):
            reader.deliver()
        self._balance()

    def _balance(self) -> None:
        """Drop what all readers have, and pause the server if the slowest is far behind."""
        if self.state is FetchState.KEEPING and self._spool is not None:
            self._pause(self._spool.waiting > AHEAD)
        if self.state in (FetchState.ASKING, FetchState.KEEPING):
            return
        self._drop_taken()
        if self.state is FetchState.OVER:
            return
        full = self._waiting > WINDOW and any(reader.behind > 0 for reader in self.readers)
        self._pause(full)
        if full and len(self.readers) > 1:
            self._lose_patience()

    def _pause(self, full: bool) -> None:
        if full is not self._paused:
            self._paused = full
            if full:
                self._stream.pause_response()
            else:
                self._stream.resume_response()

    def _lose_patience(self) -> None:
        """Let the slowest reader set the pace for ``timeout_server`` in all, then cut it."""
        if self._patience is None:
            self._patience = self.traffic.frontend.wheel.timer(self._hurry)
            self._patience.set(patience_of(self.traffic))
        if self._patient or all(reader.behind for reader in self.readers):
            return
        slow = [reader for reader in self.readers if reader.position == self.dropped]
        for reader in slow:
            self.readers.remove(reader)
        for reader in slow:
            reader.failed(ProxyError(Kind.CLIENT_STALLED, "slower than others of the same body"))
        self._balance()

    def _hurry(self) -> None:
        self._patient = False
        self._balance()

    def _leave(self) -> list[Waiting]:
        readers, self.readers = self.readers, []
        return readers

    def _over(self) -> SourceStream:
        """Release everything; return the stream, which may have to be closed."""
        stream, self._stream = self._stream, STARTING  # it knows us: no cycle
        self.state = FetchState.OVER
        self.over = True
        self._end_patience()
        self._free()
        return stream

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.close()


_TOO_LARGE: Final = Refusal("larger than max_object", "policy")
_NO_ROOM: Final = Refusal("no room beside bodies that are received or sent", "memory")
_BETTER: Final = Refusal("an error, and the stored response may still be used", "grace")
_TOO_FEW: Final = Refusal("fewer uses than min_uses", "policy")
_DISK: Final = Refusal("the disk failed or is full", "disk")
_PURGED: Final = Refusal("purged while it was fetched", "purge")
