"""DATA. Combines the hooks of filters with those of features."""

from __future__ import annotations

from typing import Any

from lbproxy.http.filter import Phases
from lbproxy.proxy.feature import FeatureSet
from lbproxy.proxy.guarding import report

__all__ = ["surround"]


def surround(phases: Phases, features: FeatureSet) -> Phases:
    """``phases`` with the hooks of ``features``, the last one outermost.

    A feature that raises instead may be one that protects: its requests fail, they do not pass.
    """
    for one in features.values():
        try:
            phases = one.around(phases)
        except BaseException as error:
            report(one.around, error)
            phases = phases.before(request=_MissingHooks(one.name).request)
    return phases


class _MissingHooks:
    """Fails every request, in place of hooks that could not be had."""

    def __init__(self, feature: str) -> None:
        self._feature = feature

    def request(self, traffic: Any) -> None:
        """See :class:`lbproxy.interfaces.IFilter`."""
        raise RuntimeError(f"{self._feature} has no hooks")
