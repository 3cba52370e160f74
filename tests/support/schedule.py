"""Which tests go to the same pytest-xdist worker, and in which order.

A file is one unit of work: its imports and module fixtures are paid for once, and xdist, whose
cost per test grows with the number of units, has some hundred of them instead of one per test.
Files that start real servers come first, because they take longest: short files at the end let all
workers finish together.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from xdist.scheduler import LoadGroupScheduling

__all__ = ["Groups", "scope_of", "scope_order"]

_SERVERS = re.compile(r"tests/(?:live/test_\w+|support/test_servers)\.py")


class Groups(LoadGroupScheduling):
    """Like ``--dist loadgroup``, with files for groups where a test names none."""

    def _split_scope(self, nodeid: str) -> str:
        scope = str(super()._split_scope(nodeid))
        return scope if scope != nodeid else scope_of(nodeid)

    def schedule(self) -> None:
        """Distribute the tests; the first time, put the units in order as well.

        A worker that replaces another one gets two units, as at the beginning: a worker does not
        run a test before it has the next one, or knows that there is none.
        """
        begin = self.collection is None
        super().schedule()
        if not begin:
            super().schedule()
        if begin:
            for scope in sorted(self.workqueue, key=scope_order):
                self.workqueue.move_to_end(scope)

    def _assign_work_unit(self, node: Any) -> None:
        """Give ``node`` the next unit, also if it has just ended, which is known later: then
        :meth:`remove_node` returns the unit to the queue.
        """
        with suppress(OSError):
            super()._assign_work_unit(node)

    def remove_node(self, node: Any) -> str | None:
        """Return the test in which a worker has ended.

        xdist would run it again on the next worker, and end that one too, until it gives up.
        """
        workload = self.assigned_work[node]
        pending = [
            (scope, nodeid)
            for scope, unit in workload.items()
            for nodeid, complete in unit.items()
            if not complete
        ]
        if not pending:
            super().remove_node(node)
            return None
        scope, ended = pending[0]
        workload[scope][ended] = True
        for done in [scope for scope, unit in workload.items() if all(unit.values())]:
            del workload[done]
        super().remove_node(node)
        return ended


def scope_of(nodeid: str) -> str:
    """Return the file of a test; for the soak test, the test: there is one for each transport."""
    path, _, name = nodeid.partition("::")
    return name if path.endswith("/test_soak.py") else path


def scope_order(scope: str) -> bool:
    """Sort key of a unit: named groups and files with real servers come first."""
    return "/" in scope and _SERVERS.match(scope) is None
