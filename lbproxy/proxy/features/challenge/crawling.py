"""DATA. Verifies crawlers by DNS: the names of an address, then the addresses of those names.

1. A verdict is kept for a day if DNS confirms the crawler, for an hour if it does not, and for a
   minute if DNS failed.
2. At most :data:`KEPT` verdicts of each kind are kept, so that a flood of addresses that only claim
   to be crawlers does not displace the real ones. At most :data:`AT_ONCE` look-ups run at a time;
   further crawlers are not verified now.
3. A look-up may take :data:`DEADLINE_S` seconds. The requests of its address wait for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.challenge.crawlers import Crawler
from lbproxy.guard.addresses import address_number
from lbproxy.net.timers import TimerWheel

__all__ = ["AT_ONCE", "DEADLINE_S", "KEPT", "CrawlerNames", "Crawlers"]

KEPT: Final = 10_000
AT_ONCE: Final = 20
DEADLINE_S: Final = 3.0

_GOOD_S: Final = 86_400.0
_BAD_S: Final = 3600.0
_FAILED_S: Final = 60.0
_WAITING: Final = 100  # maximum number of requests that wait for one address
_NAMES: Final = 4  # maximum number of names of an address

Key = tuple[str, str]


class CrawlerNames(Protocol):
    """Does DNS look-ups; see :mod:`lbproxy.proxy.features.challenge.dns`."""

    def names_of(self, ip: str) -> Deferred[list[str]]:
        """Return the names of an address."""

    def addresses_of(self, name: str) -> Deferred[list[str]]:
        """Return the addresses of a name."""


class Crawlers:
    """The verdicts of one process."""

    def __init__(self, names: Callable[[], CrawlerNames], wheel: TimerWheel) -> None:
        self._make_names = names
        self._names: CrawlerNames | None = None
        self._wheel = wheel
        self._good: OrderedDict[Key, float] = OrderedDict()  # expiry of each verdict
        self._bad: OrderedDict[Key, float] = OrderedDict()
        self._waiting: dict[Key, list[Deferred[bool]]] = {}

    def judge(self, crawler: Crawler, ip: str) -> bool | Deferred[bool]:
        """Return whether ``ip`` belongs to ``crawler``: at once if the verdict is known, or if no
        look-up is possible now.
        """
        key = (crawler.name, ip)
        found = self._verdict(key)
        if found is not None:
            return found
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= AT_ONCE:
                return False
            waiting = self._waiting[key] = []
            self._ask(crawler, ip, key)
            found = self._verdict(key)
            if key not in self._waiting and found is not None:
                return found
        if len(waiting) >= _WAITING:
            return False
        done: Deferred[bool] = Deferred()
        waiting.append(done)
        return done

    def _verdict(self, key: Key) -> bool | None:
        """Return the verdict on an address, None if there is none or it has expired."""
        now = self._wheel.now()
        if self._good.get(key, now) > now:
            return True
        return False if self._bad.get(key, now) > now else None

    def _ask(self, crawler: Crawler, ip: str, key: Key) -> None:
        asked = Deferred.fromCoroutine(self._look_up(crawler, ip))
        timer = self._wheel.timer(asked.cancel)
        timer.set(DEADLINE_S)

        def over(result: bool | Failure) -> None:
            timer.close()
            if isinstance(result, Failure):
                self._decided(key, False, _FAILED_S)
            else:
                self._decided(key, result, _GOOD_S if result else _BAD_S)

        asked.addBoth(over)

    async def _look_up(self, crawler: Crawler, ip: str) -> bool:
        names = self._names
        if names is None:
            names = self._names = self._make_names()
        wanted = address_number(ip)
        for name in (await names.names_of(ip))[:_NAMES]:
            if crawler.owns(name):
                addresses = await names.addresses_of(name)
                if any(address_number(one) == wanted for one in addresses):
                    return True
        return False

    def _decided(self, key: Key, good: bool, seconds: float) -> None:
        self._good.pop(key, None)
        self._bad.pop(key, None)
        known = self._good if good else self._bad
        known[key] = self._wheel.now() + seconds
        if len(known) > KEPT:
            known.popitem(last=False)
        for done in self._waiting.pop(key, ()):
            if not done.called:  # the request may have ended
                done.callback(good)
