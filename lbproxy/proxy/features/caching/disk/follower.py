"""DATA. The interface of what follows the contents of a folder."""

from __future__ import annotations

from typing import Protocol

from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.disk.entries import Place

__all__ = ["FolderFollower"]


class FolderFollower(Protocol):
    """An object that keeps part of the folder's contents in memory."""

    def gone(self, place: Place) -> None:
        """``place`` is no longer stored."""

    def purged(self, purge: Purge, soft: bool) -> None:
        """A purge is in effect from now on; places that it names are still listed."""

    def reset(self) -> None:
        """The contents are lost, and purges may have been missed."""
