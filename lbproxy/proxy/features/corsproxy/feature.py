"""CONTROL. The feature behind ``mode = corsproxy``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

from attrs import asdict, fields

from lbproxy.cors.keys import KeyRecord, KeyRing
from lbproxy.cors.origins import checked_origin
from lbproxy.cors.quota import Quota
from lbproxy.guard import Guard
from lbproxy.guard.configured import configured_judge, listener_addresses
from lbproxy.http.filter import Phases
from lbproxy.limits.atonce import AtOnce
from lbproxy.model import Address
from lbproxy.net.interfaces import local_addresses
from lbproxy.proxy.adminpart import AdminPart, Column
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.corsproxy.conversion import Conversions
from lbproxy.proxy.features.corsproxy.egress import EgressSpec
from lbproxy.proxy.features.corsproxy.exits import Exits
from lbproxy.proxy.features.corsproxy.gate import CorsCounters, Gate
from lbproxy.proxy.features.corsproxy.heads import FetchRules
from lbproxy.proxy.features.corsproxy.judge import CallJudge
from lbproxy.proxy.features.corsproxy.keyfile import KeyFile
from lbproxy.proxy.features.corsproxy.keyusage import subject_usage
from lbproxy.proxy.features.corsproxy.lookups import NameLookups
from lbproxy.proxy.features.corsproxy.quotas import Quotas, origin_subject
from lbproxy.proxy.features.corsproxy.source import CorsParts, CorsSource, Tunnels
from lbproxy.proxy.features.corsproxy.spec import (
    CorsDeclaration,
    check_convert,
    check_keys,
    origin_quota,
    usage_path,
    written_keys,
)
from lbproxy.proxy.features.corsproxy.targets import Targets
from lbproxy.proxy.features.corsproxy.usagefile import UsageFile
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.http.source import Source

__all__ = ["CorsProxy"]


class CorsProxy(CorsDeclaration, Feature[Frontend]):
    """The gate and the source of one frontend.

    ``terms``: everything that the object depends on; a reload that changes none of it keeps the
    object. ``file``: the keys, None if calls need none. ``quotas``: counts calls. ``origins``: the
    listed origins.
    """

    name = "corsproxy"
    keys = ("mode",)
    Counters = CorsCounters
    answers = True

    def __init__(self, spec: Any, given: Given, guard: Guard, terms: tuple[Any, ...]) -> None:
        self.terms = terms
        self._spec = spec
        self._elsewhere: dict[str, int] = {}
        self.origins: tuple[str, ...] = tuple(map(checked_origin, spec.origins))
        wheel = given.network.wheel
        shared = _Shared.kept(given)
        self.file: KeyFile | None = None
        tunnels: Tunnels = WeakKeyDictionary()
        if spec.keys:
            watched = given.keep("corsproxy.keys", spec.keys, lambda: WatchedKeys(spec.keys, wheel))
            self.file, tunnels = watched.file, watched.tunnels
            self._watched = watched  # kept while a feature refers to it
        usage = given.keep("corsproxy.usage", *_usage(spec, given))
        self.quotas = Quotas(
            usage, shared.at_once, origin_quota(spec), wheel.wall, listed=self.origins
        )
        self._shared = shared
        self._wheel = wheel
        self._exits = Exits(
            given.config.of(EgressSpec),
            given.network.dialler,
            given.env.reactor,
            lambda dialler, ca: Targets(
                f"frontend {spec.name}",
                dialler,
                spec.target_ca if ca is None else ca,
                spec.timeout_total,
            ),
            spec.egress,
        )
        ring = None if self.file is None else self.file.current
        judge = CallJudge(spec, guard, ring, self._exits.names)
        self._gate = Gate(spec, judge, self.quotas, self._exits, keys=ring is not None)
        parts = CorsParts(
            NameLookups(given.env.reactor),
            guard,
            FetchRules.of(spec),
            Conversions(given.env.reactor),
            self.quotas,
            tunnels,
        )
        self._source = CorsSource(parts)

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`. Raises ValueError for keys that contradict each other."""
        if spec.mode != "corsproxy":
            if wrong := written_keys(spec):
                raise ValueError(f"{wrong[0]} is for mode = corsproxy")
            return None
        check_keys(spec)
        check_convert(spec)
        interfaces = tuple(local_addresses())
        listeners = tuple(listener_addresses(given.config))
        exits = tuple(given.config.of(EgressSpec))
        terms = (spec, given.config.settings.guard_public, listeners, interfaces, exits)
        if old is not None and old.terms == terms:
            return old
        try:
            network = given.network

            def listening() -> Iterable[Address]:
                return network.listening()  # set when lbproxy binds its listeners

            judge = configured_judge(given.config, interfaces, listening)
            guard = Guard(judge, ports=spec.guard_ports)
        except ImportError:
            raise ValueError(
                "mode = corsproxy needs the package ada-url (pip install 'lbproxy[guard]')"
            ) from None
        return cls(spec, given, guard, terms)

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`. The gate runs first, so that filters see no key."""
        gate = self._gate
        return phases.before(early=gate.early).after(
            response=gate.response, failed=gate.failed, finish=gate.finish
        )

    def source(self, inner: Source) -> Source:
        """See :class:`Feature`."""
        return self._source

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._gate.counters = self.counters

    def start(self) -> None:
        """See :class:`Feature`."""
        if self.file is not None:
            self.file.start(self, self._wheel)

    def close(self) -> None:
        """See :class:`Feature`."""
        if self.file is not None:
            self.file.close(self)
        self._exits.close()

    # -- what is shown --------------------------------------------------------------------------

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._wheel.wall()

    def usage_of_key(self, record: KeyRecord) -> dict[str, Any]:
        """Return the usage of a key, in all processes."""
        return self._usage(record.name, record.sha256, record.quota)

    def usage_of_origin(self, origin: str) -> dict[str, Any]:
        """Return the usage of an origin, in all processes."""
        return self._usage(origin, origin_subject(origin), origin_quota(self._spec))

    def _usage(self, name: str, subject: str, quota: Quota) -> dict[str, Any]:
        table = self.quotas.usage.table
        found = subject_usage(table, name, subject, quota, self.now())
        running = {**self.quotas.running(), **self._elsewhere}
        return {**found, "running": running.get(subject, 0)}

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return asdict(self.counters)

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`: the running calls, by subject."""
        return self.quotas.running()

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self._elsewhere = total


class WatchedKeys:
    """A file of keys, and the open WebSockets of its keys, which are closed with the keys."""

    def __init__(self, path: str, wheel: Any) -> None:
        self.tunnels: Tunnels = {}
        self._wheel = wheel
        self.file = KeyFile(path, self._looked)

    def _looked(self, ring: KeyRing) -> None:
        now = self._wheel.wall()
        for stream, record in list(self.tunnels.items()):
            if not ring.has(record, now):
                stream.revoked()


class _Shared:
    """The counts shared by all CORS proxies of a process."""

    def __init__(self, given: Given) -> None:
        self.at_once = AtOnce(given.shared, "corsproxy", 0)

    @staticmethod
    def kept(given: Given) -> _Shared:
        return given.keep("corsproxy", "shared", lambda: _Shared(given))


def _usage(spec: Any, given: Given) -> tuple[str, Any]:
    """Return the name of the counts, and the function that creates them."""
    path = usage_path(spec)
    if not path and given.shared.folder:
        path = str(Path(given.shared.folder) / f"cors-{spec.name}")
    name = path or spec.name
    return name, lambda: UsageFile(path, spec.keys)


_COUNTS = tuple(one.name for one in fields(CorsCounters))

CorsProxy.part = AdminPart(
    "corsproxy",
    title="CORS proxies",
    owner_key="frontend",
    fields=dict.fromkeys(_COUNTS, "count"),
    columns=(
        Column("frontend", "Frontend"),
        *(Column(name, name.replace("_", " ").capitalize(), "count") for name in _COUNTS),
    ),
    state="corsproxy",
)
