"""DATA. The lists of a frontend: all ``[list NAME]`` of the configuration.

``allow``, ``deny`` and the condition ``client`` find them in ``lists`` of the frontend. When a
list changes, the connections of clients that are no longer allowed are closed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from twisted.logger import Logger

from lbproxy.config.model import ListName
from lbproxy.errors import Kind, ProxyError
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.listing.source import ListSource
from lbproxy.proxy.features.listing.spec import ListDeclaration, ListSpec

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["Listing"]

_log = Logger()


class Listing(ListDeclaration, Feature["Frontend"]):
    """See the module."""

    name = "lists"
    keys = ("deny",)

    def __init__(self, spec: Any, specs: dict[str, ListSpec], given: Given) -> None:
        self._specs = specs
        self._denied = _denied(spec)
        self._attached = False
        self._owner: Frontend | None = None
        self.sources = {
            name: given.keep("list", name, partial(_source, one, given))
            for name, one in specs.items()
        }
        for name, source in self.sources.items():
            if source.list.loaded:
                continue
            try:
                source.load()
            except ValueError as error:
                if name in self._denied:
                    raise
                _log.warn("{error}; the list has no contents", error=str(error))

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.

        Raises ValueError for a list in ``deny`` or ``deny_peers`` that cannot be read.
        """
        specs = {one.name: one for one in given.config.of(ListSpec)}
        if not specs:
            return None
        if old is not None and old._specs == specs and _denied(spec) <= old._denied:
            return old
        return cls(spec, specs, given)

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        owner.use_lists({name: source.list for name, source in self.sources.items()})
        if self._attached:
            return
        self._attached = True
        for name, source in self.sources.items():
            source.apply(self._specs[name])
            source.acquire()
            source.list.changed.append(self._changed)

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self.attach(owner)

    def close(self) -> None:
        """See :class:`Feature`."""
        if not self._attached:
            return
        self._attached = False
        for source in self.sources.values():
            source.list.changed.remove(self._changed)
            source.release()

    def sample(self) -> dict[str, dict[str, Any]]:
        """See :class:`Feature`: why the last version of each list was rejected."""
        return {"lists": {name: source.error for name, source in self.sources.items()}}

    def _changed(self) -> None:
        """Close the connections of clients that the lists no longer admit."""
        owner = self._owner
        if owner is None or (owner.access.open and owner.peers.open):
            return
        for client in list(owner.clients):
            info = getattr(client, "info", None)
            if info is not None and not owner.still_allows(info):
                client.kill(ProxyError(Kind.DENIED, f"{info.client_ip} is not allowed any more"))


def _denied(spec: Any) -> set[str]:
    """Return the lists that deny clients. Without contents they would admit all clients."""
    return {item.name for item in (*spec.deny, *spec.deny_peers) if isinstance(item, ListName)}


def _source(spec: ListSpec, given: Given) -> ListSource:
    return ListSource(spec, given.network.wheel, given.env.reactor, given.replicated)
