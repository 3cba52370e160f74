"""What a client has read, on real sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.proxy.features.pacing.taken import taken_bytes
from tests.net.test_conformance_tls import Kit, Session
from tests.net.wire import NETWORKS, Recorder
from tests.support.reactor import eventually, run

pytestmark = pytest.mark.live


@pytest.mark.parametrize("network", NETWORKS)
def test_the_system_says_what_a_client_has_read_over_tls(tmp_path: Path, network: str) -> None:
    """What lbproxy still holds says little: the system takes it in large steps."""
    kit = Kit(tmp_path, NETWORKS["fast"], NETWORKS[network])

    async def scenario(reactor: Any) -> None:
        session = await Session(reactor, kit, Recorder(), Recorder()).open()
        transport = session.far.transport
        before = taken_bytes(transport)
        assert before > 0
        transport.write(b"x" * 20_000)
        await eventually(reactor, lambda: len(session.near.data) == 20_000)
        await eventually(reactor, lambda: taken_bytes(transport) - before >= 20_000)
        transport.loseConnection()
        await session.closed()
        assert taken_bytes(transport) <= 0

    run(scenario)
