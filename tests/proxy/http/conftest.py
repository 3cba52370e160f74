"""Fixtures of the HTTP tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbproxy.proxy.http import serverstate
from lbproxy.proxy.http.clientlink import ClientLink
from lbproxy.proxy.http.clientstate import NAMES, NEXT
from lbproxy.proxy.http.server import H1ServerConnection


@pytest.fixture(autouse=True)
def client_steps(
    monkeypatch: pytest.MonkeyPatch, interpreted: bool
) -> Iterator[list[tuple[str, str]]]:
    """The steps from state to state of all client connections of the test.

    Each must be in the table.  Methods of compiled classes cannot be replaced, so there is nothing
    to see of those.
    """
    steps: list[tuple[str, str]] = []
    wrong: list[tuple[str, str]] = []
    enter = ClientLink._enter

    def watched(connection: ClientLink, state: int) -> None:
        step = (NAMES[connection._state], NAMES[state])
        steps.append(step)
        if state not in NEXT[connection._state]:
            wrong.append(step)
        enter(connection, state)

    if interpreted:
        monkeypatch.setattr(ClientLink, "_enter", watched)
    yield steps
    assert wrong == []


@pytest.fixture(autouse=True)
def server_steps(
    monkeypatch: pytest.MonkeyPatch, interpreted: bool
) -> Iterator[list[tuple[str, str]]]:
    """The same of all connections to servers."""
    steps: list[tuple[str, str]] = []
    wrong: list[tuple[str, str]] = []
    enter = H1ServerConnection._enter

    def watched(connection: H1ServerConnection, state: int) -> None:
        step = (serverstate.NAMES[connection._state], serverstate.NAMES[state])
        steps.append(step)
        if state not in serverstate.NEXT[connection._state]:
            wrong.append(step)
        enter(connection, state)

    if interpreted:
        monkeypatch.setattr(H1ServerConnection, "_enter", watched)
    yield steps
    assert wrong == []
