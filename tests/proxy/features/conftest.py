"""Fixtures of the tests of features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.keyedcors import KeyedCors


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[KeyedCors]:
    """Start CORS proxies with an API key."""
    cors = KeyedCors(tmp_path / "keys.json")
    yield cors
    cors.close()
