"""DATA. The tracks of a frontend: all ``[track NAME]`` of the configuration.

Conditions find them in ``tracks`` of the frontend, and filters count by ``traffic.track(NAME, n)``.
A track counts traffic if the key ``tracks`` names it and its condition holds, or if a condition or
a ban names it. Requests are counted before routing; values that depend on the response are counted
at its end. Events before a request is known are not counted for trusted proxies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import define, frozen

from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.addresses import AddressSet
from lbproxy.http.conditional import Conditions
from lbproxy.http.filter import Phases
from lbproxy.http.tracked import track_of
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.banning.spec import BanSpec
from lbproxy.proxy.features.conduct import is_error, is_glitch, is_handshake
from lbproxy.proxy.features.limiting.key import TCP_VARIABLES, Key
from lbproxy.proxy.features.tracking.spec import TrackDeclaration, TrackSpec
from lbproxy.proxy.features.tracking.track import Track

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["Tracking"]

_SHOWN: Final = 200  # maximum number of keys of a track that a worker reports
_LATE: Final = ("errors", "bytes", "glitches")


@frozen
class _Use:
    track: Track
    conditions: Conditions | None
    bans: tuple[str, ...]


@define
class _Client:
    """A connection without a request, for keys and conditions."""

    client_ip: str
    frontend_name: str
    frontend: Any
    request: None = None


class Tracking(TrackDeclaration, Feature["Frontend"]):
    """See the module."""

    name = "tracks"
    keys = ("tracks",)

    def __init__(self, spec: Any, specs: dict[str, TrackSpec], given: Given) -> None:
        self.spec = spec
        self._specs = specs
        self._behind = _backend_conditions(given.config)
        self.tracks = {name: Track.kept(one, given) for name, one in specs.items()}
        proxies = [*spec.trusted_proxies, *(n for one in spec.listen for n in one.accept_proxy)]
        self._proxies = AddressSet(proxies)
        self._uses = list(self._used(spec, given))
        self._bans = {one.track.spec.name: one.bans for one in self._uses}
        self._elsewhere: dict[str, Any] = {}
        self._inner: Any = None

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`. Raises ValueError for a track that does not fit the frontend."""
        specs = {one.name: one for one in given.config.of(TrackSpec)}
        if not specs:
            return None
        behind = _backend_conditions(given.config)
        if old is not None and (old.spec, old._specs, old._behind) == (spec, specs, behind):
            return old
        made = cls(spec, specs, given)
        if spec.mode == "tcp":
            for use in made._uses:
                _fits_tcp(specs[use.track.spec.name])  # a kept track gets its new spec later
        return made

    def _used(self, spec: Any, given: Given) -> Iterator[_Use]:
        bans = [one for one in given.config.of(BanSpec) if one.name in spec.bans]
        by_track = {
            name: tuple(one.name for one in bans if f"track:{name}" in one.on and one.after)
            for name in self._specs
        }
        named = {use.name for use in spec.tracks}
        for use in spec.tracks:
            conditions = Conditions(use.conditions) if use.conditions else None
            yield _Use(self.tracks[use.name], conditions, by_track[use.name])
        conditions_of = (*_conditions(spec), *self._behind)
        asked = {
            track_of(args) for some in conditions_of for verb, args, _ in some if verb == "track"
        }
        for name in self._specs:
            if name not in named and (name in asked or by_track[name]):
                yield _Use(self.tracks[name], None, by_track[name])

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`."""
        counts = {self._specs[one.track.spec.name].count for one in self._uses}
        if "requests" in counts:
            phases = phases.before(early=self.early)
        return phases.after(finish=self.finish) if counts & set(_LATE) else phases

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        for name, track in self.tracks.items():
            if track.spec != self._specs[name]:
                track.apply(self._specs[name])
        owner.tracks = {name: _Counted(self, track) for name, track in self.tracks.items()}
        counts = {one.track.spec.count for one in self._uses}
        if "connections" in counts:
            self._inner = owner.gate
            owner.gate = self.gate
        if "glitches" in counts:
            owner.turned_away += (self.turned_away,)

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self.attach(owner)

    # -- counting -------------------------------------------------------------------------------

    def gate(self, info: Any) -> ProxyError | Callable[[], ProxyError | None]:
        """Count a connection once it is accepted; see ``Frontend.gate``."""
        charge = None
        if self._inner is not None:
            charge = self._inner(info)
            if isinstance(charge, ProxyError):
                return charge

        def count() -> ProxyError | None:
            error = None if charge is None else charge()
            if error is None:
                self._count("connections", self._client(info), 1.0)
            return error

        return count

    def early(self, traffic: Any) -> None:
        """Count a request or a session."""
        self._count("requests", traffic, 1.0)

    def finish(self, traffic: Any) -> None:
        """Count the values that are known at the end of a request or a session."""
        kind = traffic.close
        if kind is Kind.BANNED:
            return
        if traffic.request is not None:
            bad = traffic.t_header < 0
            if bad and traffic.client_ip in self._proxies:
                return
            if traffic.status >= 400 and is_error(traffic):
                self._count("errors", traffic, 1.0)
            if kind is not Kind.OK and is_glitch(kind, traffic.detail):
                self._count("glitches", traffic, 1.0)
        size = traffic.bytes_in + traffic.bytes_out
        if size:
            self._count("bytes", traffic, float(size))

    def turned_away(self, info: Any, error: ProxyError) -> None:
        """Count a failed handshake."""
        if is_handshake(error.kind) and info.client_ip not in self._proxies:
            self._count("glitches", self._client(info), 1.0)

    def _count(self, what: str, traffic: Any, amount: float) -> None:
        for use in self._uses:
            if use.track.spec.count != what:
                continue
            if use.conditions is None or use.conditions.hold(traffic):
                self.add(use.track, traffic, amount)

    def add(self, track: Track, traffic: Any, amount: float) -> None:
        """Count ``amount``, also for the bans that the track causes."""
        track.add(traffic, amount)
        judge = self._owner.ban_judge
        if judge is None:
            return
        for ban in self._bans.get(track.spec.name, ()):
            reason = f"track {track.spec.name}"
            known = traffic if traffic.request is not None else None
            judge.offence(ban, traffic.client_ip, reason, known, amount)

    def _client(self, info: Any) -> _Client:
        return _Client(info.client_ip, self._owner.name, self._owner)

    # -- what is shown --------------------------------------------------------------------------

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`: the last keys of each track."""
        return {
            name: dict.fromkeys(islice(reversed(track.names), _SHOWN), 1)
            for name, track in self.tracks.items()
        }

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self._elsewhere = total

    def known_keys(self, name: str) -> Iterable[str]:
        """Return the keys of a track that are known by name, in all processes."""
        return {**self._elsewhere.get(name, {}), **dict.fromkeys(self.tracks[name].names)}


class _Counted:
    """A track as seen by the traffic of one frontend (``Frontend.tracks``)."""

    def __init__(self, feature: Tracking, track: Track) -> None:
        self._feature = feature
        self._track = track
        self.value = track.value

    def add(self, traffic: Any, amount: float) -> None:
        """Count ``amount`` for the key of ``traffic``."""
        self._feature.add(self._track, traffic, amount)


def _conditions(spec: Any) -> Iterator[Any]:
    """Yield the conditions of a frontend: of its routes, filters, limits and tracks."""
    for one in (*spec.routes, *spec.filters, *spec.limits, *spec.tracks):
        yield one.conditions


def _backend_conditions(config: Any) -> list[Any]:
    """Return the conditions of the filters of all backends."""
    return [one.conditions for backend in config.backends for one in backend.filters]


def _fits_tcp(track: TrackSpec) -> None:
    """Raise ValueError for a track that needs values that a connection does not have."""
    if track.count == "errors":
        raise ValueError(f"track {track.name}: 'count = errors' needs mode = http")
    other = sorted(Key(track.key, track.prefix).variables - TCP_VARIABLES)
    if other:
        raise ValueError(f"track {track.name}: {{{other[0]}}} needs mode = http")
