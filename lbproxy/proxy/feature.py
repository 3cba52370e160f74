"""DATA. The contract of a feature: an optional function of a frontend, a backend or a route.

A feature is one class in one file and one line in :mod:`lbproxy.features`; its keys and sections
are declared in a module beside it (:mod:`lbproxy.config.declaration`).  Nothing else knows it:
assembling, reload, workers, metrics and the admin side read the class attributes below and call the
methods below.  The life of a feature:

1. :meth:`Feature.prepare` runs while a configuration is compiled.  It returns a new object, the old
   one if that can go on, or None if the configuration does not ask for the feature.  It may raise,
   and it touches nothing that serves.
2. In the swap, :meth:`Feature.attach` binds a new object to its owner, and :meth:`Feature.refit`
   gives an old one the new configuration of its owner.  These and all later methods must not raise.
3. :meth:`Feature.start` runs when traffic begins, and again after each reload.
4. :meth:`Feature.detach` undoes what the feature did to an owner that continues without it.
   :meth:`Feature.close` follows.
5. When the owner itself ends, :meth:`Feature.retire` runs when nobody new comes,
   :meth:`Feature.close` at the end.

A feature that the configuration does not ask for has no object, so it costs nothing.  Traffic asks
a feature in one of two ways: by hooks of filter phases (:meth:`Feature.around`), or by a role, an
attribute of the owner that is None until a feature takes it in :meth:`Feature.attach`
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
    """An attrs field of :attr:`Feature.Counters`: a number that only grows, from 0.

    With ``help`` it is also a metric: field ``hedges`` of a backend is
    ``lbproxy_backend_hedges_total``.
    """
    return attrs.field(default=0, metadata={"help": help})


T = TypeVar("T")


@frozen
class Given:
    """Arguments of :meth:`Feature.prepare` besides the specification of its owner.

    ``config``: the whole configuration; ``config.of(SPEC)`` gives the sections that only this
    feature knows. ``shared``: state of all processes of this machine, fast enough for traffic.
    ``replicated``: eventual state of all processes, for the background. ``kept``: see :meth:`keep`.
    ``nodes``: the other nodes, None without ``[shared]``.
    """

    config: Config
    env: Env
    network: Network
    shared: Shared
    replicated: Replicated
    kept: MutableMapping[tuple[str, str], Any] = attrs.field(factory=dict)
    nodes: Nodes | None = None

    def keep(self, kind: str, name: str, make: Callable[[], T]) -> T:
        """Return the object of this kind and name that other features have, or a new one.

        It lives while a feature refers to it, so a reload that names it again keeps it."""
        found: T | None = self.kept.get((kind, name))
        if found is None:
            found = self.kept[kind, name] = make()
        return found


class Owner(Protocol):
    """The common interface of frontends, backends and routes for their features.

    ``kinds``: the features it could have; ``features``: those it has, by name; ``counts``: the
    counters of each of ``kinds`` that has some. Counters belong to the owner, so that they survive
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
    """Extend this; see the module, and :class:`Declaration` for ``owner``, ``Keys`` and
    ``sections``.

    ``name``: in the API and in :attr:`Owner.features`.  ``keys``: the configuration keys it reads;
    a mistake that :meth:`prepare` raises is reported at the first.  ``Counters``: an attrs class of
    :func:`counted` fields.  ``part``: its place on the admin side.  ``answers``: of a frontend's
    feature, its source answers what no route takes, without a backend.  ``together``: the objects
    that its owners share.

    A feature of a ``route`` has one object for each route that asks for it.  Its keys are keys of
    the frontend, too: they hold for all its routes that have no such option.  ``spec`` is the route
    with these keys filled in.  Hooks of phase ``early`` run before the route is known, so it cannot
    have one; routes with an action do not have features.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    Counters: ClassVar[type[Any] | None] = None
    part: ClassVar[AdminPart | None] = None
    answers: ClassVar[bool] = False
    together: ClassVar[Together | None] = None

    counters: Any = None
    """The owner's object of class :attr:`Counters`, from :meth:`attach` on.

    A feature whose counts start at 0 with another configuration sets an object of its own instead.
    """

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """The object that serves ``spec``; see the module.  ``old``: of the same owner, before the
        reload.
        """
        raise NotImplementedError(f"{cls.__name__}.prepare")

    @classmethod
    def of(cls, owner: Any) -> Self | None:
        """The feature of this class that ``owner`` has, or None."""
        found: Self | None = owner.features.get(cls.name)
        return found

    @classmethod
    def among(cls, owners: Mapping[str, Any]) -> dict[str, Self]:
        """Return the features of this class by the names of their owners; others have none."""
        found = {name: cls.of(owner) for name, owner in owners.items()}
        return {name: one for name, one in found.items() if one is not None}

    @classmethod
    def has_hooks(cls) -> bool:
        """Return whether exchanges run hooks of it, so that a reload must renew them with the
        feature.
        """
        return cls.around is not Feature.around

    @classmethod
    def has_snapshot(cls) -> bool:
        """Return whether it is shown as an object of its own, and not as fields of its owner."""
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
        """The operation ``METHOD path`` of :attr:`part`.  KeyError."""
        operations = cls.part.operations if cls.part is not None else ()
        return {one.key: one for one in operations}[key]

    # -- life -----------------------------------------------------------------------------------

    def around(self, phases: Phases) -> Phases:
        """``phases`` with the hooks of this feature: before, after or between those of filters."""
        return phases

    def source(self, inner: Source) -> Source:
        """Return the source of exchanges in place of ``inner``, or one that uses ``inner``.

        Of a backend ``inner`` is :data:`lbproxy.proxy.http.attempts.SERVERS`, or what another
        feature has made of it.  Of a route or a frontend it is the present source of the backend;
        the method is called for each route.
        """
        return inner

    def attach(self, owner: OwnerT) -> None:
        """Work for ``owner`` from now on.  Its servers exist already."""

    def refit(self, owner: OwnerT) -> None:
        """Apply the new ``owner.spec``; a frontend is also a new object after a reload."""

    def start(self) -> None:
        """Traffic begins.  Called again after each reload: harmless when started."""

    def detach(self) -> None:
        """Undo the changes to the owner, which continues without this feature."""

    def retire(self) -> None:
        """Stop new traffic; running traffic may finish.  Harmless the second time."""

    def close(self) -> None:
        """Release timers, dials and files.  Hooks of exchanges that still run may be called
        later.
        """

    def services(self) -> Iterable[Service]:
        """Services that run in the background while the owner serves."""
        return ()

    # -- what a backend reports -----------------------------------------------------------------

    def server_added(self, server: ServerState) -> None:
        """The backend has one server more."""

    def server_removed(self, server: ServerState) -> None:
        """The backend has lost a server; one of the same name may come back."""

    def state_changed(self, server: ServerState, old: State, new: State) -> None:
        """A server went up, down, into drain or maint."""

    def servers_changed(self) -> None:
        """The servers that may be picked have changed, or a weight has."""

    def sync(self) -> None:
        """An operator or a reload added, removed or changed servers; for features with
        :meth:`services`.
        """

    # -- snapshots, and sums of workers ---------------------------------------------------------

    def snapshot(self) -> dict[str, Any] | None:
        """Return the value of ``GET /api/v1/backends/NAME`` under :attr:`name`; None for fields of
        :attr:`Counters` alone.
        """
        return None

    def row(self) -> dict[str, Any]:
        """Return the row in the state and on the dashboard, if :attr:`part` has one."""
        return self.snapshot() or {}

    def gauges(self) -> dict[str, Any]:
        """In a worker: what is true at this moment, as numbers in nested dicts.  The master adds
        them up.
        """
        return {}

    def show_gauges(self, total: dict[str, Any]) -> None:
        """In the master: the sum of :meth:`gauges` of all workers, {} while there is none."""

    def growths(self) -> Sequence[Growth]:
        """Return the counters above 0 whose growth is an event.  Called once a second."""
        return ()

    def sample(self) -> dict[str, dict[str, Any]]:
        """Return what the rules of alerts read: for fields of
        :class:`lbproxy.observe.samples.Sample`, values by name.  Called once a second.
        """
        return {}

    def take_records(self) -> list[dict[str, Any]]:
        """In a worker: the records since the last call, as JSON types."""
        return []

    def add_records(self, records: Sequence[dict[str, Any]]) -> None:
        """In the master: what :meth:`take_records` gave in a worker."""


def counts_of(kinds: Sequence[type[Feature[Any]]]) -> dict[str, Any]:
    """Counters, all 0, for the features of ``kinds`` that count."""
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
    """Let ``owner`` have exactly the features ``wanted``; ``old`` are those it had before."""
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
