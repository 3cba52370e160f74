"""CONTROL. Warnings of features about valid settings that are probably mistakes."""

from __future__ import annotations

from lbproxy.features import declarations
from lbproxy.model import Config

__all__ = ["feature_warnings"]


def feature_warnings(config: Config) -> list[str]:
    """Return the warnings of all features."""
    return [text for one in declarations().values() for text in one.warnings(config)]
