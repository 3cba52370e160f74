"""DATA. The contract of a feature: an optional function of a frontend, a backend or a route.

A feature is one class in one file and one line in :mod:`lbproxy.features`. Its keys and sections
are declared in a module beside it (:mod:`lbproxy.config.declaration`). No other module knows it:
assembly, reload, workers, metrics and the admin API read the class attributes below and call the
methods below. The life of a feature:

1. :meth:`Feature.prepare` runs while a configuration is compiled. It returns a new object, the old
   one if that continues, or None if the configuration does not use the feature. It may raise, and
   does not change objects in use.
2. In the swap, :meth:`Feature.attach` connects a new object to its owner, and :meth:`Feature.refit`
   gives an old one the new configuration of its owner. These and all later methods must not raise.
3. :meth:`Feature.start` runs when traffic starts, and again after each reload.
4. :meth:`Feature.detach` undoes the changes of the feature to an owner that continues without it.
   :meth:`Feature.close` follows.
5. When the owner itself ends, :meth:`Feature.retire` stops new traffic, and :meth:`Feature.close`
   runs at the end.

A feature that the configuration does not use has no object, so it costs nothing. Traffic calls a
feature in one of two ways: by hooks of filter phases (:meth:`Feature.around`), or by a role, an
attribute of the owner that is None until a feature sets it in :meth:`Feature.attach`
(:mod:`lbproxy.proxy.roles`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

import attrs
from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.http.filter import Phases
from lbproxy.interfaces import Env
from lbproxy.proxy.guarding import ask, guard

if TYPE_CHECKING:
    from twisted.application.service import Service

    from lbproxy.balance.server import ServerState, State
    from lbproxy.model import Config
    from lbproxy.net.endpoints import Network
    from lbproxy.proxy.adminpart import AdminPart, Operation
    from lbproxy.proxy.http.source import Source
    from lbproxy.proxy.together import Growth, Together
    from lbproxy.sharing.contracts import Nodes, Replicated, Shared

__all__ = [
    "Feature",
    "FeatureSet",
    "Given",
    "Owner",
    "OwnerT",
    "counted",
    "counts_of",
    "shown",
    "take_over",
]


def counted(help: str = "") -> Any:
    """Declare a field of :attr:`Feature.Counters`: a number that only grows, from 0.

    With ``help`` it is also a metric: field ``hedges`` of a backend is
    ``lbproxy_backend_hedges_total``.
    """
    return attrs.field(default=0, metadata={"help": help})


T = TypeVar("T")


@frozen
class Given:
    """Arguments of :meth:`Feature.prepare` besides the specification of its owner.

    ``config``: the whole configuration; ``config.of(SPEC)`` returns the sections that belong only
    to this feature. ``shared``: state of all processes of this machine, fast enough for traffic.
    ``replicated``: eventually consistent state of all processes, for background work. ``kept``: see
    :meth:`keep`. ``nodes``: the other nodes, None without ``[shared]``.
    """

    config: Config
    env: Env
    network: Network
    shared: Shared
    replicated: Replicated
    kept: MutableMapping[tuple[str, str], Any] = attrs.field(factory=dict)
    nodes: Nodes | None = None

    def keep(self, kind: str, name: str, make: Callable[[], T]) -> T:
        """Return the object of this kind and name that other features use, or a new one.

        It lives as long as a feature refers to it, so that a reload that uses it again keeps it.
        """
        found: T | None = self.kept.get((kind, name))
        if found is None:
            found = self.kept[kind, name] = make()
        return found


class Owner(Protocol):
    """The common interface of frontends, backends and routes for their features.

    ``kinds``: the features that it can have. ``features``: those that it has, by name. ``counts``:
    the counters of the ``kinds`` that have some. Counters belong to the owner, so that they survive
    every reload.
    """

    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> Sequence[type[Feature[Any]]]: ...
    @property
    def counts(self) -> dict[str, Any]: ...

    features: dict[str, Feature[Any]]


OwnerT = TypeVar("OwnerT")
FeatureSet = Mapping[str, "Feature[Any]"]


class Feature(Declaration, Generic[OwnerT]):
    """Base class of features; see the module, and :class:`Declaration` for ``owner``, ``Keys`` and
    ``sections``.

    ``name``: in the API and in :attr:`Owner.features`.  ``keys``: the configuration keys it reads;
    a mistake that :meth:`prepare` raises is reported at the first.  ``Counters``: an attrs class of
    :func:`counted` fields.  ``part``: its place on the admin side.  ``answers``: of a frontend's
    feature, its source answers what no route takes, without a backend.  ``together``: the objects
    that its owners share.

    A feature of a ``route`` has one object for each route that uses it. Its keys are also keys of
    the frontend, which apply to all its routes without such an option. ``spec`` is the route with
    these keys filled in. Hooks of phase ``early`` run before the route is known, so such a feature
    cannot have one. Routes with an action have no features.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    Counters: ClassVar[type[Any] | None] = None
    part: ClassVar[AdminPart | None] = None
    answers: ClassVar[bool] = False
    together: ClassVar[Together | None] = None

    counters: Any = None
    """The owner's object of class :attr:`Counters`, from :meth:`attach` on.

    A feature whose counts restart at 0 with another configuration sets its own object instead.
    """

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """Return the object for ``spec``; see the module. ``old``: that of the same owner before
        the reload.
        """
        raise NotImplementedError(f"{cls.__name__}.prepare")

    @classmethod
    def of(cls, owner: Any) -> Self | None:
        """Return the feature of this class that ``owner`` has, or None."""
        found: Self | None = owner.features.get(cls.name)
        return found

    @classmethod
    def among(cls, owners: Mapping[str, Any]) -> dict[str, Self]:
        """Return the features of this class by the names of their owners. Owners without one are
        omitted.
        """
        found = {name: cls.of(owner) for name, owner in owners.items()}
        return {name: one for name, one in found.items() if one is not None}

    @classmethod
    def has_hooks(cls) -> bool:
        """Return whether exchanges run its hooks, so that a reload must renew them with the
        feature.
        """
        return cls.around is not Feature.around

    @classmethod
    def has_snapshot(cls) -> bool:
        """Return whether it is shown as a separate object, and not as fields of its owner."""
        return cls.snapshot is not Feature.snapshot

    @classmethod
    def has_growths(cls) -> bool:
        """Return whether it has counters whose growth is an event."""
        return cls.growths is not Feature.growths

    @classmethod
    def has_sample(cls) -> bool:
        """Return whether rules of alerts read something of it."""
        return cls.sample is not Feature.sample

    @classmethod
    def operation(cls, key: str) -> Operation:
        """Return the operation ``METHOD path`` of :attr:`part`. Raises KeyError."""
        operations = cls.part.operations if cls.part is not None else ()
        return {one.key: one for one in operations}[key]

    # -- life -----------------------------------------------------------------------------------

    def around(self, phases: Phases) -> Phases:
        """Return ``phases`` with the hooks of this feature before, after or between those of
        filters.
        """
        return phases

    def source(self, inner: Source) -> Source:
        """Return a source of exchanges that replaces ``inner`` or wraps it.

        For a backend ``inner`` is :data:`lbproxy.proxy.http.attempts.SERVERS`, or the source of
        another feature. For a route or a frontend it is the present source of the backend; the
        method is called for each route.
        """
        return inner

    def attach(self, owner: OwnerT) -> None:
        """Start to work for ``owner``, whose servers exist already."""

    def refit(self, owner: OwnerT) -> None:
        """Apply the new ``owner.spec``; a frontend is also a new object after a reload."""

    def start(self) -> None:
        """Handle the start of traffic. It is called again after each reload."""

    def detach(self) -> None:
        """Undo the changes to the owner, which continues without this feature."""

    def retire(self) -> None:
        """Stop new traffic. Running traffic may finish. A second call does nothing."""

    def close(self) -> None:
        """Release timers, dials and files. Hooks of running exchanges may still be called later."""

    def services(self) -> Iterable[Service]:
        """Return the services that run in the background while the owner serves."""
        return ()

    # -- what a backend reports -----------------------------------------------------------------

    def server_added(self, server: ServerState) -> None:
        """Handle a new server of the backend."""

    def server_removed(self, server: ServerState) -> None:
        """Handle a removed server. One of the same name may be added later."""

    def state_changed(self, server: ServerState, old: State, new: State) -> None:
        """Handle a server that went up, down, into drain or maint."""

    def servers_changed(self) -> None:
        """Handle a change of the eligible servers or of a weight."""

    def sync(self) -> None:
        """Handle servers added, removed or changed by an operator or a reload; for features with
        :meth:`services`.
        """

    # -- snapshots, and sums of workers ---------------------------------------------------------

    def snapshot(self) -> dict[str, Any] | None:
        """Return the value of ``GET /api/v1/backends/NAME`` under :attr:`name`; None if only the
        fields of :attr:`Counters` are shown.
        """
        return None

    def row(self) -> dict[str, Any]:
        """Return the row in the state and on the dashboard, if :attr:`part` has one."""
        return self.snapshot() or {}

    def gauges(self) -> dict[str, Any]:
        """Return the present values in a worker, as numbers in nested dicts. The master adds them
        up.
        """
        return {}

    def show_gauges(self, total: dict[str, Any]) -> None:
        """Show the sum of :meth:`gauges` of all workers in the master; {} if there is none."""

    def growths(self) -> Sequence[Growth]:
        """Return the counters above 0 whose growth is an event. It is called once a second."""
        return ()

    def sample(self) -> dict[str, dict[str, Any]]:
        """Return the input of alert rules: for fields of ``lbproxy.observe.samples.Sample``,
        values by name. It is called once a second.
        """
        return {}

    def take_records(self) -> list[dict[str, Any]]:
        """Return the records since the last call in a worker, as JSON types."""
        return []

    def add_records(self, records: Sequence[dict[str, Any]]) -> None:
        """Add the result of :meth:`take_records` of a worker in the master."""


def counts_of(kinds: Sequence[type[Feature[Any]]]) -> dict[str, Any]:
    """Return new counters for the features of ``kinds`` that have some."""
    return {kind.name: kind.Counters() for kind in kinds if kind.Counters is not None}


def shown(owner: Owner) -> dict[str, Any]:
    """Return the snapshot of the features of ``owner``: counters as its own fields, the others as
    objects or None.
    """
    found: dict[str, Any] = {}
    for kind in owner.kinds:
        one = owner.features.get(kind.name)
        if kind.has_snapshot():
            found[kind.name] = None if one is None else ask(None, one.snapshot)
        elif kind.Counters is not None:
            found.update(attrs.asdict(owner.counts[kind.name]))
    return found


def take_over(owner: Owner, old: FeatureSet, wanted: FeatureSet) -> None:
    """Give ``owner`` exactly the features ``wanted``. ``old``: those it had before."""
    for name, one in old.items():
        if wanted.get(name) is not one:
            guard(one.detach)
            guard(one.close)
    owner.features = dict(wanted)
    for name, one in wanted.items():
        if old.get(name) is one:
            guard(one.refit, owner)
        else:
            if one.Counters is not None:
                one.counters = owner.counts[name]
            guard(one.attach, owner)
