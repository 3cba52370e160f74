"""PURE. ``balance = hash WHAT``: the same key goes to the same server while that server is usable.

A ring holds up to :data:`POINTS` points for each server, by its weight and its *name*, so that
several load balancers, and restarts, agree. A server that is added or removed moves only its own
share of the keys. O(log n).

``bound=1.25`` adds consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): if
a server holds more than 1.25 times its share of the active leases, the key moves on along the ring.
It also moves on from full and avoided servers. After :data:`STEPS` points without success (nearly
all servers are full), a server with room is selected by hash alone, so that the walk is bounded.

``consistent=no`` cuts the hash range into one piece per server, exactly by weight. This is more
even, but a change of servers moves most keys.

Connections without a key (no such header, cookie or SNI name) are spread over the same ring: each
takes the point farthest from the previous ones (a golden-ratio sequence), as evenly as round robin.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Final
from zlib import crc32

from lbproxy.balance.base import Need
from lbproxy.balance.hashoptions import HashOptions
from lbproxy.balance.sampler import Sampled
from lbproxy.balance.server import ServerState
from lbproxy.compiled import native
from lbproxy.errors import Outcome
from lbproxy.http.message import RequestHead, field_name
from lbproxy.interfaces import Env, PickContext

__all__ = ["Hash", "HashOptions", "hash_key"]

POINTS: Final = 128  # of the heaviest server; shares deviate by about 1 / sqrt(POINTS)
STEPS: Final = 256  # at bound=1.1 a walk of this length fails with probability 3e-11

_SPACE: Final = 1 << 64
_MASK: Final = _SPACE - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd
_SLOT: Final = (1 << 20) - 1  # the low bits of a point identify its server


def hash_key(key: bytes) -> int:
    """Return the position of a key on the ring, 0 to 2**64 - 1. It is the same in every process."""
    return crc32(key) * _GOLDEN & _MASK


@native(allow_interpreted_subclasses=True)
class Hash(Sampled):
    """Consistent hashing of one property of the request."""

    # self.free of Sampled is used only when nearly every server is full
    name = "hash"
    Options = HashOptions

    def __init__(self, options: HashOptions, env: Env) -> None:
        super().__init__(options, env)
        self._key = _reader(options.what, options.key)
        self._consistent = options.consistent
        self._bound = options.bound
        self._places: dict[ServerState, tuple[int, int]] = {}  # slot and number of points
        self._slots: dict[int, ServerState] = {}
        self._unused: list[int] = []  # free slots
        self._points: list[int] = []  # sorted; low bits are the slot
        self._owners: list[ServerState] = []  # the servers of the points
        self._turn = 0
        self._active = 0  # active leases of the eligible servers
        self._weight = 0

    @property
    def needs(self) -> frozenset[Need]:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        what = self.options.what
        if what == "source":
            return frozenset({Need.SOURCE})
        return frozenset({Need.SNI if what == "sni" else Need.REQUEST})

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """Update only the points of servers that were added, removed or whose weight changed."""
        super().servers_changed(servers)
        self._active = sum(server.active for server in servers)
        self._weight = sum(server.weight for server in servers)
        if self._consistent:
            self._change_ring(servers)
        else:
            self._cut_range(servers)
        self._owners = [self._slots[point & _SLOT] for point in self._points]

    def pick(self, context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        points = self._points
        if not points:
            return None
        key = self._key(context)
        if key:
            place = crc32(key) * _GOLDEN & _MASK
        else:
            self._turn += 1
            place = self._turn * _GOLDEN & _MASK
        index = bisect_left(points, place)
        server = self._owners[index if index < len(points) else 0]
        if (
            not 0 < server.maxconn <= server.active
            and (not self._bound or self._within(server))
            and (not avoid or server not in avoid)
        ):
            return server
        return self._walk(index + 1, place, avoid)

    def taken(self, server: ServerState) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if server in self._places:
            self._active += 1
        if 0 < server.maxconn <= server.active:
            self.free.drop(server)

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if server in self._places:
            self._active -= 1
        if server.active < server.maxconn:
            self.free.add(server)

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return the order in which this key tries the servers; servers over a limit come last."""
        key = self._key(context)
        place = hash_key(key) if key else (self._turn + 1) * _GOLDEN & _MASK
        source = f"{self.options.what} {self.options.key}".strip()
        why = f"key {key!r}" if key else f"no {source}: spread in turn"
        index = bisect_left(self._points, place)
        order: dict[ServerState, int] = {}
        for point in (*self._points[index:], *self._points[:index]):
            order.setdefault(self._slots[point & _SLOT], len(order))
        result = []
        for server in self.servers:
            score = float(order[server])
            note = f"{why}, choice {order[server] + 1}"
            if server.full or (self._bound and not self._within(server)):
                score += len(order)
                note += ", full" if server.full else ", over its bound"
            result.append((server, score, note))
        return result

    def _within(self, server: ServerState) -> bool:
        """Return whether one more lease is at most ``bound`` times the server's share,
        rounded up.
        """
        most = self._bound * (self._active + 1) * server.weight
        return server.active * self._weight < most

    def _walk(self, index: int, place: int, avoid: Collection[ServerState]) -> ServerState | None:
        points, slots, bound = self._points, self._slots, self._bound
        size = len(points)
        last = None
        for step in range(index, index + min(STEPS, size)):
            server = slots[points[step % size] & _SLOT]
            if server is last:
                continue
            last = server
            if not server.full and server not in avoid and (not bound or self._within(server)):
                return server
        free = self.free
        dropped = [server for server in avoid if free.drop(server)]
        found = free.draw(place / (1 << 65)) if len(free) else None
        for server in dropped:
            free.add(server)
        return found

    def _change_ring(self, servers: Sequence[ServerState]) -> None:
        heaviest = max((server.weight for server in servers), default=1)
        scale = int(2 ** (heaviest - 1).bit_length())  # a power of two, so that it rarely changes
        wanted = {s: max(1, round(POINTS * s.weight / scale)) for s in servers}
        places = self._places
        gone = {slot for server, (slot, count) in places.items() if wanted.get(server, -1) != count}
        if gone:
            self._points = [point for point in self._points if point & _SLOT not in gone]
            for slot in gone:
                del places[self._slots.pop(slot)]
            self._unused.extend(gone)
        grown = False
        for server, count in wanted.items():
            if server not in places:
                slot = self._unused.pop() if self._unused else len(places)
                places[server] = (slot, count)
                self._slots[slot] = server
                self._points.extend(_points(server.name, slot, count))
                grown = True
        if grown:
            self._points.sort()

    def _cut_range(self, servers: Sequence[ServerState]) -> None:
        self._places = {server: (slot, 1) for slot, server in enumerate(servers)}
        self._slots = dict(enumerate(servers))
        ends = accumulate(server.weight for server in servers)
        self._points = [
            ((end * _SPACE // self._weight - 1) & ~_SLOT) | slot for slot, end in enumerate(ends)
        ]


def _points(name: str, slot: int, count: int) -> list[int]:
    """Return the first ``count`` points of a server on the ring, with its slot in the low bits."""
    points: list[int] = []
    block = 0
    while len(points) < count:
        digest = blake2b(f"{block}/{name}".encode()).digest()
        for at in range(0, 64, 8):
            points.append(int.from_bytes(digest[at : at + 8], "big") & ~_SLOT | slot)
        block += 1
    return points[:count]


def _reader(what: str, key: str) -> Callable[[PickContext], bytes | None]:
    """Return a function that reads the key.

    It returns None or an empty value if there is no key.
    """
    if what == "source":
        return lambda context: context.client_ip.encode()
    if what == "sni":
        return lambda context: context.sni.encode()
    read = _request_reader(what, key.encode("latin-1", "replace"))

    def read_request(context: PickContext) -> bytes | None:
        request = context.request
        return None if request is None else read(request)

    return read_request


def _request_reader(what: str, name: bytes) -> Callable[[RequestHead], bytes | None]:
    if what == "uri":
        return lambda request: request.target
    if what == "path":
        return lambda request: request.path
    if what == "header":
        field = field_name(name)
        return lambda request: request.first(field)
    if what == "cookie":
        return lambda request: request.cookie(name)
    return lambda request: request.query_value(name)
