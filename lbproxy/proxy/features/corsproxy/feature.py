"""CONTROL. The feature behind ``mode = corsproxy``."""

from __future__ import annotations

from typing import Any, Self

from lbproxy.guard import Guard
from lbproxy.guard.configured import configured_judge, listener_addresses
from lbproxy.http.filter import Phases
from lbproxy.net.interfaces import local_addresses
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.corsproxy.gate import Gate
from lbproxy.proxy.features.corsproxy.heads import FetchRules
from lbproxy.proxy.features.corsproxy.keyfile import KeyFile
from lbproxy.proxy.features.corsproxy.source import CorsSource
from lbproxy.proxy.features.corsproxy.spec import CorsDeclaration, check_keys, written_keys
from lbproxy.proxy.features.corsproxy.targets import Targets
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.http.source import Source

__all__ = ["CorsProxy"]


class CorsProxy(CorsDeclaration, Feature[Frontend]):
    """The gate and the source of one frontend.

    ``terms``: all that it depends on; a reload that changes none of it keeps the object.
    """

    name = "corsproxy"
    keys = ("mode",)
    answers = True

    def __init__(self, spec: Any, given: Given, guard: Guard, terms: tuple[Any, ...]) -> None:
        self.terms = terms
        self._keys = KeyFile(spec.keys) if spec.keys else None
        self._gate = Gate(spec, guard, self._keys)
        self._wheel = given.network.wheel
        self._targets = Targets(
            f"frontend {spec.name}", given.network.dialler, spec.target_ca, spec.timeout_total
        )
        self._source = CorsSource(given.env.reactor, guard, self._targets, FetchRules.of(spec))

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.  ValueError for keys that do not fit."""
        if spec.mode != "corsproxy":
            if wrong := written_keys(spec):
                raise ValueError(f"{wrong[0]} is for mode = corsproxy")
            return None
        check_keys(spec)
        interfaces = tuple(local_addresses())
        listeners = tuple(listener_addresses(given.config))
        terms = (spec, given.config.settings.guard_public, listeners, interfaces)
        if old is not None and old.terms == terms:
            return old
        try:
            guard = Guard(configured_judge(given.config, interfaces), ports=spec.guard_ports)
        except ImportError:
            raise ValueError(
                "mode = corsproxy needs the package ada-url (pip install 'lbproxy[guard]')"
            ) from None
        return cls(spec, given, guard, terms)

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`.  The gate is the first: filters see no key."""
        return phases.before(early=self._gate.early).after(failed=self._gate.failed)

    def source(self, inner: Source) -> Source:
        """See :class:`Feature`."""
        return self._source

    def start(self) -> None:
        """See :class:`Feature`."""
        if self._keys is not None:
            self._keys.start(self._wheel)

    def close(self) -> None:
        """See :class:`Feature`."""
        if self._keys is not None:
            self._keys.close()
        self._targets.close()
