"""A hundred reloads of a real process under load: no request fails, no session ends, nothing is
left behind.
"""

from __future__ import annotations

import socket

import pytest

from tests.live.clients import ThreadServer, connect
from tests.live.test_failover import Load
from tests.support.ports import free_ports
from tests.support.process import until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-reload")]

RELOADS = 100


def site(ports, addresses, round_=0):
    """Each round has other routes, one server more or less, other weights, and a listener that
    comes and goes.
    """
    web, tcp, more = ports
    a, b, echo = addresses
    extra = f"    c {b} weight={round_ % 5}\n" if round_ % 3 == 1 else ""
    also = f"    tcp:{more}:interface=127.0.0.1\n" if round_ % 4 == 2 else ""
    check = "check = http GET /healthz every=200ms fall=5" if round_ % 5 else ""
    balance = ("roundrobin", "leastconn", "p2c")[round_ % 3]
    other = f"[backend other{round_}]\nmode = http\nservers = z {a}\n" if round_ % 2 else ""
    return (
        f"[frontend web]\nlisten =\n    tcp:{web}:interface=127.0.0.1\n{also}"
        f"routes = path /nothing{round_}/* -> reply 404\nbackend = app\n"
        f"filters = set-header response X-Round {round_}\n"
        f"[backend app]\nbalance = {balance}\n{check}\n"
        f"servers =\n    a {a} weight={round_ % 3 + 1}\n    b {b}\n{extra}"
        f"[frontend t]\nmode = tcp\nlisten = tcp:{tcp}:interface=127.0.0.1\nbackend = raw\n"
        f"[backend raw]\nretries = {round_ % 4}\nservers = e {echo}\n{other}"
    )


def echoing(sock):
    """A server's connection."""
    while data := sock.recv(65536):
        sock.sendall(data)


def say(sock):
    sock.sendall(b"hello")
    assert sock.recv(100) == b"hello"


@pytest.fixture
def echo():
    """A TCP server."""
    with ThreadServer(echoing) as server:
        yield server


def test_a_hundred_reloads_under_load(balancer, nginx_pair, echo):
    ports = free_ports(3)
    addresses = [*(origin.address for origin in nginx_pair), f"127.0.0.1:{echo.port}"]
    lb = balancer(site(ports, addresses), settings="timeout_drain = 1s", ports=ports[:2])
    head = lb.process.config.read_text().partition("[frontend")[0]
    session = connect(ports[1])
    say(session)

    def reload(round_):
        done = lb.output().count("reload: ")
        lb.process.rewrite(head + site(ports, addresses, round_))
        lb.process.child.send_signal(1)
        lb.wait_output("reload: ", done + 1)

    with Load(ports[0], clients=3) as load:
        for round_ in range(1, 11):
            reload(round_)
        load.more(50)
        assert until(lambda: lb.process.descriptors() < 60)
        descriptors, memory = lb.process.descriptors(), lb.process.rss_bytes()
        for round_ in range(11, RELOADS + 1):
            reload(round_)
            if round_ % 10 == 0:
                load.more(20)
                say(session)
        load.more(50)
    assert not load.errors
    assert set(load.statuses) == {200}
    say(session)
    session.close()
    assert "nothing was changed" not in lb.output()
    assert lb.output().count("reload: made") == RELOADS
    assert until(lambda: lb.process.descriptors() <= descriptors)
    assert lb.process.rss_bytes() < memory + 8_000_000
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", ports[2]), 1):
        pass  # the last round has no such listener
