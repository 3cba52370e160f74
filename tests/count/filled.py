"""A filter file that fills each memory store of the process: ``filters = filled.py:Filled``.

A frontend without traffic names the filter, and the frontend that is counted runs nothing of it.
"""

from __future__ import annotations

import os
from typing import Any

from lbproxy.http.filter import Filter
from lbproxy.proxy.features.caching.store import ResponseStore
from tests.count.filling import fill

__all__ = ["OBJECTS", "VARIABLE", "Filled"]

VARIABLE = "COUNT_OBJECTS"
"""Name of the environment variable with the number of responses."""

OBJECTS = 100_000
"""Responses without it."""


class Filled(Filter):
    """Does nothing; the file that defines it does."""

    name = "filled"


def _filling(begin: Any) -> Any:
    def begin_filled(self: ResponseStore, *arguments: Any) -> None:
        begin(self, *arguments)
        fill(self.memory, int(os.environ.get(VARIABLE, OBJECTS)))

    return begin_filled


ResponseStore.__init__ = _filling(ResponseStore.__init__)  # type: ignore[method-assign]
