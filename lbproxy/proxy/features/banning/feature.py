"""DATA. ``bans`` of a frontend: refusal of banned clients, and counting of offences.

A ban with ``close`` or ``drop`` is checked when a connection is accepted, before TLS. A ban with
``reject`` or ``tarpit``, and a client behind ``trusted_proxies``, is checked when a request starts:
the client gets the refusal as a response, and a connection of a proxy stays open.

Addresses in ``trusted_proxies`` and ``accept_proxy`` are neither counted nor banned.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import asdict, define
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger

from lbproxy.bans.ledger import Ban, ban_key, ban_text
from lbproxy.config.errors import no_section
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.addresses import AddressSet
from lbproxy.http.filter import Phases
from lbproxy.lists.access import Members
from lbproxy.net.silence import DroppedConnection, Silence, may_repair
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.features.banning.book import BanBook
from lbproxy.proxy.features.banning.growth import new_bans
from lbproxy.proxy.features.banning.spec import BanDeclaration, BanSpec
from lbproxy.proxy.features.conduct import is_error, is_glitch, is_handshake
from lbproxy.proxy.features.holding import HELD, hold
from lbproxy.proxy.features.limiting.spec import LimitSpec
from lbproxy.proxy.ratelog import Quiet

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend
    from lbproxy.proxy.together import Growth

__all__ = ["Banning"]

_quiet: Final = Quiet(Logger())
_AT_ACCEPT: Final = ("close", "drop")
_GATHER: Final = 0.25  # seconds between two passes over all clients
_GRACE: Final = 1.0  # seconds in which a response to a client that is being banned may end


@define(eq=False)
class BanCounters:
    """The effects of the bans of a frontend."""

    bans: int = counted("Bans of client addresses.")
    ban_refused: int = counted("Requests and connections refused because of a ban.")


class Banning(BanDeclaration, Feature["Frontend"]):
    """The bans of a frontend; see the module. It is the ``ban_judge`` of its frontend."""

    name = "bans"
    keys = ("bans",)
    Counters = BanCounters

    def __init__(self, spec: Any, specs: dict[str, BanSpec], given: Given) -> None:
        self.spec = spec
        self._specs = specs
        self._wheel = given.network.wheel
        self.books = {name: BanBook.kept(one, given) for name, one in specs.items()}
        proxies = [*spec.trusted_proxies, *(n for one in spec.listen for n in one.accept_proxy)]
        self._proxies = AddressSet(proxies)
        self._members: dict[str, Members] = {}
        counting = [self.books[name] for name in spec.bans if specs[name].after is not None]
        on = {book: set(specs[book.spec.name].on) for book in counting}
        self._handshakes = [one for one in counting if on[one] & {"glitches", "handshakes"}]
        self._conduct = [one for one in counting if on[one] & {"4xx", "errors", "glitches"}]
        self._elsewhere: dict[str, Any] = {}
        self._attached = False
        self._held = 0
        self._leaving: set[int] = set()  # banned clients whose connections have not ended yet
        self._passed = float("-inf")
        self._owner: Frontend | None = None

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.  ValueError for a ban that does not exist or does not fit."""
        every = {one.name: one for one in given.config.of(BanSpec)}
        for name in spec.bans:
            if name not in every:
                raise no_section("ban", name, every)
            if spec.mode == "tcp":
                _fits_tcp(every[name])
        names = {*spec.bans, *_limit_bans(spec, given)}
        if not names:
            return None
        specs = {name: every[name] for name in sorted(names)}
        if old is not None and old.spec == spec and old._specs == specs:
            return old
        return cls(spec, specs, given)

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`."""
        phases = phases.before(early=self.early)
        return phases.after(finish=self.finish) if self._conduct else phases

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        owner.ban_judge = self
        if self._handshakes:
            owner.turned_away += (self.turned_away,)
        self._members = {
            name: Members(one.except_, owner.lists) for name, one in self._specs.items()
        }
        if self._attached:
            return
        self._attached = True
        for name, book in self.books.items():
            if book.spec != self._specs[name]:
                book.apply(self._specs[name])
            book.acquire()
            book.watchers.append(self._banned)

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self.attach(owner)

    def detach(self) -> None:
        """See :class:`Feature`."""
        if self._owner is not None:
            self._owner.ban_judge = None

    def close(self) -> None:
        """See :class:`Feature`."""
        if not self._attached:
            return
        self._attached = False
        for book in self.books.values():
            book.watchers.remove(self._banned)
            book.release()

    # -- who is turned away ---------------------------------------------------------------------

    def is_exempt(self, ip: str, book: BanBook) -> bool:
        """Return whether ``ip`` is neither counted nor banned."""
        return ip in self._proxies or ip in self._members.get(book.spec.name, ())

    def _find(self, ip: str) -> tuple[BanBook, Ban] | None:
        """Return the ban of this frontend that applies to ``ip``."""
        for book in self.books.values():
            found = book.find(ip)
            if found is not None and not self.is_exempt(ip, book):
                return book, found
        return None

    def admit(self, info: Any) -> ProxyError | None:
        """Return why a connection is refused, or None."""
        found = self._find(info.client_ip)
        if found is None or found[0].spec.action.kind not in _AT_ACCEPT:
            return None
        return self._refused(*found)

    def growths(self) -> Sequence[Growth]:
        """See :class:`Feature`."""
        total = self.counters.bans
        return (new_bans(self._owner.name, total),) if total and self._owner is not None else ()

    def closing_protocol(self, ip: str, announced: bool) -> IProtocol | None:
        """See :class:`lbproxy.proxy.roles.BanJudge`."""
        found = None if announced else self._find(ip)
        if found is None or found[0].spec.action.kind != "drop":
            return None
        return DroppedConnection()

    def early(self, traffic: Any) -> Any:
        """Refuse a request or a session of a banned client."""
        found = self._find(traffic.client_ip)
        if found is None:
            return None
        error = self._refused(*found)
        if traffic.request is not None:
            error.reference = str(traffic.request_id)
        action = found[0].spec.action
        if action.kind != "tarpit" or self._held >= HELD:
            raise error
        self._held += 1
        return hold(self._wheel, action.seconds, self._let_go, error)

    def _let_go(self) -> None:
        self._held -= 1

    def _refused(self, book: BanBook, ban: Ban) -> ProxyError:
        ban.refused += 1
        book.tally.refused += 1
        self.counters.ban_refused += 1
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ban.until))
        words = f"ban {book.spec.name} until {until}: {ban.reason}"
        if book.spec.action.kind == "drop":
            words = f"{words} ({drop_words()})"
        return ProxyError(Kind.BANNED, words)

    def _banned(self, bans: Sequence[Ban]) -> None:
        """End the connections of newly banned clients shortly, so that responses can end."""
        owner = self._owner
        if owner is None or not owner.clients:
            return
        keys = {
            ban_key(one.ip)
            for one in bans
            if one.rule in self._specs and self._specs[one.rule].action.kind in _AT_ACCEPT
        }
        if not keys:
            return
        if not self._leaving:
            delay = max(0.0, self._passed + _GATHER - self._wheel.now())
            self._wheel.clock.callLater(delay, self._pass, owner)
        self._leaving |= keys

    def _pass(self, owner: Frontend) -> None:
        """End the connections of all clients banned since the last pass."""
        keys, self._leaving = self._leaving, set()
        self._passed = self._wheel.now()
        self._end(owner, keys, False)
        self._wheel.clock.callLater(_GRACE, self._end, owner, keys, True)

    def _end(self, owner: Frontend, keys: set[int], now: bool) -> None:
        for client in list(owner.clients):
            info = getattr(client, "info", None)
            if info is None or ban_key(info.client_ip) not in keys:
                continue
            found = self._find(info.client_ip)
            if found is None:
                continue
            if now:
                client.kill(ProxyError(Kind.BANNED, f"ban {found[0].spec.name}"))
            else:
                client.shut()

    # -- whose offences count -------------------------------------------------------------------

    def finish(self, traffic: Any) -> None:
        """Count the offences of a request."""
        kind, status = traffic.close, traffic.status
        if kind is Kind.BANNED or (status < 400 and kind is Kind.OK):
            return
        for book in self._conduct:
            on = book.spec.on
            upto = 600 if "errors" in on else 500 if "4xx" in on else 0
            if is_error(traffic, upto):
                reason = f"response {status}"
            elif "glitches" in on and is_glitch(kind, traffic.detail):
                reason = kind.value
            else:
                continue
            self._offence(book, traffic.client_ip, reason, traffic)

    def turned_away(self, info: Any, error: ProxyError) -> None:
        """Count the offence of a connection that ended before its first request."""
        for book in self._handshakes:
            if is_handshake(error.kind):
                self._offence(book, info.client_ip, error.kind.value, None)

    def offence(
        self, name: str, ip: str, reason: str, traffic: Any = None, amount: float = 1.0
    ) -> None:
        """See :class:`lbproxy.proxy.roles.BanJudge`."""
        self._offence(self.books[name], ip, reason, traffic, amount)

    def _offence(
        self, book: BanBook, ip: str, reason: str, traffic: Any, amount: float = 1.0
    ) -> None:
        if self.is_exempt(ip, book):
            return
        count = book.offend(ip, amount)
        if count:
            request = "" if traffic is None else str(traffic.request_id)
            self.ban(book.spec.name, ip, f"{count} offences, the last: {reason}", request)

    def ban(self, name: str, ip: str, reason: str, request: str = "") -> None:
        """Ban a client, unless it is exempt or has no address."""
        book = self.books[name]
        if ban_key(ip) < 0 or self.is_exempt(ip, book) or book.find(ip) is not None:
            return
        made = book.ban(ip, reason, request)
        self.counters.bans += 1
        _quiet.warn(
            f"{self.spec.name} ban {name}",
            "frontend {frontend}: {ip} is banned by {ban} for {seconds} s: {reason}",
            frontend=self.spec.name,
            ban=name,
            ip=ban_text(ip),
            seconds=round(made.until - made.since),
            reason=reason,
        )

    # -- what is shown --------------------------------------------------------------------------

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return {
            name: {**asdict(one.tally), "attempts": one.attempts()}
            for name, one in self.books.items()
        }

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self._elsewhere = total

    def totals(self) -> dict[str, Any]:
        """Return the counters of all processes, by the name of the ban."""
        return {
            name: {
                key: count + self._elsewhere.get(name, {}).get(key, 0)
                for key, count in asdict(book.tally).items()
            }
            for name, book in self.books.items()
        }

    def attempts(self, name: str, ip: str) -> int:
        """Return how often a client was refused by its ban, in all processes."""
        there = self._elsewhere.get(name, {}).get("attempts", {})
        found = self.books[name].ledger.history(ip)
        return (0 if found is None else found.refused) + int(there.get(ip, 0))


def drop_words() -> Silence:
    """Return how dropped connections end in this process."""
    return "tcp_repair" if may_repair() else "reset"


def _limit_bans(spec: Any, given: Given) -> set[str]:
    """Return the bans that the limits of a frontend and of its routes cause."""
    used = {use.name for use in spec.limits}
    used.update(name for route in spec.routes for name in getattr(route, "limits", None) or ())
    every = given.config.of(LimitSpec)
    return {one.action.ban for one in every if one.name in used and one.action.ban}


def _fits_tcp(ban: BanSpec) -> None:
    """Raise ValueError for a ban that counts responses."""
    if ban.after is None:
        return
    for word in ("4xx", "errors"):
        if word in ban.on:
            raise ValueError(f"ban {ban.name}: 'on = {word}' needs mode = http")
