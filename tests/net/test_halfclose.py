"""The table of half-close, without a socket: every state, every event, and every history of both
ends.
"""

from __future__ import annotations

from itertools import product

import pytest

from lbproxy.net.halfclose import (
    END,
    ENDED,
    ENDING,
    FLUSHED,
    OPEN,
    OVER,
    PEER_END,
    PEER_ENDED,
    PEER_ENDED_ENDING,
    after,
    ending,
    peer_ended,
    sends,
)

STATES = (OPEN, PEER_ENDED, ENDING, PEER_ENDED_ENDING, ENDED, OVER)
EVENTS = (PEER_END, END, FLUSHED)


class Model:
    """The same in three booleans."""

    def __init__(self) -> None:
        self.peer_ended = self.asked = self.sent = False

    def take(self, event: int) -> None:
        if event == PEER_END:
            self.peer_ended = True
        elif event == END:
            self.asked = True
        elif self.asked:
            self.sent = True


@pytest.mark.parametrize("history", list(product(EVENTS, repeat=5)))
def test_every_history(history: tuple[int, ...]) -> None:
    state, model = OPEN, Model()
    for event in history:
        state = after(state, event)
        model.take(event)
        assert peer_ended(state) == model.peer_ended
        assert ending(state) == model.asked
        assert sends(state) == (not model.sent)
        assert (state == OVER) == (model.peer_ended and model.sent)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_nothing_opens_again_and_repeating_changes_nothing(state: int, event: int) -> None:
    then = after(state, event)
    assert then in STATES
    assert peer_ended(then) >= peer_ended(state)
    assert ending(then) >= ending(state)
    assert sends(then) <= sends(state)
    assert after(then, event) == then


@pytest.mark.parametrize(
    ("state", "facts"),
    [
        (OPEN, (False, False, True)),
        (PEER_ENDED, (True, False, True)),
        (ENDING, (False, True, True)),
        (PEER_ENDED_ENDING, (True, True, True)),
        (ENDED, (False, True, False)),
        (OVER, (True, True, False)),
    ],
)
def test_facts(state: int, facts: tuple[bool, bool, bool]) -> None:
    assert (peer_ended(state), ending(state), sends(state)) == facts
