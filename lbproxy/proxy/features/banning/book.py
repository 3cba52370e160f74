"""DATA. The bans of one ``[ban NAME]``, which all frontends and processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from attrs import define

from lbproxy.bans.ledger import Ban, Ledger, ban_key
from lbproxy.bans.record import as_record, from_record
from lbproxy.limits.nodes import NodeCounter
from lbproxy.limits.window import PARTS, SLICES, WindowCounts
from lbproxy.proxy.feature import Given
from lbproxy.proxy.features.banning.spec import BanSpec

__all__ = ["BanBook"]

_CHUNK: Final = 500  # maximum records in a message
_NAMED: Final = 200  # maximum number of clients whose attempts are shown


@define
class BanTally:
    """The counters of this process."""

    offences: int = 0
    bans: int = 0
    refused: int = 0


class BanBook:
    """The bans of one section. The callbacks :attr:`watchers` are called with new bans of any
    process.

    Offences are counted in memory that the worker processes share. Others learn of a ban through
    :class:`~lbproxy.sharing.contracts.Replicated`; the process that decides it applies it at once.
    """

    def __init__(self, spec: BanSpec, given: Given) -> None:
        self.spec = spec
        self.ledger = Ledger()
        self.tally = BanTally()
        self.watchers: list[Callable[[Sequence[Ban]], None]] = []
        self._shared = given.shared
        self._replicated = given.replicated
        self._nodes = given.nodes
        self._counter: NodeCounter | None = None
        self._wheel = given.network.wheel
        self._counts: WindowCounts | None = None
        self._users = 0
        self._end: Callable[[], None] | None = None

    @staticmethod
    def kept(spec: BanSpec, given: Given) -> BanBook:
        """Return the existing book of this section, or a new one."""
        return given.keep("ban", spec.name, lambda: BanBook(spec, given))

    def apply(self, spec: BanSpec) -> None:
        """Apply ``spec``. Present bans are unchanged."""
        if spec.after != self.spec.after:
            self._counts = None
        self.spec = spec

    def acquire(self) -> None:
        """Subscribe to the bans of other processes, for one more user."""
        self._users += 1
        if self._end is None:
            topic = f"bans:{self.spec.name}"
            self._end = self._replicated.subscribe(topic, self._heard, self._whole, kept=True)

    def release(self) -> None:
        """Unsubscribe with the last user."""
        self._users -= 1
        if not self._users and self._end is not None:
            self._end()
            self._end = None

    # -- questions ------------------------------------------------------------------------------

    def find(self, ip: str) -> Ban | None:
        """Return the present ban of ``ip``, or None."""
        ledger = self.ledger
        return ledger.find(ip, self._wheel.wall()) if len(ledger) else None

    def held(self) -> list[Ban]:
        """Return the present bans."""
        return list(self.ledger.held(self._wheel.wall()))

    def offences(self, ip: str) -> float:
        """Return the number of offences of ``ip`` that count now."""
        counts = self._window()
        if counts is None:
            return 0.0
        return counts.count(counts.ident(str(ban_key(ip))), self._wheel.now())

    def attempts(self) -> dict[str, int]:
        """Return how often each banned client was refused here, for the first clients."""
        found = ((one.ip, one.refused) for one in self.held() if one.refused)
        return dict(islice(found, _NAMED))

    # -- changes --------------------------------------------------------------------------------

    def offend(self, ip: str, amount: float = 1.0) -> int:
        """Count an offence of ``ip``. Return the number of offences if it is enough for a ban, else
        0.
        """
        counts, after = self._window(), self.spec.after
        if counts is None or after is None or ban_key(ip) < 0 or self.find(ip) is not None:
            return 0
        self.tally.offences += 1
        now = self._wheel.now()
        key = str(ban_key(ip))
        ident = counts.ident(key)
        counts.add(ident, amount, now)
        if self._nodes is not None and self._counter is not None:
            self._nodes.counts.note(self._counter, key, ident, amount)
        found = counts.count(ident, now)
        if found < after.amount:
            return 0
        self._forget_offences(counts, ip)
        return int(found)

    def ban(self, ip: str, reason: str, request: str = "", seconds: float = 0.0) -> Ban:
        """Ban ``ip`` for ``seconds``, or for a time that depends on its history.

        An existing ban is unchanged unless ``seconds`` is set. Raises ValueError if ``ip`` is not
        an address.
        """
        now = self._wheel.wall()
        self.ledger.sweep(now)
        shortest, longest = self.spec.time
        old = self.ledger.find(ip, now)
        if old is not None and not seconds:
            return old
        if seconds:
            if ban_key(ip) < 0:
                raise ValueError(f"{ip!r} is no IP address")
            made = Ban(ip, now, now + seconds, 1, self.spec.name, reason, request)
            self.ledger.put(made, longest)
        else:
            made = self.ledger.ban(ip, now, shortest, longest, self.spec.name, reason, request)
        self.tally.bans += 1
        self._replicated.publish(f"bans:{self.spec.name}", {"ban": [as_record(made)]})
        return made

    def enter(self, bans: Sequence[Ban]) -> int:
        """Add bans as they are. Return how many of them are in force."""
        now = self._wheel.wall()
        found = [one for one in bans if one.until > now]
        for at in range(0, len(found), _CHUNK):
            records = [as_record(one) for one in found[at : at + _CHUNK]]
            self._replicated.publish(f"bans:{self.spec.name}", {"ban": records})
        return len(found)

    def lift(self, ip: str) -> bool:
        """End the ban of ``ip`` and delete its history. Return False if it had none."""
        there = self.ledger.history(ip) is not None
        counts = self._window()
        if counts is not None:
            self._forget_offences(counts, ip)
        self._replicated.publish(f"bans:{self.spec.name}", {"lift": [ip]})
        return there

    # -- other processes ------------------------------------------------------------------------

    def _heard(self, message: Any) -> None:
        """Apply a message of any process, including this one."""
        now, longest = self._wheel.wall(), self.spec.time[1]
        new: list[Ban] = []
        known = self.ledger
        if message.get("whole"):
            self.ledger = Ledger()
        for record in message.get("ban", ()):
            one = from_record(record)
            if one is None or one.until + longest <= now:
                continue
            old = self.ledger.history(one.ip) or known.history(one.ip)
            # each process counts the attempts that it refuses; the admin API adds them up. Two
            # processes may ban a client at the same moment: its attempts count for both
            same = old is not None and (old.since == one.since or old.until > now)
            one.refused = old.refused if old is not None and same else 0
            self.ledger.put(one, longest)
            if one.until > now:
                new.append(one)
        for ip in message.get("lift", ()):
            self.ledger.lift(ip)
        for call in list(self.watchers) if new else ():
            call(new)

    def _whole(self) -> Iterator[Any]:
        """Yield all bans, for a process that starts or has missed messages, and for the state
        file.
        """
        ledger = self.ledger
        ledger.sweep(self._wheel.wall())
        known = ledger.known()
        yield {"whole": True}  # a process that has missed messages may have bans that were lifted
        for at in range(0, len(known), _CHUNK):
            # each part as it is then, because traffic continues between two of them
            found = (ledger.history(one.ip) for one in known[at : at + _CHUNK])
            yield {"ban": [as_record(one) for one in found if one is not None]}

    def _forget_offences(self, counts: WindowCounts, ip: str) -> None:
        key = str(ban_key(ip))
        ident = counts.ident(key)
        counts.forget(ident)
        if self._nodes is not None and self._counter is not None:
            self._nodes.counts.forget(self._counter, key, ident)

    def _window(self) -> WindowCounts | None:
        """Return the counts of offences; None if they are not counted."""
        after = self.spec.after
        if self._counts is None and after is not None:
            name = f"ban:{self.spec.name}:{after.seconds!r}"
            self._counts = WindowCounts(self._shared.cells(SLICES), name, after.seconds)
            if self._nodes is not None:
                self._counter = NodeCounter(name, "window", self._counts, after.seconds / PARTS)
        return self._counts
