"""Filters that do what the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.http.filter import Filter

__all__ = ["Forgiving", "Strict", "script", "seen"]

script: dict[str, Callable[[Any], Any]] = {}
"""Phase to what is to be done in it; the test's."""

seen: list[str] = []
"""Phases in the order they ran."""


class Strict(Filter):
    """Every phase."""

    name = "strict"
    modes = frozenset({"tcp"})

    def _do(self, phase: str, traffic: Any) -> Any:
        seen.append(phase)
        action = script.get(phase)
        return action(traffic) if action is not None else None

    def early(self, traffic: Any) -> Any:
        return self._do("early", traffic)

    def request(self, traffic: Any) -> Any:
        return self._do("request", traffic)

    def server_request(self, traffic: Any) -> Any:
        return self._do("server_request", traffic)

    def response(self, traffic: Any) -> Any:
        return self._do("response", traffic)

    def finish(self, traffic: Any) -> None:
        self._do("finish", traffic)


class Forgiving(Strict):
    """The same, and its failures are no reason to stop."""

    name = "forgiving"
    fail_open = True
