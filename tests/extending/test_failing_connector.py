"""Connectors whose methods raise: other attempts continue, and nothing is left behind."""

from __future__ import annotations

import pytest

from tests.extending.badconnector import connector
from tests.extending.twoservers import start

CALLS = [
    ("take", 502), ("dial", 502), ("open_stream", 502), ("send_request", 500), ("send_body", 502),
    ("close", 200), ("cancel", 0), ("clear", 0), ("pause_response", 0), ("resume_response", 0),
]  # fmt: skip


@pytest.mark.parametrize("error", [OverflowError, SystemExit, RecursionError, MemoryError])
@pytest.mark.parametrize(("method", "status"), CALLS)
def test_a_connector(method: str, status: int, error: type[BaseException]) -> None:
    lb = start("retries = 0\ntimeout_connect = 1s")
    made = connector(method, error)
    backend = lb.backend("app")
    backend.use_connectors(made)
    if method == "cancel":
        lb.reactor.blackhole("10.0.0.1:80")
        lb.reactor.blackhole("10.0.0.2:80")
    client = lb.connect("web")
    if method.endswith("_response"):
        client.pause()
        for name in "ab":
            lb.origins[name].handler = bytes(500_000)
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
    client.send(b"dy")
    client.resume()
    if method == "cancel":
        client.abort()
    lb.advance(2)
    if method == "send_request":
        assert client.received[9:12] in (b"500", b"502")
    elif status:
        assert client.received[9:12] == b"%d" % status
    backend.group.set_health(backend.group.servers["b"], False, "down")
    client.close()
    lb.advance(70)
    assert [one.active for one in backend.group.servers.values()] == [0, 0]
    assert not any(one.sessions for one in backend.group.servers.values())
    lb.close()
