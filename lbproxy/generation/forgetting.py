"""CONTROL. Warnings about state that a restart forgets because ``[lbproxy] state`` is not set."""

from __future__ import annotations

from lbproxy.features import declarations
from lbproxy.model import Config

__all__ = ["forgotten"]


def forgotten(config: Config) -> list[str]:
    """Return a warning for each kind of state that features lose because no file keeps it."""
    if config.settings.state:
        return []
    found = (one.loses_at_restart(config) for one in declarations().values())
    return [f"lbproxy: without 'state' a restart loses {what}" for what in found if what]
