"""DATA. The switch of a frontend's challenge for operators and alerts, the same in all
processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from lbproxy.sharing.contracts import Replicated

__all__ = ["SETTINGS", "ChallengeSwitch"]

SETTINGS: Final = ("on", "off", "auto")
"""The settings of operators; ``auto`` follows the configuration."""


class ChallengeSwitch:
    """The switch for each frontend name; a reload keeps it.

    ``setting``: one of :data:`SETTINGS`. ``attack``: the alert ``attack`` fires. ``used``: the
    challenge has been active, so browsers may have passes.
    """

    def __init__(self, frontend: str, replicated: Replicated) -> None:
        self.setting = "auto"
        self.attack = False
        self.used = False
        self._topic = f"challenge:{frontend}"
        self._replicated = replicated
        self._watchers: list[Callable[[], None]] = []
        self._end: Callable[[], None] | None = None

    def wants(self, mode: str) -> bool:
        """Return whether traffic with ``mode`` in the configuration is checked now."""
        if self.setting != "auto":
            return self.setting == "on"
        return mode == "on" or (mode == "alert" and self.attack)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed()`` after each change, until :meth:`unwatch`."""
        self._watchers.append(changed)
        if self._end is None:
            self._end = self._replicated.subscribe(self._topic, self._receive, self._whole)

    def unwatch(self, changed: Callable[[], None]) -> None:
        """End :meth:`watch`."""
        self._watchers.remove(changed)
        if not self._watchers and self._end is not None:
            self._end()
            self._end = None

    def set(self, setting: str) -> None:
        """Apply an operator's setting in all processes. Raises ValueError if it is unknown."""
        if setting not in SETTINGS:
            raise ValueError(f"{setting!r} is not one of {', '.join(SETTINGS)}")
        self._publish(setting, self.attack)

    def alarm(self, attack: bool) -> None:
        """Apply the state of the alert in all processes; cheap if nothing has changed."""
        if attack != self.attack:
            self._publish(self.setting, attack)

    def _publish(self, setting: str, attack: bool) -> None:
        used = self.used or setting == "on"
        message = {"setting": setting, "attack": attack, "used": used}
        self._replicated.publish(self._topic, message)

    def _receive(self, message: dict[str, Any]) -> None:
        self.setting, self.attack = message["setting"], message["attack"]
        self.used = message["used"]
        for changed in list(self._watchers):
            changed()

    def _whole(self) -> Iterator[dict[str, Any]]:
        """Yield the message for a process that starts."""
        if self.setting != "auto" or self.attack or self.used:
            yield {"setting": self.setting, "attack": self.attack, "used": self.used}
