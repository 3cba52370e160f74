"""Which tests go to the same pytest-xdist worker: those of a group, or of a file that starts real
servers.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadGroupScheduling

__all__ = ["Groups"]

_SERVERS = re.compile(r"tests/(?:live/test_\w+|support/test_servers)\.py")


class Groups(LoadGroupScheduling):
    """As ``--dist loadgroup``; files with real servers are groups of their own, the soak one for
    each transport.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope = str(super()._split_scope(nodeid))
        found = _SERVERS.search(nodeid)
        if scope != nodeid or found is None:
            return scope
        return nodeid.partition("::")[2] if "test_soak" in nodeid else found[0]
