"""DATA. The Redis tier of a cache: responses that any node has stored, and purges of all nodes.

Each process polls Redis every :data:`POLL` seconds for new purges, and stops using its memory
:data:`LEASE` seconds after the last poll. A purge is recorded in Redis, and returns :data:`LEASE`
seconds later. By then each process has either applied it or stopped using its memory. The purge is
therefore in effect at all nodes when it returns, even if nodes have failed.

Keys contain the identity of the Redis process. After a restart or a failover, which may lose
purges, the cache is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.cache.codec import DamagedError, StoredRecord
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest
from lbproxy.cache.memory import Entry
from lbproxy.cache.parts import is_part
from lbproxy.cache.purge import Purge
from lbproxy.cache.purgenames import names_in, prefix_of
from lbproxy.cache.sharedvalue import dump_shared, load_shared, shared_field
from lbproxy.cache.stored import Stored
from lbproxy.net.redis import RedisClient, RedisDown, RedisRefused
from lbproxy.proxy.features.caching.counters import CacheCounters
from lbproxy.proxy.features.caching.disk.entries import Purged, dump_entry, load_entry
from lbproxy.proxy.features.caching.nodes.scripts import DROP, GET, PURGE, PUT, SYNC
from lbproxy.proxy.ratelog import Quiet

__all__ = [
    "LARGEST",
    "LEASE",
    "MOST_PARTS",
    "MOST_VARIANTS",
    "POLL",
    "NodesTier",
    "RedisWay",
    "TierOwner",
]

POLL: Final = 0.1
"""Seconds between polls for purges."""

LEASE: Final = 1.0
"""Number of seconds for which a process uses its memory after a poll."""

MARGIN: Final = 0.05
"""Additional seconds that a purge waits after the leases, because clock rates differ."""

LARGEST: Final = 256 * 1024
"""Size in bytes of the largest body in Redis; a larger one would delay subsequent commands."""

MOST_VARIANTS: Final = 8
"""Maximum number of whole responses of one key in Redis, selected by Vary."""

MOST_PARTS: Final = 8
"""Maximum number of parts of the responses of one key in Redis."""

MOST_WRITING: Final = 8 * 1024 * 1024
"""Maximum number of bytes in transit to Redis; beyond it, responses are kept only in memory."""

MOST_PENDING: Final = 1_000
"""Maximum number of purges that wait for Redis; beyond it, everything is purged on reconnection."""

REST: Final = 1.0
"""Seconds without look-ups after a failed one, so that requests do not wait in vain."""

_SKEW: Final = 1.0
_PARTS: Final = ("state", "names", "prefixes", "log", "recent", "bits")
_quiet = Quiet(Logger(__name__))


class TierOwner(Protocol):
    """The store above: :class:`lbproxy.proxy.features.caching.nodes.store.NodesStore`."""

    def purge_here(self, wanted: Purge, soft: bool) -> None:
        """Apply a purge of any node, including this one."""

    def forget(self) -> None:
        """Discard the contents of memory, because purges may have been missed."""


@frozen
class RedisWay:
    """The way to Redis. ``base``: prefix of all keys of a cache. ``client``: a connection used only
    by the cache.
    """

    client: RedisClient
    base: str


class NodesTier:
    """See the module.

    ``reach``: the way to Redis. ``timeout``: seconds that a request waits for a look-up. ``wall``:
    seconds since the epoch. ``secret``: key of the MACs, empty for none. ``failures``: those of
    this process, which are part of the total.
    """

    def __init__(
        self,
        owner: TierOwner,
        reach: RedisWay,
        reactor: Any,
        wall: Callable[[], float],
        counts: CacheCounters,
    ) -> None:
        self.timeout = 0.0
        self.secret = b""
        self.failures = 0
        self._client = reach.client
        self._counts = counts
        self._owner = owner
        self._reactor = reactor
        self._wall = wall
        self._base = reach.base
        self._run = ""  # identity of the Redis process
        self._epoch = b""
        self._seen = 0
        self._until = -1.0  # end of the lease
        self._writing = 0
        self._pending: list[tuple[Purge, bool]] = []
        self._loading: dict[Key, list[Callable[[list[Entry]], None]]] = {}
        self._rest_until = 0.0
        self._task: Deferred[None] | None = None

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect and follow purges. A second call has no effect."""
        if self._task is None:
            self._client.watchers.append(self._turned)
            self._client.start()
            self._task = ensureDeferred(self._follow())
            self._task.addErrback(self._ended)

    def stop(self) -> None:
        """Disconnect."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._until = -1.0
            self._client.watchers.remove(self._turned)
            self._client.stop()
            self._run = ""

    def _turned(self, up: bool) -> None:
        self._run = ""  # the next connection may reach another Redis
        what = "is reached" if up else f"cannot be reached: {self._client.error}"
        _quiet.warn("turn", "the shared store of a cache {what}", what=what)

    @property
    def valid(self) -> bool:
        """True if this process knows all purges that have returned."""
        return bool(self._reactor.seconds() < self._until)

    def covers(self, began: float) -> bool:
        """Return whether a fetch begun at ``began`` is later than each purge that has returned.

        Those purges were recorded more than :data:`LEASE` seconds ago.
        """
        return bool(0 <= self._reactor.seconds() - began <= LEASE)

    @staticmethod
    def _ended(failure: Failure) -> None:
        if not failure.check(CancelledError):
            _quiet.failure("follow", "the shared cache does not follow purges any more", failure)

    async def _follow(self) -> None:
        while True:
            try:
                if self._client.up:
                    await self._sync()
            except (RedisDown, RedisRefused) as error:
                self._failed("purges", error)
            except CancelledError:
                raise
            except Exception:  # invalid data in Redis may be correct the next time
                self._failed("purges", RedisRefused("a strange reply"), Failure())
            await deferLater(self._reactor, POLL)

    async def _sync(self) -> None:
        """Apply the purges since the last poll, and renew the lease."""
        if not self._run:
            self._run = _run_of(await self._client.call("INFO", "server"))
        while self._pending:
            first = self._pending.pop(0)  # later ones still apply, whatever this one names
            try:
                await self._record(*first)
            except BaseException:
                self._pending.insert(0, first)
                raise
        asked = self._reactor.seconds()
        word = token_hex(8)
        found = await self._client.run(SYNC, self._keys(), (self._epoch, self._seen, word))
        epoch, number, lost, *purges = found
        if lost:
            self._owner.forget()
        for one in purges:
            # purges of this process, too: a look-up may have been running during the purge
            purged = _purged(one)
            if purged is None:
                self._failed("purges", DamagedError("one of another version"))
                self._owner.forget()
                continue
            self._owner.purge_here(purged.purge, purged.soft)
        self._epoch, self._seen = epoch, number
        self._until = asked + LEASE

    def _keys(self, key: Key | None = None) -> list[str]:
        base = f"{self._base}:{self._run}"
        found = [f"{base}:{part}" for part in _PARTS]
        return found if key is None else [*found, f"{base}:o:{key_digest(key).hex()}"]

    def _failed(self, what: str, error: BaseException, why: Failure | None = None) -> None:
        self._counts.shared_failures += 1
        self.failures += 1
        text = "the shared cache fails ({what}): {error}"
        if why is None:
            _quiet.warn(what, text, what=what, error=error)
        else:
            _quiet.failure(what, text, why, what=what, error=error)

    # -- responses ------------------------------------------------------------------------------

    @property
    def answers(self) -> bool:
        """True if a look-up is likely to succeed."""
        return bool(self._run) and bool(self._reactor.seconds() >= self._rest_until)

    def load(self, key: Key, done: Callable[[list[Entry]], None]) -> None:
        """Call ``done`` with the responses of ``key`` that other processes have stored.

        Concurrent requests for a key share one look-up. After ``timeout`` the result is empty.
        """
        waiting = self._loading.get(key)
        if waiting is not None:
            waiting.append(done)
            return
        self._loading[key] = [done]
        asked = self._client.run(GET, self._keys(key), ())
        asked.addTimeout(self.timeout, self._reactor)
        asked.addCallback(self._found, key)
        asked.addErrback(self._not_found)
        asked.addCallback(self._loaded, key)

    def _found(self, found: list[Any], key: Key) -> list[Entry]:
        entries = []
        for selected, soft, value in zip(found[::3], found[1::3], found[2::3], strict=True):
            try:
                record = load_shared(value, key, selected, self.secret)
            except DamagedError as error:
                self._failed("a response", error)
                continue
            entries.append(_entry(record, bool(soft)))
        if entries:
            self._counts.shared_hits += 1
        else:
            self._counts.shared_misses += 1
        return entries

    def _not_found(self, failure: Failure) -> list[Entry]:
        self._rest_until = self._reactor.seconds() + REST
        self._failed("look-up", failure.value or Exception())
        return []

    def _loaded(self, entries: list[Entry], key: Key) -> None:
        for done in self._loading.pop(key):
            done(entries)

    def store(self, key: Key, stored: Stored, body: bytes, seconds: float) -> None:
        """Store a response for all nodes, for ``seconds``. If that is not possible, remove the one
        that it should have replaced.
        """
        size = len(body)
        if not (self.valid and self._run) or size > LARGEST or self._writing + size > MOST_WRITING:
            self.drop(key, stored)
            return
        known = self._epoch, self._seen
        value = dump_shared(key, stored, body, known, self.secret)
        most = MOST_PARTS if is_part(stored) else MOST_VARIANTS
        words = (
            self._epoch, shared_field(stored), value, f"{stored.asked:.6f}",
            f"{self._wall() + _SKEW:.6f}", max(1, int(seconds * 1000)), most,
        )  # fmt: skip
        self._writing += size

        def answered(result: Any) -> None:
            self._writing -= size
            if isinstance(result, Failure):
                self._failed("storing", result.value or Exception())
            else:
                self._counts.shared_stored += bool(result)
            if not result or (isinstance(result, Failure) and result.check(RedisRefused)):
                self.drop(key, stored)

        self._client.run(PUT, self._keys(key), words).addBoth(answered)

    def drop(self, key: Key, stored: Stored) -> None:
        """Remove a response that this node knows to be outdated, unless another node has stored the
        response to a later request since.
        """
        if self._run:
            times = f"{stored.asked:.6f}", f"{self._wall() + _SKEW:.6f}"
            words = (shared_field(stored), *times)
            self._client.run(DROP, self._keys(key), words).addErrback(self._not_dropped)

    def _not_dropped(self, failure: Failure) -> None:
        self._failed("removing", failure.value or Exception())

    # -- purges ---------------------------------------------------------------------------------

    def purge(self, wanted: Purge, soft: bool) -> Deferred[None]:
        """Purge at all nodes; fires when the purge is in effect.

        Fails with OSError if Redis does not confirm that the purge is recorded. The purge is then
        recorded when Redis can be reached again.
        """
        return ensureDeferred(self._purge(wanted, soft))

    async def _purge(self, wanted: Purge, soft: bool) -> None:
        try:
            if not self._run:
                raise RedisDown(self._client.error or "not connected yet")
            await self._record(wanted, soft)
        except (RedisDown, RedisRefused) as error:
            self._remember(wanted, soft)
            self._failed("a purge", error)
            raise OSError(f"the shared store does not answer: {error}") from None
        await deferLater(self._reactor, LEASE + MARGIN)

    async def _record(self, wanted: Purge, soft: bool) -> None:
        everything = wanted.kind == "all" and not soft
        mark = b"1" if soft else b"0"
        prefix = prefix_of(wanted)
        record = dump_entry(Purged(wanted, soft))
        words: tuple[str | bytes | int, ...] = (
            token_hex(8), record, int(everything), b"" if prefix is None else mark + prefix,
            *(mark + name for name in names_in(wanted)),
        )  # fmt: skip
        await self._client.run(PURGE, self._keys(), words)

    def _remember(self, wanted: Purge, soft: bool) -> None:
        if len(self._pending) >= MOST_PENDING:
            self._pending = [(Purge("all"), False)]
        elif self._pending != [(Purge("all"), False)] and (wanted, soft) not in self._pending:
            self._pending.append((wanted, soft))


def _entry(record: StoredRecord, soft: bool) -> Entry:
    assert record.body is not None
    stored = record.stored.softly_purged() if soft else record.stored
    return Entry(record.key, stored, record.body)


def _purged(data: bytes) -> Purged | None:
    """Return a purge from the log, None if this version does not know its format."""
    try:
        found = load_entry(data)
    except Exception:
        return None
    return found if isinstance(found, Purged) else None


def _run_of(info: bytes) -> str:
    """Return the identity of the Redis process."""
    for line in info.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name == "run_id" and value:
            return value
    raise RedisRefused("INFO has no run_id")
