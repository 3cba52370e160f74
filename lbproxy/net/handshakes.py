"""DATA. A limit of concurrent TLS handshakes of clients, and the eviction of slow ones.

A handshake that waits for its client holds about 50 KB in OpenSSL. :class:`Handshakes` therefore
assigns it a place first. The rules:

1. At most ``most`` handshakes hold a place, from the first bytes of the client to the decision.
2. While all places are taken, newcomers wait in the order of their arrival. Their bytes stay in the
   kernel, and their deadline continues.
3. A handshake whose client has not completed it within GRACE_S of our first step makes room for
   the first newcomer. Among the SAMPLE oldest, one whose ClientHello is incomplete goes first.
4. A handshake that waits for lbproxy, and not for its client, never makes room.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import islice
from typing import Final

from lbproxy.compiled import native
from lbproxy.net.handler import Handler
from lbproxy.net.timers import Timer, TimerWheel

__all__ = ["GRACE_S", "Handshakes", "PlacedHandshake"]

GRACE_S: Final = 1.0
"""Seconds for a round trip of a slow network, or the first retransmission on a fast one (RFC 6298
§2.1).
"""

SAMPLE: Final = 16
_RETRY_S: Final = 0.1  # interval at which the queue checks for handshakes that may be evicted


@native(allow_interpreted_subclasses=True)
class PlacedHandshake(Handler):
    """The interface of a handshake to :class:`Handshakes`.

    ``began``: time of our first step; infinite before it. ``works``: the client has sent data that
    lbproxy has not processed yet. ``queued``: the handshake had to wait for its place.
    """

    __slots__ = ("began", "queued", "works")

    def __init__(self) -> None:
        self.began = math.inf
        self.works = False
        self.queued = False

    def place_free(self) -> None:
        """Start the handshake, which holds a place from now on."""
        raise NotImplementedError

    def give_way(self) -> None:
        """Close the connection and give up the place."""
        raise NotImplementedError

    def answered(self) -> bool:
        """Return whether the ClientHello is complete, so that the client has received our
        answer.
        """
        raise NotImplementedError


class Handshakes:
    """The places of TLS handshakes; see the module.

    ``most``: number of places, 0: no limit; may change at any time. ``active``: places taken.
    ``waiting``: handshakes that wait for a place. ``evicted``: handshakes that were closed to make
    room since the start.
    """

    __slots__ = (
        "_places",
        "_queue",
        "_serving",
        "_timer",
        "_wheel",
        "active",
        "evicted",
        "most",
        "waiting",
    )

    def __init__(self, wheel: TimerWheel) -> None:
        self.most = 0
        self.active = 0
        self.waiting = 0
        self.evicted = 0
        self._wheel = wheel
        self._timer: Timer = wheel.timer(self._serve)
        self._places: OrderedDict[PlacedHandshake, None] = OrderedDict()
        self._queue: OrderedDict[PlacedHandshake, None] = OrderedDict()
        self._serving = False

    def take(self, one: PlacedHandshake) -> None:
        """Give ``one`` a place. Calls ``one.place_free()`` now or later, unless it leaves."""
        if not self._queue and self._has_room():
            self._admit(one)
            return
        one.queued = True
        self._queue[one] = None
        self.waiting += 1
        self._serve()

    def leave(self, one: PlacedHandshake) -> None:
        """Free the place of ``one``, or remove it from the queue. Does nothing if it has
        neither.
        """
        if one in self._places:
            del self._places[one]
            self.active -= 1
            if self._queue:
                self._serve()
        elif one in self._queue:
            del self._queue[one]
            self.waiting -= 1

    def held_up(self, one: PlacedHandshake) -> bool:
        """Return whether ``one`` is late because of others: it had to wait for its place, and has
        had less than GRACE_S since.
        """
        return one.queued and self._wheel.now() - one.began < GRACE_S

    def stepped(self, one: PlacedHandshake) -> None:
        """Note that ``one`` has answered its client and waits for more data."""
        one.works = False
        if one.began == math.inf:
            one.began = self._wheel.now()

    def _has_room(self) -> bool:
        return self.most == 0 or self.active < self.most

    def _admit(self, one: PlacedHandshake) -> None:
        self._places[one] = None
        self.active += 1
        one.place_free()

    def _serve(self) -> None:
        """Start waiting handshakes while places are free or an older handshake can be evicted."""
        if self._serving:  # an evicted handshake leaves
            return
        self._serving = True
        try:
            while self._queue and (self._has_room() or self._make_room()):
                one, _ = self._queue.popitem(last=False)
                self.waiting -= 1
                self._admit(one)
        finally:
            self._serving = False
            if self._queue:
                self._timer.set(_RETRY_S)
            else:
                self._timer.clear()

    def _make_room(self) -> bool:
        """Evict the handshake that has had its time and made the least progress. Return False if
        none qualifies.
        """
        limit = self._wheel.now() - GRACE_S
        chosen: PlacedHandshake | None = None
        for one in islice(self._places, SAMPLE):
            if one.works or one.began > limit:
                continue
            if not one.answered():
                chosen = one
                break
            if chosen is None:
                chosen = one
        if chosen is None:
            return False
        self.evicted += 1
        chosen.give_way()
        return True
