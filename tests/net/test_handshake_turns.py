"""Fresh TLS handshakes wait behind established traffic."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from lbproxy.net import poller as poller_module
from lbproxy.net.poller import Poller
from lbproxy.service import LoadBalancer
from tests.support import tls
from tests.support.reactor import eventually, run

pytestmark = pytest.mark.interpreted


@pytest.mark.parametrize("most", [1, 4])
def test_few_handshakes_take_a_step_in_a_turn(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = tls.write(tls.issue("a.example"), tmp_path)
    turns: list[int] = []
    turn, take = Poller.doRead, Poller.take_handshake

    def counted(self: Poller) -> None:
        turns.append(0)
        turn(self)

    def taken(self: Poller) -> bool:
        allowed = take(self)
        turns[-1] += allowed
        return allowed

    monkeypatch.setattr(poller_module, "HANDSHAKES", most)
    monkeypatch.setattr(Poller, "doRead", counted)
    monkeypatch.setattr(Poller, "take_handshake", taken)

    async def scenario(reactor: Any) -> None:
        service = LoadBalancer.from_config(
            f"[frontend web]\nlisten = tls:0:interface=127.0.0.1 certificates={pem}\n"
            "routes = path / -> reply 200 hi\n",
            reactor=reactor,
        )
        service.startService()
        address: Any = service.listeners[0].address
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        clients = []
        for _ in range(12):
            raw = socket.create_connection(("127.0.0.1", address.port), 60)
            raw.setblocking(False)
            clients.append(SSL.Connection(context, raw))
            clients[-1].set_connect_state()

        def established() -> bool:
            done = [shaken(client) for client in clients]  # each of them goes on
            return all(done)

        await eventually(reactor, established)
        for client in clients:
            client.close()
        await service.stopService()
        close = getattr(service.network, "close", None)
        if close is not None:
            close()

    run(scenario)
    assert max(turns) == most
    assert sum(turns) >= 12


def shaken(client: SSL.Connection) -> bool:
    """Go on with a handshake; return whether it is complete."""
    try:
        client.do_handshake()
    except SSL.WantReadError:
        return False
    return True
