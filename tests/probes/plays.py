"""Servers as plays: a generator that says how many bytes it waits for, and writes in between.

``len(data) == size`` after ``data = yield size``; ``yield None`` waits for whatever comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from lbproxy.tls.parameters import TLSParameters
from tests.probes.world import Script, Scripted, World
from tests.support import tls

__all__ = ["Line", "Peer", "Play", "client_tls", "listening", "play", "server_tls"]

Line = Generator[Any, bytes, None]
Play = Callable[["Peer"], Line]


class Peer:
    """The connection that a play is about; ``chunk``: write in pieces of so many bytes, one each
    millisecond.
    """

    def __init__(self, client: Scripted, lines: Callable[[Peer], Line], chunk: int = 0) -> None:
        self.client = client
        self.chunk = chunk
        self.at = 0
        self.later = 0.0
        self.over = False
        self.lines = lines(self)
        self.wants: Any = next(self.lines, "over")

    def write(self, data: bytes) -> None:
        if not self.chunk:
            self.client.write(data)
            return
        for start in range(0, len(data), self.chunk):
            self.later += 0.001
            reactor = self.client.world.reactor
            reactor.callLater(self.later, self.client.write, data[start : start + self.chunk])

    def close(self) -> None:
        self.client.close()

    def start_tls(self, creator: Any) -> None:
        """After this nothing more is read in the clear."""
        world = self.client.world
        old = self.client
        received, self.at = old.data[self.at :], len(old.data)

        def secured(info: Any) -> Scripted:
            self.client = Scripted(world)
            self.client.peer = self  # type: ignore[attr-defined]
            self.at = 0
            return self.client

        parameters = TLSParameters(creator, server_side=True)
        world.network.dialler.start_tls(
            old.transport,
            parameters,
            secured,
            lambda error: old.connectionLost(),
            timeout=5,
            received=received,
        )

    def go_on(self) -> None:
        while self.wants != "over":
            data = self.client.data[self.at :]
            size = (len(data) or 1) if self.wants is None else self.wants
            if len(data) < size:
                return
            self.at += size
            try:
                self.wants = self.lines.send(data[:size])
            except StopIteration:
                self.wants = "over"


def play(lines: Play, chunk: int = 0) -> Script:
    """A script for :class:`World`."""

    def script(client: Scripted) -> None:
        peer = getattr(client, "peer", None)
        if peer is None:
            peer = client.peer = Peer(client, lines, chunk)  # type: ignore[attr-defined]
        peer.go_on()

    return script


def listening(lines: Play, chunk: int = 0) -> World:
    """A world whose server plays ``lines``."""
    world = World(play(lines, chunk))
    world.listen()
    return world


def server_tls(
    folder: Path, name: str = "db.test", *, trusted: bool = True
) -> ServerContextFactory:
    """The server's side."""
    return ServerContextFactory([tls.pair(folder, name, trusted=trusted)])


def client_tls(folder: Path, name: str = "db.test") -> TLSParameters:
    """What a check gets."""
    creator = ClientContextFactory(name, ca=tls.ca_file(folder))
    return TLSParameters(creator, server_side=False)
