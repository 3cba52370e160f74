"""DATA. ``limits`` of a frontend and of its routes.

The limits of a request are those of the frontend whose conditions hold, and those of its route. A
route with ``limits=none`` has none at all. Each counts once, however often it is named. If a filter
of phase ``early`` changes the target or the host, the limits of the new place are added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from lbproxy.config.errors import no_section
from lbproxy.errors import ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.filter import Phases
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.conduct import is_error
from lbproxy.proxy.features.limiting.answered import state_limits
from lbproxy.proxy.features.limiting.desk import LimitDesk
from lbproxy.proxy.features.limiting.fitting import names_of, require_fit
from lbproxy.proxy.features.limiting.limit import LATE, Limit, LimitCheck
from lbproxy.proxy.features.limiting.note import (
    AcceptedConnection,
    LimitCounters,
    LimitNote,
    closes,
    paces,
)
from lbproxy.proxy.features.limiting.shown import PART, TALLY, gauges_of, sum_of
from lbproxy.proxy.features.limiting.spec import LimitDeclaration, LimitSpec, limit_words
from lbproxy.proxy.features.limiting.throttling import LimitThrottles
from lbproxy.proxy.features.place import has_filters, place_of

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["Limiting"]

_NOTE = "limits"  # key in ``traffic.vars``
_PLACE = "limits place"  # likewise: the place before filters of phase ``early``

_EVERY = 1.0  # seconds between two charges of relayed bytes


@frozen
class _Use:
    limit: Limit
    conditions: Conditions | None


class Limiting(LimitDeclaration, LimitThrottles, Feature["Frontend"]):
    """See the module."""

    name = "limits"
    keys = ("limits",)
    Counters = LimitCounters

    always = True  # its hook of responses also runs for replies and error pages
    part = PART

    def __init__(self, spec: Any, specs: dict[str, LimitSpec], given: Given) -> None:
        super().__init__(given.network.wheel, tuple(specs))
        self.spec = spec
        self._specs = specs
        self._limits = {name: Limit.kept(one, given) for name, one in specs.items()}
        uses = [
            _Use(self._limits[use.name], Conditions(use.conditions) if use.conditions else None)
            for use in spec.limits
        ]
        # a limit that continues has its new section only from attach on
        gates = {one.name for one in specs.values() if one.unit == "connections"}
        self._uses = [one for one in uses if one.limit.name not in gates]
        self._gates = [one for one in uses if one.limit.name in gates]
        self._unconditional: Sequence[Limit] | None = None
        if not any(one.conditions for one in self._uses):
            self._unconditional = list(dict.fromkeys(one.limit for one in self._uses))
        units = [(one.unit, one.action.kind) for one in specs.values()]
        self._states = any(one.headers for one in specs.values())
        self._closes = any(unit == "bytes" and kind not in ("delay", "log") for unit, kind in units)
        self._paces = any(map(paces, specs.values()))
        self._routes: dict[int, Sequence[Limit] | None] = {
            index: None if names == ("none",) else [self._limits[name] for name in names]
            for index, names in enumerate(names_of(route) for route in spec.routes)
            if names
        }
        self._looks_again = False  # filters may change the target after the first check
        self._running: dict[Any, LimitNote] = {}  # traffic whose bytes are charged while it runs
        self._timer = given.network.wheel.timer(self._charge_running)
        self._elsewhere: dict[str, Any] = {}

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.  ValueError for a limit that does not exist or does not fit."""
        names = {use.name for use in spec.limits}
        for route in spec.routes:
            if "none" in names_of(route) and len(names_of(route)) > 1:
                raise ValueError("'none' stands alone: the route has no limits at all")
            names.update(name for name in names_of(route) if name != "none")
        if not names:
            return None
        every = {one.name: one for one in given.config.of(LimitSpec)}
        for name in sorted(names):
            if name not in every:
                raise no_section("limit", name, every)
        specs = {name: every[name] for name in sorted(names)}
        if old is not None and old.spec == spec and old._specs == specs:
            return old
        for one in specs.values():
            require_fit(one, spec)
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
        depends = bool(self._routes) or any(one.conditions is not None for one in self._uses)
        self._looks_again = depends and has_filters(phases)
        if self._looks_again:
            phases = phases.after(early=self.look_again)
        late = any(one.concurrent or one.unit in LATE for one in self._specs.values())
        paced = self._paces
        usual = not (self._looks_again or late)
        first = self._desk() if usual else self
        phases = phases.before(early=first.early)
        if self.spec.mode != "tcp":
            phases = phases.after(response=first.response)
            if paced:
                phases = phases.after(server_request=self.throttle_request)
        elif paced:
            phases = phases.after(response=self.throttle_session)
        return phases.after(finish=self.finish) if late else phases

    def _desk(self) -> LimitDesk:
        return LimitDesk(
            self, None if self._routes else self._unconditional, self._now, self._states
        )

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
        """Return why a connection is refused, or a function that charges it once it is counted.

        Charging may fail if a limit is ``concurrent``; ``info.release`` releases its places.
        """
        context = AcceptedConnection(info.client_ip, self._owner.name, self._owner)
        note = LimitNote([], [], None, info.client_ip)
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
        if self._looks_again:
            traffic.vars = traffic.vars or {}
            traffic.vars[_PLACE] = place_of(traffic, self._owner.router)
        return self.apply(traffic, self.limits_of(traffic))

    def look_again(self, traffic: Any) -> Any:
        """Apply the limits of the place that filters of phase ``early`` have set for a request."""
        now = place_of(traffic, self._owner.router)
        if traffic.vars is None or traffic.vars.get(_PLACE) == now:
            return None
        before = _note_of(traffic)
        known = [] if before is None else [one.limit for one in before.asked]
        return self.apply(traffic, [one for one in self.limits_of(traffic) if one not in known])

    def apply(self, traffic: Any, limits: Sequence[Limit]) -> Any:
        """Pass, delay or refuse a request or a session that ``limits`` hold for."""
        note = LimitNote([], [], None, traffic.client_ip)
        for limit in limits:
            note.asked += self._ask(limit, traffic)
        if not note.asked:
            return None
        if traffic.vars is None:
            traffic.vars = {}
        before, traffic.vars[_NOTE] = _note_of(traffic), note
        if traffic.request is not None:
            note.request = lambda: str(traffic.request_id)
        verdict = self._decide(note)
        if before is not None:
            note.asked += before.asked
            note.held += before.held
            note.paid = before.paid
        if self._closes and note.refused is None and any(closes(one.limit) for one in note.asked):
            self._running[traffic] = note
            if len(self._running) == 1:
                self._timer.set(_EVERY)
        if note.refused is None:
            if self._paces:
                self._set_throttle(traffic, note)
        elif traffic.request is not None:
            str(traffic.request_id)  # known from now on, so that the log shows it
        if isinstance(verdict, ProxyError):
            raise verdict
        return verdict

    def note(self, traffic: Any, passed: list[LimitCheck]) -> None:
        """Keep what a request was charged to, for :meth:`response`."""
        if traffic.vars is None:
            traffic.vars = {}
        traffic.vars[_NOTE] = LimitNote(passed, [], None, traffic.client_ip)

    def limits_of(self, traffic: Any) -> Sequence[Limit]:
        """Return the limits of ``traffic``, each once."""
        further: Sequence[Limit] = ()
        if self._routes:
            route = self._owner.router.match(traffic)
            if route is not None and route.index in self._routes:
                found = self._routes[route.index]
                if found is None:
                    return ()
                further = found
        if self._unconditional is not None and not further:
            return self._unconditional
        limits = [
            one.limit
            for one in self._uses
            if one.conditions is None or one.conditions.hold(traffic)
        ]
        limits += further
        return limits if len(limits) < 2 else list(dict.fromkeys(limits))

    # -- the response and the end ---------------------------------------------------------------

    def response(self, traffic: Any) -> None:
        """Add the fields about limits, and meter the body if a limit paces it."""
        note = _note_of(traffic)
        if note is not None and (self._states or self._paces or note.refused is not None):
            state_limits(note, traffic.response, self._now())
            if note.throttle is not None:
                self._throttle_response(traffic)

    def finish(self, traffic: Any) -> None:
        """Release places, and charge units that are known only now."""
        note = _note_of(traffic)
        if note is None:
            if traffic.request is not None and traffic.t_header < 0:
                always = [one.limit for one in self._uses if one.conditions is None]
                self._charge_bad_head(traffic, always)
            return
        self._give_back(note)
        self._running.pop(traffic, None)
        metered = 0
        if note.throttle is not None:
            metered = note.throttle.charged
            note.throttle.close()
        if note.refused is not None:
            return
        now = self._now()
        for one in note.asked:
            method = one.method
            if not one.limit.late or method is None:
                continue
            if one.wait > 0 and one.limit.spec.action.kind == "log":
                continue  # like a request beyond a limit that rejects, it costs nothing
            if one.limit.spec.unit == "bytes":
                paid = note.paid if closes(one.limit) else metered if paces(one.limit) else 0
                cost = float(max(0, traffic.bytes_in + traffic.bytes_out - paid))
            else:
                cost = float(is_error(traffic))
            if cost:
                one.limit.charge(one, cost, now)

    def _charge_running(self) -> None:
        """Charge the bytes of running traffic, and close traffic beyond a limit."""
        now = self._now()
        over: dict[int, tuple[Any, ProxyError]] = {}  # by connection
        for traffic, note in list(self._running.items()):
            passed = traffic.bytes_in + traffic.bytes_out
            cost, note.paid = passed - note.paid, passed
            for one in note.asked:
                method = one.method
                if not cost or method is None or not closes(one.limit):
                    continue
                one.limit.charge(one, float(cost), now)
                if method.left(one.ident, now) < 0 and note.refused is None:
                    over[id(traffic.info)] = traffic, self._refused(note, one)
        if over:
            for traffic, _ in over.values():
                self._running.pop(traffic, None)
            self._cut_off(over)
        if self._running:
            self._timer.set(_EVERY)

    # -- what is shown --------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        own = self.gauges()
        return {
            "limits": {
                name: {
                    "rate": limit_words(self._specs[name]),
                    **sum_of(one, self._elsewhere.get(name, {})),
                }
                for name, one in own.items()
            }
        }

    def row(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        every = self.snapshot()["limits"].values()
        found = {key: sum(one[key] for one in every) for key in TALLY}
        return {"limits": ", ".join(self._specs), **found}

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return {name: gauges_of(one, self._limits[name]) for name, one in self.tallies.items()}

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self._elsewhere = total


def _note_of(traffic: Any) -> LimitNote | None:
    return traffic.vars.get(_NOTE) if traffic.vars else None
