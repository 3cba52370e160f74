"""What stays is set aside once, after the last of several changes.

In processes of their own: a collection of all that a run of tests has in memory takes a second.
"""

from __future__ import annotations

import subprocess
import sys

HEAD = """\
import gc
from twisted.internet.task import Clock
from lbproxy.process.gc import SETTLE_AFTER, Freezer
clock = Clock()
freezer = Freezer(clock)
"""


def run(code: str) -> None:
    """Run ``code`` after the lines above in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", HEAD + code], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


def test_objects_are_set_aside_after_a_pause() -> None:
    run("""\
for _ in range(3):
    freezer.changed()
    clock.advance(SETTLE_AFTER / 2)
    assert gc.get_freeze_count() == 0
clock.advance(SETTLE_AFTER)
assert gc.get_freeze_count() > 1000
assert not clock.getDelayedCalls()
""")


def test_what_the_last_configuration_has_left_goes_with_the_next() -> None:
    run("""\
class Cycle:
    def __init__(self):
        self.me = self

def cycles():
    gc.unfreeze()
    return sum(type(one) is Cycle for one in gc.get_objects())

old = Cycle()
freezer.changed()
clock.advance(SETTLE_AFTER)
del old
gc.collect()
assert cycles() == 1
freezer.changed()
clock.advance(SETTLE_AFTER)
assert cycles() == 0
""")
