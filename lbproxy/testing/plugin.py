"""CONTROL. The pytest plugin with the fixtures ``lbproxy_factory``, ``lb_factory`` (the same) and
``memory_reactor``.

The entry point ``pytest11`` registers it. It imports nothing of lbproxy until a fixture is used, so
it costs other test runs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lbproxy.testing.fixture import LoadBalancerFixture
    from lbproxy.testing.memory import MemoryReactor

__all__ = ["lb_factory", "lbproxy_factory", "memory_reactor"]


@pytest.fixture
def lbproxy_factory() -> Iterator[Callable[..., LoadBalancerFixture]]:
    """Create load balancers from configuration texts; each is stopped and checked after the test.

    ``lb = lbproxy_factory(text)`` takes the arguments of
    :meth:`lbproxy.testing.LoadBalancerFixture.from_config`.
    """
    from lbproxy.testing.fixture import LoadBalancerFixture

    made: list[LoadBalancerFixture] = []

    def make(text: str, **options: Any) -> LoadBalancerFixture:
        lb = LoadBalancerFixture.from_config(text, **options)
        made.append(lb)
        return lb

    yield make
    for lb in reversed(made):
        lb.close()


@pytest.fixture
def lb_factory(
    lbproxy_factory: Callable[..., LoadBalancerFixture],
) -> Callable[..., LoadBalancerFixture]:
    """A shorter name for :func:`lbproxy_factory`."""
    return lbproxy_factory


@pytest.fixture
def memory_reactor() -> Iterator[MemoryReactor]:
    """An empty :class:`lbproxy.testing.MemoryReactor`, stopped and checked after the test."""
    from lbproxy.testing.memory import MemoryReactor

    reactor = MemoryReactor()
    yield reactor
    reactor.stop()
