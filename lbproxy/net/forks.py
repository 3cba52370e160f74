"""DATA. Notes forks of this process, for :mod:`lbproxy.net.poller`."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["FORKS", "Forks"]


class Forks:
    """Counts forks of this process, whose children may inherit its descriptors."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        """Note that the process is about to fork."""
        self.count += 1


FORKS: Final = Forks()
os.register_at_fork(before=FORKS.note)
