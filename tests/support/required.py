"""What a test needs of the machine.

A test without it is skipped on somebody's machine, and fails where ``LBPROXY_REQUIRE_LIVE=1``.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.support.process import find_binary

__all__ = ["missing", "program"]


def missing(reason: str) -> NoReturn:
    """Skip the test, or let it fail where everything has to be installed."""
    if os.environ.get("LBPROXY_REQUIRE_LIVE") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str) -> str:
    """Return the path of an installed program, which the test needs."""
    path = find_binary(name)
    return path if path is not None else missing(f"{name} is not installed")
