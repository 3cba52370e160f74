"""DATA. The place where a cache keeps its responses, in one process and in several."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from attrs import frozen

from lbproxy.proxy.features.caching.spec import CacheSpec

__all__ = ["Placement"]


@frozen
class Placement:
    """``processes``: number of processes that serve the cache. ``shared``: their folder in memory.

    Several processes keep the responses of a cache without ``disk`` in a folder below ``shared``,
    which gets half of ``memory``. The processes divide the other half.
    """

    processes: int = 1
    shared: str = ""

    @property
    def alone(self) -> bool:
        """True if no other process uses the cache."""
        return self.processes == 1

    def memory(self, spec: CacheSpec) -> int:
        """Return the bytes of memory of one process."""
        size = spec.memory_size if spec.disk is not None or self.alone else spec.memory_size // 2
        return max(size // self.processes, 64 * 1024)

    def folder(self, spec: CacheSpec) -> tuple[Path | None, int]:
        """Return the folder, None without one, and its size limit in bytes."""
        if spec.disk is not None:
            return Path(spec.disk.folder), spec.disk.size
        if self.alone or not self.shared:
            return None, 0
        name = blake2b(spec.name.encode(), digest_size=8).hexdigest()
        return Path(self.shared) / name, spec.memory_size // 2
