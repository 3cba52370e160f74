"""Fixtures of the proxy's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.proxy import bench


@pytest.fixture
def make() -> Iterator[bench.Make]:
    """Makes benches as :func:`tests.proxy.bench.make` does; each is checked at the end."""
    made: list[bench.Bench] = []

    def build(*args: Any, **options: Any) -> bench.Bench:
        one = bench.make(*args, **options)
        made.append(one)
        return one

    yield build
    for one in made:
        one.close()
