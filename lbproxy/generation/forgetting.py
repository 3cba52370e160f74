"""CONTROL. Warnings about state that a restart forgets because ``[lbproxy] state`` is not set."""

from __future__ import annotations

from lbproxy.model import Config
from lbproxy.proxy.features.banning.spec import BanSpec

__all__ = ["forgotten"]


def forgotten(config: Config) -> list[str]:
    """Return a warning if there are bans and no file that keeps them."""
    if config.settings.state or not config.of(BanSpec):
        return []
    return ["lbproxy: without 'state' a restart forgets all bans"]
