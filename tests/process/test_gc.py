"""What stays is set aside once, after the last of several changes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from lbproxy.process.gc import SETTLE_AFTER, Freezer


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    gc.unfreeze()  # what earlier tests, and their collection, have set aside
    yield
    gc.collect()
    gc.freeze()  # again: later tests collect often


def test_objects_are_set_aside_after_a_pause() -> None:
    clock = Clock()
    freezer = Freezer(clock)
    for _ in range(3):
        freezer.changed()
        clock.advance(SETTLE_AFTER / 2)
        assert gc.get_freeze_count() == 0
    clock.advance(SETTLE_AFTER)
    assert gc.get_freeze_count() > 1000
    assert not clock.getDelayedCalls()


def test_what_the_last_configuration_has_left_goes_with_the_next() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    clock = Clock()
    freezer = Freezer(clock)
    old = Cycle()
    freezer.changed()
    clock.advance(SETTLE_AFTER)
    del old
    gc.collect()
    assert any(type(one) is Cycle for one in _everything())
    freezer.changed()
    clock.advance(SETTLE_AFTER)
    gc.unfreeze()
    assert not any(type(one) is Cycle for one in _everything())


def _everything() -> list[object]:
    gc.unfreeze()
    return gc.get_objects()
