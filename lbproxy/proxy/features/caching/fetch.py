"""DATA. One request of the cache to the servers, for the clients that wait for its response.

A :class:`Fetch` is the sink of the source behind the cache. It has its own traffic, so that it
continues when the client that caused it leaves. Its states:

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
readers have taken them. Once the body is stored, readers take it from the store.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key
from lbproxy.cache.memory import Entry
from lbproxy.cache.ownrequest import own_request
from lbproxy.cache.serving import usable_on_error
from lbproxy.cache.stored import Stored
from lbproxy.cache.storing import Refusal
from lbproxy.cache.updating import answered, is_same, updated
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, Reply, ResponseHead
from lbproxy.proxy.features.caching.asking import traffic_like
from lbproxy.proxy.features.caching.disk.claims import Claim
from lbproxy.proxy.features.caching.fanout import Fanout
from lbproxy.proxy.features.caching.fetchbody import FetchBody
from lbproxy.proxy.features.caching.fetchstate import DISK, FetchState
from lbproxy.proxy.features.caching.judging import (
    FAILURES,
    error_for_all,
    remove_older,
    remove_replaced,
    stored_or_refused,
    supersedes,
)
from lbproxy.proxy.http.deferredstream import begin_failed
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["Fetch"]

_ASKING: Final = FetchState.ASKING  # looked up once
_KEEPING: Final = FetchState.KEEPING
_PASSING: Final = FetchState.PASSING
_OVER: Final = FetchState.OVER


class Fetch(Fanout):
    """See the module.

    ``key``: of the look-up. ``own_key``: of the request itself, with its whole query. ``waits``: of
    the requests that may join, :func:`~lbproxy.proxy.features.caching.partfetch.part_key` for a
    part. ``entry``: the stored response that the request validates, or None. ``readers``: the
    clients that get the response. ``stored``: the head as it will be stored, from state KEEPING on.
    ``failure``: the head of an error for all waiting clients. ``last``: the End, with trailers.
    ``reason``: for Cache-Status. ``outdated``: a purge has named the response since the fetch
    began, so it is not stored. ``claim``: other processes wait for this fetch. ``began``: start
    time, in reactor time.
    """

    def __init__(
        self,
        cache: Any,
        key: Key,
        url: bytes,
        asked: Asked,
        original: HTTPTraffic,
        entry: Entry | None,
        body: bytes = b"",
    ) -> None:
        self.cache = cache
        self.key = self.own_key = self.waits = key
        self.url = url
        self.asked = asked
        self.entry = entry
        self.stored: Stored | None = None
        self.head: ResponseHead | None = None
        self.length: int | None = None  # of the body; filters of the first client change the head
        self.last = END
        self.refusal: Refusal | None = None
        self.failure: ResponseHead | None = None
        self.claim: Claim | None = None
        self.reason = "stale"
        self._request = original.request
        self._sent_at = cache.wall()
        self.began: float = cache.jobs.reactor.seconds()
        self._worth = cache.worth(key)
        self._body = body
        super().__init__(self._traffic(original), FetchBody(cache))

    def _traffic(self, original: HTTPTraffic) -> HTTPTraffic:
        validated = None if self.entry is None else self.entry.stored
        head = own_request(self._request, self.cache.policy, len(self._body), validated)
        return traffic_like(original, head)

    def start(self, source: Source) -> None:
        """Send the request to ``source``, which may answer before this returns."""
        try:
            stream = source.begin(self.traffic.request, self._body, END, self)
        except BaseException as error:  # as in an exchange: no client may wait forever
            self.fail(begin_failed(source, error))
            return
        if self.state is _OVER:
            stream.close(reuse=False)
        else:
            self._stream = stream
            self._balance()

    @property
    def ranged(self) -> bool:
        """True if the request is for a part."""
        return False

    @property
    def personal(self) -> bool:
        """True if the request has cookies or credentials that may affect the response."""
        return self.asked.personal

    # -- from the source ------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        ended = False
        for event in events:
            if self._is_over():
                return
            if type(event) is bytes:
                self._add(event)
            elif type(event) is End:
                self.last = event
                ended = self._end()
            else:
                head: ResponseHead = event
                if head.status < 200:
                    self._interim(head)
                else:
                    self._answer(head)
        self._deliver()
        if ended and self.readers:
            self.received.settle()
            self._hold_chunks()
        elif self.state is _PASSING and not self.readers:
            self.stop(Kind.CLIENT_GONE)  # no client reads a response that is not stored

    def _interim(self, head: ResponseHead) -> None:
        for reader in list(self.readers):
            reader.interim(
                ResponseHead(head.status, head.pairs(), head.reason, nominated=head.nominated)
            )

    def _answer(self, head: ResponseHead) -> None:
        """Decide by the final head how the response is handled."""
        entry, times = self.entry, (self._sent_at, self.cache.wall())
        if entry is not None and head.status == 304:
            self._not_modified(entry, head, times)
            return
        if head.status in FAILURES and self._serve_stale(f"status {head.status}"):
            return
        self.head = head
        self.length = head.length
        found = stored_or_refused(self, self._request, head, times, self._worth)
        if isinstance(found, Stored):
            self.stored = found
            self.state = _KEEPING
            return
        self.refusal = found
        if supersedes(self, head.status):
            remove_older(self, self._request, self._sent_at)
        self.failure = error_for_all(self, self._request, head, times[1])
        self.state = _PASSING
        self.cache.fetch_passes(self, found)

    def _not_modified(self, entry: Entry, head: ResponseHead, times: tuple[float, float]) -> None:
        """Handle a 304: the stored response is still valid."""
        policy = self.cache.policy
        if not self.cache.store.memory_only:
            self.cache.store.sync()  # others may have stored a later one, or purged it
        if not is_same(entry.stored, head):
            self._over()
            self.cache.store.remove(entry)
            self._ended()
            for reader in self._leave():
                reader.anew()
            return
        fresh = updated(entry.stored, self._request, self.asked, head, policy, times)
        shown = fresh or answered(entry.stored, head, times)
        if fresh is not None and not self.outdated:
            entry = self.cache.fetch_confirmed(self, entry, fresh) or entry
        elif fresh is None and not self.asked.control.no_store:
            self.cache.store.remove(entry)
        self.entry = entry
        self._over()
        self._ended()
        for reader in self._leave():
            reader.revalidated(entry, shown, head.status, fresh is not None)

    def _serve_stale(self, why: str) -> bool:
        """Serve the stored response because the server failed, if that is allowed."""
        entry = self.entry
        if entry is None or self.outdated:
            return False
        rule = usable_on_error(entry.stored, self.asked, self.cache.policy, self.cache.wall())
        if rule is None:
            return False
        self._over().close(reuse=False)
        self._ended()
        for reader in self._leave():
            reader.stale(entry, f"{why}, {rule}")
        return True

    def _add(self, data: bytes) -> None:
        self.received.add(data)
        if self.state is _KEEPING:
            refusal = self.received.keep(data, self)
            if refusal is not None:
                self._pass(refusal)

    def _pass(self, why: Refusal) -> None:
        """Continue without storing the response; the present readers get all of it."""
        if self.state is _OVER:
            return  # a client cut off for its memory was also the last reader of this fetch
        self._refuse(why)
        self.state = _PASSING
        self.cache.fetch_passes(self, why)
        self._hold_chunks()

    def _refuse(self, why: Refusal) -> None:
        """Do not store the response, and no longer what it should have replaced (RFC 9111 §4)."""
        stored, self.stored, self.refusal = self.stored, None, why
        if stored is not None and not self.outdated:
            remove_replaced(self, stored, self._request, self._sent_at)

    # -- the file of a large body ---------------------------------------------------------------

    def spool_begins(self) -> None:
        """See :class:`~lbproxy.proxy.features.caching.fetchstate.Spooling`: others do not wait."""
        self.cache.fetch_is_large(self)

    def spool_wrote(self) -> None:
        """See Spooling."""
        self._balance()

    def spool_failed(self) -> None:
        """See Spooling: continue without storing the response."""
        if self.state is not _KEEPING:
            return
        self._refuse(DISK)
        if self.complete:
            self._recorded()
        else:
            self.state = _PASSING
            self.cache.fetch_over(self)  # no further request joins it
            self._hold_chunks()
            self._balance()

    def spool_damaged(self, error: Exception) -> None:
        """Continue without storing the response, because its file was changed by others."""
        self.received.report(error)
        self.spool_failed()

    def _spooled(self, digest: bytes) -> None:
        """Record the response, whose body is complete and in its file."""
        assert self.received.spool is not None
        if self._may_be_stored(self.state):
            remove_older(self, self._request, self._sent_at)
            self.cache.fetch_spooled(self, self.received.spool, digest, self._recorded)
        else:
            self.cache.store.discard_spooled(self.received.spool)
            self._recorded()

    def _recorded(self) -> None:
        """Finish after the response was stored, or could not be stored."""
        self.state = _OVER
        self._ended()
        if not self.readers:
            self.received.free()

    def _end(self) -> bool:
        """Finish a complete body; return whether it must be held for readers that are behind."""
        self.complete = True
        if self.received.spool is not None and self.state is _KEEPING and not self.outdated:
            self.over = True
            self.received.spool.finish(self._spooled)  # until then clients may join
            return False
        state, self.state = self.state, _OVER
        self._stream = STARTING
        self.over = True
        self._end_patience()
        if self._may_be_stored(state):
            remove_older(self, self._request, self._sent_at)
            self._store()
        self._ended()
        if not self.readers:
            self.received.free()
        return True

    def _may_be_stored(self, state: FetchState) -> bool:
        """Return whether a complete response is stored. The purges of other processes until now
        are learned first: nothing else may have asked for them since the fetch began.
        """
        if state is not _KEEPING or self.stored is None:
            return False
        store = self.cache.store
        if not store.memory_only:
            store.sync()
        return not self.outdated

    def _store(self) -> None:
        """Store the body, which is in memory."""
        received = self.received
        kept = received.release()
        entry = self.cache.fetch_stored(self, received.whole())
        received.stored_in(entry, kept)

    # -- the end --------------------------------------------------------------------------------

    def _ended(self) -> None:
        self.cache.fetch_over(self)

    @property
    def _wanted(self) -> bool:
        return bool(self.cache.users)

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if self.state is _OVER:
            return
        if self.state is _ASKING and self._serve_stale(str(error.kind.value)):
            return
        self._over()
        self._ended()
        for reader in self._leave():
            reader.failed(error)

    def hook_replied(self, reply: Reply) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`.

        All waiting clients get the reply, unless its body is generated, it sets a cookie, or it
        answers the cookies or credentials of one client: only the first client gets such a reply,
        and the others send their requests to a server.
        """
        self._over()
        self._ended()
        cookie = any(name.lower() == b"set-cookie" for name, _ in reply.headers)
        shared = isinstance(reply.body, bytes) and not cookie and not self.personal
        served = False
        for reader in self._leave():
            if shared or not served:
                reader.replied(reply)
                served = True
            else:
                reader.again()

    def fail(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        if self.state is _OVER:
            return
        if self.state is _ASKING and self._serve_stale(str(error.kind.value)):
            return
        self._over()
        self._ended()
        for reader in self._leave():
            reader.refused(error)
