"""The methods of a load balancer that are named after a feature, for programs that embed it.

:class:`FeatureMethods` is a base of :class:`lbproxy.runtime.Runtime`.  Other code reaches features
by :meth:`~lbproxy.inventory.Inventory.feature`, ``operate`` and the contract
(:mod:`lbproxy.proxy.feature`); no module but this one has a method for a single feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from lbproxy.features import kind_of
from lbproxy.inventory import Inventory

if TYPE_CHECKING:
    from lbproxy.balance.stickytable import StickyEntry
    from lbproxy.proxy.features.caching.cache import Cache
    from lbproxy.proxy.features.mirror import Mirror, MirrorDifference
    from lbproxy.proxy.features.rebalancer import Rebalance, Rebalancer

__all__ = ["EVERYWHERE", "FeatureMethods"]

EVERYWHERE: Final = ("rebalance", "clear_sticky")
"""Methods that worker processes run too."""


class FeatureMethods(Inventory):
    """See the module."""

    @property
    def caches(self) -> Mapping[str, Cache[Any]]:
        """The caches that routes use, by name."""
        return self.together(kind_of("cache"))

    def rebalance(self, backend: str) -> Rebalance:
        """Begin to move long-lived sessions to where there is room, as after a change of servers,
        and say how many.

        KeyError; ValueError for a backend without ``rebalance``. See ``docs/rebalancing.rst``.
        """
        return cast("Rebalancer", self.feature("backend", backend, "rebalance")).run()

    def mirror_differences(self, backend: str) -> list[MirrorDifference]:
        """The last requests whose copy was answered differently, the oldest first.  KeyError."""
        mirror = cast("Mirror | None", self.backends[backend].features.get("mirror"))
        return [] if mirror is None else list(mirror.last)

    def sticky_entries(self, backend: str, limit: int = 1000) -> list[StickyEntry]:
        """Return which client belongs to which server, the most recent first. Raises KeyError.

        Empty for a backend without ``sticky``, or whose ``sticky`` has no table.
        """
        sticky = self.backends[backend].sticky
        return [] if sticky is None else list(sticky.entries(limit))

    def clear_sticky(self, backend: str, name: str = "") -> int:
        """Forget who belongs to a server, or ("") everybody; how many table entries that were.

        KeyError.

        Cookies that clients hold stay good: put the server in maint to void them.
        """
        owner = self.backends[backend]
        if name:
            owner.group.servers[name]  # KeyError
        sticky = owner.sticky
        return 0 if sticky is None or sticky.table is None else sticky.table.clear(name)
