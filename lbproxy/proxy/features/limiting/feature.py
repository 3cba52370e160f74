"""DATA. ``limits`` of a frontend and of its routes.

The limits of a request are those of the frontend whose conditions hold, and those of its route; a
route with ``limits=none`` has none at all.  Each counts once, however often it is named.

All are asked before any is charged.  A request that one of them refuses is charged to none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from attrs import asdict, define, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.filter import Phases
from lbproxy.limits.fields import policy_item, rate_item, retry_after
from lbproxy.proxy.adminpart import AdminPart, Column, Many
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.features.conduct import is_error
from lbproxy.proxy.features.holding import HELD, hold
from lbproxy.proxy.features.limiting.key import TCP_VARIABLES
from lbproxy.proxy.features.limiting.limit import LATE, Limit, LimitCheck
from lbproxy.proxy.features.limiting.spec import LimitDeclaration, LimitSpec, limit_words
from lbproxy.proxy.ratelog import Quiet

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["Limiting"]

_quiet = Quiet(Logger())
_NOTE = "limits"  # of ``traffic.vars``

_EVERY = 1.0  # seconds between two charges of bytes that pass
_PATIENCE = 3600.0
"""Seconds that a request waits at most; one that would have to wait longer is refused."""


@define(eq=False)
class LimitCounters:
    """The effects of the limits of a frontend."""

    limit_refused: int = counted("Requests and connections refused by a rate limit.")
    limit_delayed: int = counted("Requests delayed by a rate limit.")
    limit_logged: int = counted("Requests beyond a rate limit with the action log.")


@define
class Tally:
    """The same of one limit."""

    asked: int = 0
    refused: int = 0
    delayed: int = 0
    logged: int = 0


@define
class Note:
    """The limits of one request.  ``held``: those it counts for at once; ``refused``: the one that
    has refused it; ``request()``: its id, "" for a connection or a session.  ``paid``: bytes that
    were charged while it runs.
    """

    asked: list[LimitCheck]
    held: list[LimitCheck]
    refused: LimitCheck | None = None
    client_ip: str = ""
    request: Callable[[], str] = str
    paid: int = 0


@frozen
class _Use:
    limit: Limit
    conditions: Conditions | None


class Limiting(LimitDeclaration, Feature["Frontend"]):
    """See the module."""

    name = "limits"
    keys = ("limits",)
    Counters = LimitCounters

    always = True  # its hook of responses also sees replies and error pages
    patience = _PATIENCE

    def __init__(self, spec: Any, specs: dict[str, LimitSpec], given: Given) -> None:
        self.spec = spec
        self._specs = specs
        self._wheel = given.network.wheel
        self._now: Callable[[], float] = given.network.wheel.now
        self._limits = {name: Limit.kept(one, given) for name, one in specs.items()}
        uses = [
            _Use(self._limits[use.name], Conditions(use.conditions) if use.conditions else None)
            for use in spec.limits
        ]
        # a limit that is kept has its new section from attach on only
        gates = {one.name for one in specs.values() if one.unit == "connections"}
        self._uses = [one for one in uses if one.limit.name not in gates]
        self._gates = [one for one in uses if one.limit.name in gates]
        self._routes: dict[int, Sequence[Limit] | None] = {
            index: None if names == ("none",) else [self._limits[name] for name in names]
            for index, names in enumerate(_names(route) for route in spec.routes)
            if names
        }
        self.tallies = {name: Tally() for name in specs}
        self._running: dict[Any, Note] = {}  # traffic whose bytes are charged as they pass
        self._timer = given.network.wheel.timer(self._charge_running)
        self._elsewhere: dict[str, Any] = {}

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.  ValueError for a limit that does not exist or does not fit."""
        names = {use.name for use in spec.limits}
        for route in spec.routes:
            if "none" in _names(route) and len(_names(route)) > 1:
                raise ValueError("'none' stands alone: the route has no limits at all")
            names.update(name for name in _names(route) if name != "none")
        if not names:
            return None
        every = {one.name: one for one in given.config.of(LimitSpec)}
        for name in sorted(names):
            if name not in every:
                raise ValueError(f"there is no [limit {name}]")
        specs = {name: every[name] for name in sorted(names)}
        if old is not None and old.spec == spec and old._specs == specs:
            return old
        for one in specs.values():
            _fits(one, spec)
        made = cls(spec, specs, given)
        if old is not None:
            made.tallies.update(
                {name: tally for name, tally in old.tallies.items() if name in specs}
            )
        return made

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`."""
        if not self._uses and not self._routes:
            return phases
        phases = phases.before(early=self.early)
        late = any(one.concurrent or one.unit in LATE for one in self._specs.values())
        if self.spec.mode != "tcp":
            phases = phases.after(response=self.response)
        return phases.after(finish=self.finish) if late else phases

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        for name, limit in self._limits.items():
            if limit.spec != self._specs[name]:
                limit.apply(self._specs[name], self._now())
        owner.gate = self.gate if self._gates else None

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self.attach(owner)

    # -- connections ----------------------------------------------------------------------------

    def gate(self, info: Any) -> ProxyError | Callable[[], ProxyError | None]:
        """Return why a connection is refused, or what charges it once it is counted.

        Charging may fail if a limit is ``concurrent``; ``info.release`` gives its places back.
        """
        context = _Accepted(info.client_ip, self._owner.name, self._owner)
        note = Note([], [], None, info.client_ip)
        for one in self._gates:
            if one.conditions is None or one.conditions.hold(context):
                note.asked += self._ask(one.limit, context)
        worst, _, passing = self._judge(note)
        if worst is not None:
            return self._refused(note, worst)

        def charge() -> ProxyError | None:
            error = self._pass(note, passing)
            if note.held:
                info.release = lambda: self._give_back(note)
            return error

        return charge

    # -- requests and sessions ------------------------------------------------------------------

    def early(self, traffic: Any) -> Any:
        """Pass, delay or refuse a request or a session."""
        note = Note([], [], None, traffic.client_ip)
        for limit in self._of(traffic):
            note.asked += self._ask(limit, traffic)
        if not note.asked:
            return None
        if traffic.vars is None:
            traffic.vars = {}
        traffic.vars[_NOTE] = note
        if traffic.request is not None:
            note.request = lambda: str(traffic.request_id)
        verdict = self._decide(note)
        if note.refused is None and any(_closes(one.limit) for one in note.asked):
            self._running[traffic] = note
            if len(self._running) == 1:
                self._timer.set(_EVERY)
        if note.refused is not None and traffic.request is not None:
            str(traffic.request_id)  # known from now on, so the log has it
        if isinstance(verdict, ProxyError):
            raise verdict
        return verdict

    def _of(self, traffic: Any) -> Sequence[Limit]:
        """The limits of ``traffic``, each once."""
        further: Sequence[Limit] = ()
        if self._routes:
            route = self._owner.router.match(traffic)
            if route is not None and route.index in self._routes:
                found = self._routes[route.index]
                if found is None:
                    return ()
                further = found
        limits = [
            one.limit
            for one in self._uses
            if one.conditions is None or one.conditions.hold(traffic)
        ]
        limits += further
        return limits if len(limits) < 2 else list(dict.fromkeys(limits))

    def _ask(self, limit: Limit, traffic: Any) -> Sequence[LimitCheck]:
        """Ask one limit, for each key; none if it does not hold for them, or cannot be asked."""
        try:
            keys = limit.key.all_of(traffic)
            if limit.spec.empty == "pass":
                keys = [key for key in keys if key]
            now = self._now()
            return [limit.ask(key, now) for key in keys]
        except ProxyError:
            raise
        except BaseException:
            name = f"limit {limit.name}"
            _quiet.failure(name, "{name} cannot be asked", Failure(), name=name)
            if limit.spec.on_error == "closed":
                raise ProxyError(Kind.RATE_LIMITED, f"{name} cannot be asked", 503) from None
            return ()

    def _decide(self, note: Note) -> Any:
        """None to pass, an error to refuse with, or what to wait for."""
        worst, slow, passing = self._judge(note)
        if worst is not None:
            return self._refuse(note, worst)
        error = self._pass(note, passing)
        return error if error is not None or not slow else self._delay(slow)

    def _judge(
        self, note: Note
    ) -> tuple[LimitCheck | None, list[LimitCheck], Sequence[LimitCheck]]:
        """The limit that refuses, those that delay, and those to charge if none refuses."""
        for one in note.asked:
            self.tallies[one.limit.name].asked += 1
        beyond = [one for one in note.asked if one.wait > 0]
        worst: LimitCheck | None = None
        slow: list[LimitCheck] = []
        if not beyond:
            return worst, slow, note.asked
        for one in beyond:
            kind = one.limit.spec.action.kind
            if kind == "log":
                self._logged(one)
            elif kind == "delay" and one.wait <= _PATIENCE and one.limit.has_queue(one.key):
                slow.append(one)
            elif worst is None or one.wait > worst.wait:
                worst = one
        passing = [one for one in note.asked if not one.wait or one.limit.spec.action.kind != "log"]
        return worst, slow, passing

    def _pass(self, note: Note, charged: Sequence[LimitCheck]) -> ProxyError | None:
        """Charge all of ``charged``."""
        now = self._now()
        for one in charged:
            if one.at_once is None:
                continue
            if not one.at_once.take(one.key):  # another process was faster
                one.wait = 1.0
                self._give_back(note)
                return self._refused(note, one)
            note.held.append(one)
        for one in charged:
            if one.method is not None and one.limit.cost:
                one.limit.charge(one, one.limit.cost, now)
        return None

    def _refuse(self, note: Note, one: LimitCheck) -> Any:
        error = self._refused(note, one)
        action, limit = one.limit.spec.action, one.limit
        if action.kind != "tarpit" or limit.held >= HELD:
            return error
        limit.held += 1

        def over() -> None:
            limit.held -= 1

        return hold(self._wheel, action.seconds, over, error)

    def _refused(self, note: Note, one: LimitCheck) -> ProxyError:
        note.refused = one
        limit = one.limit
        self.counters.limit_refused += 1
        self.tallies[limit.name].refused += 1
        limit.note_refused(one.key)
        shown = limit.key.shown(one.key)
        _quiet.warn(
            f"{self._owner.name} limit {limit.name}",
            "frontend {name}: limit {limit} refuses {key}",
            name=self._owner.name,
            limit=limit.name,
            key=shown,
        )
        detail = f"limit {limit.name}, key {shown}"
        judge = self._owner.ban_judge
        if limit.spec.action.kind == "ban" and judge is not None:
            judge.ban(limit.spec.action.ban, note.client_ip, detail, note.request())
        return ProxyError(Kind.RATE_LIMITED, detail)

    def _delay(self, slow: Sequence[LimitCheck]) -> Deferred[None]:
        """Wait for the slowest limit, in the queues of all."""
        self.counters.limit_delayed += 1
        for one in slow:
            self.tallies[one.limit.name].delayed += 1
            one.limit.wait(one.key, 1)

        def over() -> None:
            for one in slow:
                one.limit.wait(one.key, -1)

        seconds = min(max(one.wait for one in slow), _PATIENCE)
        return hold(self._wheel, seconds, over, None)

    def _logged(self, one: LimitCheck) -> None:
        self.counters.limit_logged += 1
        self.tallies[one.limit.name].logged += 1
        _quiet.warn(
            f"{self._owner.name} limit {one.limit.name} log",
            "frontend {name}: {key} is beyond limit {limit}, which only logs",
            name=self._owner.name,
            limit=one.limit.name,
            key=one.limit.key.shown(one.key),
        )

    # -- the response and the end ---------------------------------------------------------------

    def response(self, traffic: Any) -> None:
        """Add the fields about limits."""
        note: Note | None = traffic.vars.get(_NOTE) if traffic.vars else None
        if note is None:
            return
        refused = note.refused
        of_limits = {one.limit.name: one for one in reversed(note.asked)}
        if refused is not None:
            of_limits[refused.limit.name] = refused
        asked = {one.limit.name: of_limits[one.limit.name] for one in note.asked}
        stated = [one for one in asked.values() if one.limit.spec.headers or one is refused]
        if not stated:
            return
        now, headers = self._now(), traffic.response.headers
        if refused is not None and traffic.response.status in (429, 503):
            headers.append((b"Retry-After", b"%d" % max(1, retry_after(refused.wait))))
        policies, rates = [], []
        for one in stated:
            method = one.method
            if method is not None:
                policies.append(policy_item(one.limit.name, method.rate, one.limit.spec.unit))
                left, reset = method.left(one.ident, now), method.reset(one.ident, now)
                rates.append(rate_item(one.limit.name, left, reset))
        if policies:
            headers.append((b"RateLimit-Policy", ", ".join(policies).encode()))
            headers.append((b"RateLimit", ", ".join(rates).encode()))

    def finish(self, traffic: Any) -> None:
        """Give back places, and charge what is known only now."""
        note: Note | None = traffic.vars.get(_NOTE) if traffic.vars else None
        if note is None:
            if traffic.request is not None and traffic.t_header < 0:
                self._charge_bad_head(traffic)
            return
        self._give_back(note)
        self._running.pop(traffic, None)
        if note.refused is not None:
            return
        now = self._now()
        for one in note.asked:
            method = one.method
            if not one.limit.late or method is None:
                continue
            if one.wait > 0 and one.limit.spec.action.kind == "log":
                continue  # as a request beyond a limit that rejects, it costs nothing
            if one.limit.spec.unit == "bytes":
                paid = note.paid if _closes(one.limit) else 0
                cost = float(traffic.bytes_in + traffic.bytes_out - paid)
            else:
                cost = float(is_error(traffic))
            if cost:
                one.limit.charge(one, cost, now)

    def _charge_running(self) -> None:
        """Charge the bytes of traffic that runs, and close what is beyond a limit."""
        now = self._now()
        over: dict[int, tuple[Any, ProxyError]] = {}  # by its connection
        for traffic, note in list(self._running.items()):
            passed = traffic.bytes_in + traffic.bytes_out
            cost, note.paid = passed - note.paid, passed
            for one in note.asked:
                method = one.method
                if not cost or method is None or not _closes(one.limit):
                    continue
                one.limit.charge(one, float(cost), now)
                if method.left(one.ident, now) < 0 and note.refused is None:
                    over[id(traffic.info)] = traffic, self._refused(note, one)
        if over:
            self._cut_off(over)
        if self._running:
            self._timer.set(_EVERY)

    def _cut_off(self, over: dict[int, tuple[Any, ProxyError]]) -> None:
        """Close the connections of requests and sessions that run."""
        for traffic, _ in over.values():
            self._running.pop(traffic, None)
        for client in list(self._owner.clients):
            found = over.get(id(getattr(client, "info", None)))
            if found is not None:
                client.kill(found[1])

    def _charge_bad_head(self, traffic: Any) -> None:
        """Charge the response to something that is no request: an error of its address.

        Only to limits without conditions whose key needs no request; not to trusted proxies, whose
        client is unknown.
        """
        if not is_error(traffic) or not self._owner.is_direct(traffic.client_ip):
            return
        now = self._now()
        for use in self._uses:
            limit = use.limit
            known = limit.key.variables <= {"client_ip", "frontend"}
            if limit.spec.unit == "errors" and use.conditions is None and known:
                for one in self._ask(limit, traffic):
                    if one.method is not None:
                        limit.charge(one, 1.0, now)

    def _give_back(self, note: Note) -> None:
        held, note.held = note.held, []
        for one in held:
            if one.at_once is not None:
                one.at_once.give_back(one.key)

    # -- what is shown --------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        own = self.gauges()
        return {
            "limits": {
                name: {
                    "rate": limit_words(self._specs[name]),
                    **_sum(one, self._elsewhere.get(name, {})),
                }
                for name, one in own.items()
            }
        }

    def row(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        every = self.snapshot()["limits"].values()
        found = {key: sum(one[key] for one in every) for key in _TALLY}
        return {"limits": ", ".join(self._specs), **found}

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return {
            name: {
                **asdict(tally),
                "waiting": sum(self._limits[name].waiting.values()) + self._limits[name].held,
                "refused_keys": dict(self._limits[name].refused),
            }
            for name, tally in self.tallies.items()
        }

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self._elsewhere = total


_TALLY = ("asked", "refused", "delayed", "logged", "waiting")


@define
class _Accepted:
    """A connection, for the key and the conditions of a limit."""

    client_ip: str
    frontend_name: str
    frontend: Any
    request: None = None


def _closes(limit: Limit) -> bool:
    """Whether traffic beyond a limit of bytes is closed while it runs."""
    return limit.spec.unit == "bytes" and limit.spec.action.kind not in ("delay", "log")


def _names(route: Any) -> tuple[str, ...]:
    """The option ``limits`` of a route."""
    found: tuple[str, ...] | None = route.limits
    return found or ()


def _fits(limit: LimitSpec, spec: Any) -> None:
    """Raise ValueError for a limit that asks for what a frontend does not have."""
    if spec.mode == "tcp":
        if limit.unit == "errors":
            raise ValueError(f"limit {limit.name}: 'unit = errors' needs mode = http")
        other = sorted(Limit.key_of(limit).variables - TCP_VARIABLES)
        if other:
            raise ValueError(f"limit {limit.name}: {{{other[0]}}} needs mode = http")
    if limit.unit == "connections":
        if any(limit.name in _names(route) for route in spec.routes):
            raise ValueError(f"limit {limit.name} counts connections, which have no route")
        for use in spec.limits:
            other = sorted({verb for verb, _, _ in use.conditions} - {"client", "track"})
            if use.name == limit.name and other:
                raise ValueError(f"limit {limit.name} counts connections: no {other[0]!r}")


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    found = {key: one[key] + other.get(key, 0) for key in _TALLY}
    keys = dict(one["refused_keys"])
    for key, count in other.get("refused_keys", {}).items():
        keys[key] = keys.get(key, 0) + count
    return {**found, "refused_keys": keys}


Limiting.part = AdminPart(
    "limits",
    title="Limits",
    owner_key="frontend",
    fields={
        "limits": Many(
            {"rate": "string", **dict.fromkeys(_TALLY, "count"), "refused_keys": Many("count")}
        )
    },
    row={"limits": "string", **dict.fromkeys(_TALLY, "count")},
    columns=(
        Column("frontend", "Frontend"),
        Column("limits", "Limits"),
        Column("asked", "LimitCheck", "count"),
        Column("refused", "Refused", "count"),
        Column("delayed", "Delayed", "count"),
        Column("waiting", "Waiting", "count"),
    ),
    state="limits",
)
