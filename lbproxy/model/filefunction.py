"""PURE. A Python function that a file of the operator defines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

__all__ = ["FileFunction"]


@frozen
class FileFunction:
    """``name``: the function's name in the configuration.

    ``function`` is a different object once its file has changed, so the two are not equal then.
    """

    name: str
    function: Callable[[Any], Any]
