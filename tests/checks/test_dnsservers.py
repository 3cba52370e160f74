"""All addresses of a DNS name as servers: grown and shrunk at each look-up, without drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from lbproxy.balance.server import AdminState
from lbproxy.checks.dnsservers import ORIGIN
from lbproxy.config.diff import diff
from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.testing.memory import MemoryReactor
from tests.live.clients import ThreadServer, heads
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.tls import authority, other_authority

TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
resolve_every = 10s
check = tcp every=1s rise=1 fall=1
servers =
    fixed 10.0.0.99:80 backup
    app-{1..3} dns:app.internal:8000 weight=2
"""
NAME = "app.internal"


def servers(lb: Any) -> dict[str, str]:
    """Addresses of the servers that were found, by name."""
    found = lb.backend("app").group.servers.values()
    return {one.name: one.spec.target.address.host for one in found if one.origin != "config"}


def answers(lb: Any, *hosts: str) -> None:
    """What the resolver says from the next look-up on."""
    lb.reactor.resolver.table[NAME] = list(hosts)


@pytest.fixture
def lb() -> Any:
    """A load balancer whose name has two addresses."""
    reactor = MemoryReactor()
    reactor.resolver.table[NAME] = ["10.0.0.1", "10.0.0.2"]
    with LB.from_config(TEXT, reactor=reactor) as made:
        for number in range(1, 6):
            made.origin(f"o{number}", f"10.0.0.{number}:8000", lambda request: b"found")
        made.advance(0.1)
        yield made


def test_servers_come_and_go_with_the_answers(lb: Any) -> None:
    assert servers(lb) == {"app-1": "10.0.0.1", "app-2": "10.0.0.2"}
    first = lb.server("app", "app-1")
    assert first.origin == "discovery:dns" and first.weight == 2
    assert {lb.get("http://h/").server for _ in range(4)} == {"o1", "o2"}
    answers(lb, "10.0.0.1", "10.0.0.3")
    lb.advance(11)
    assert servers(lb) == {"app-1": "10.0.0.1", "app-2": "10.0.0.3"}
    assert lb.server("app", "app-1") is first, "it keeps its state"
    answers(lb, "10.0.0.4", "10.0.0.3", "10.0.0.1", "10.0.0.2")
    lb.advance(11)
    assert servers(lb) == {"app-1": "10.0.0.1", "app-2": "10.0.0.3", "app-3": "10.0.0.2"}
    answers(lb, "10.0.0.3")
    lb.advance(11)
    assert servers(lb) == {"app-2": "10.0.0.3"}
    assert lb.get("http://h/").server == "o3"


def test_no_answer_changes_nothing(lb: Any) -> None:
    before = servers(lb)
    answers(lb)
    lb.advance(30)
    assert servers(lb) == before


def test_they_are_checked_and_they_are_no_drift(lb: Any) -> None:
    lb.advance(3)
    assert lb.server("app", "app-1").state.value == "up"
    assert lb.service.changing.drift() == []
    lb.service.set_weight("app", "app-1", 5)
    assert [one.text for one in lb.service.changing.drift()] == ["app/app-1 weight 2 -> 5"]


def test_a_reload_keeps_them_and_follows_the_line(lb: Any) -> None:
    first = lb.server("app", "app-1")
    assert lb.service.reload(TEXT + "queue = 7\n").ok
    assert lb.server("app", "app-1") is first
    assert lb.service.reload(TEXT.replace("weight=2", "weight=3")).ok
    lb.advance(0.1)
    assert lb.server("app", "app-1").weight == 3
    assert lb.service.reload(TEXT.replace("{1..3}", "{2..3}")).ok
    lb.advance(0.1)
    assert servers(lb) == {"app-2": "10.0.0.2", "app-3": "10.0.0.1"}
    assert lb.service.reload(TEXT.replace("    app-{1..3} dns:app.internal:8000 weight=2\n", "")).ok
    assert servers(lb) == {}
    lb.advance(60)
    assert servers(lb) == {}, "nothing is looked up any more"


def test_a_changed_line_leaves_what_operators_changed(lb: Any) -> None:
    first = lb.server("app", "app-1")
    lb.service.set_admin("app", "app-2", AdminState.MAINT)
    assert lb.service.reload(TEXT.replace("weight=2", "weight=3 send_proxy=v1")).ok
    lb.advance(0.1)
    assert lb.server("app", "app-1") is first
    assert first.weight == 3
    assert first.spec.send_proxy == "v1"
    assert first.origin == ORIGIN
    assert lb.server("app", "app-2").admin is AdminState.MAINT
    assert [one.text for one in lb.service.changing.drift()] == ["app/app-2 ready -> maint"]


def test_changes_end_with_the_server(lb: Any) -> None:
    """The next server of that name is another one."""
    lb.service.set_weight("app", "app-1", 7)
    answers(lb, "10.0.0.2", "10.0.0.3")
    lb.advance(10.1)
    assert servers(lb) == {"app-1": "10.0.0.3", "app-2": "10.0.0.2"}
    assert lb.server("app", "app-1").weight == 2
    assert lb.service.changing.drift() == []


def test_undoing_a_change_keeps_the_server(lb: Any) -> None:
    first = lb.server("app", "app-1")
    lb.service.set_admin("app", "app-1", AdminState.MAINT)
    assert len(lb.service.changing.reset()) == 1
    assert lb.server("app", "app-1") is first
    assert first.admin is AdminState.READY


@pytest.mark.parametrize("address", ["10.0.0.2:8000", "10.0.0.4:8000"])
def test_a_name_that_was_found_becomes_a_line_of_its_own(lb: Any, address: str) -> None:
    line = "app-{1..3} dns:app.internal:8000 weight=2"
    assert lb.service.reload(TEXT.replace(line, f"app-2 {address}")).ok
    lb.advance(20)
    assert servers(lb) == {}
    server = lb.server("app", "app-2")
    assert str(server.spec.target) == address
    assert server.origin == "config"
    assert lb.get("http://h/").status == 200
    assert lb.service.reload(TEXT).ok
    lb.advance(0.1)
    assert servers(lb) == {"app-1": "10.0.0.1", "app-2": "10.0.0.2"}


def test_it_is_read_and_written_and_compared() -> None:
    config = parse_config(TEXT)
    assert parse_config(dump(config)) == config
    assert "discover = app-{1..3} dns:app.internal:8000 weight=2" in dump(config)
    other = parse_config(TEXT.replace("weight=2", "weight=3"))
    assert "discover" in diff(config, other).text()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("app-{08..11}", ("app-08", "app-09", "app-10", "app-11")),
        ("a{0..2}", ("a0", "a1", "a2")),
        ("a{00..1}b", ("a00b", "a01b")),
        ("a{9..10}", ("a9", "a10")),
    ],
)
def test_numbers_keep_their_zeros(names: str, found: tuple[str, ...]) -> None:
    config = parse_config(TEXT.replace("app-{1..3}", names))
    (spec,) = config.backend("app").discover
    assert spec.names == found
    assert parse_config(dump(config)) == config


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("app dns:app.internal:8000", "needs a name for each server"),
        ("app-{1..3} app.internal:8000", "needs the DNS name"),
        ("app-{3..1} dns:app.internal:8000", "at least 1"),
        ("app-{1..100} dns:app.internal:8000", "at most 64"),
        ("app-{1..3} dns:10.0.0.1:8000", "a host name and a port"),
        ("app-{1..3} dns:app.internal", "not an address"),
        (
            "app-{1..3} dns:app.internal:8000 check_address=1.2.3.4:80",
            "'check_address' is for a single server",
        ),
        ("fixe{1..3} dns:app.internal:8000 wight=2", "did you mean 'weight'"),
        ("app-{1..3} dns:app.internal:8000\n    app-2 10.0.0.2:80", "'app-2' is already defined"),
        ("app-{1..3} dns:app.internal:8000 tls certificate=none", "no certificate 'none'"),
    ],
)
def test_mistakes(line: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as error:
        parse_config(TEXT.replace("app-{1..3} dns:app.internal:8000 weight=2", line))
    assert words in str(error.value)


def test_tls_verifies_the_name() -> None:
    text = TEXT.replace("weight=2", "tls")
    (spec,) = parse_config(text).backend("app").discover
    assert spec.server_at("app-1", "10.0.0.1").sni == NAME


def test_a_reload_reads_certificates_again(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(ca))
    text = TEXT.replace("weight=2", f"tls ca={ca}")
    reactor = MemoryReactor()
    reactor.resolver.table[NAME] = ["10.0.0.1"]
    with LB.from_config(text, reactor=reactor) as lb:
        lb.advance(0.1)
        server = lb.server("app", "app-1")
        first = server.tls
        assert lb.service.reload(text).ok
        lb.advance(10.1)
        assert server.tls is first, "nothing has changed"
        other_authority().cert_pem.write_to_path(str(ca))
        assert lb.service.reload(text).ok
        lb.advance(10.1)
        assert lb.server("app", "app-1") is server
        assert server.tls.creator.fingerprint != first.creator.fingerprint
        ca.write_text("nonsense")
        assert "ca.pem" in lb.service.reload(text).summary()
        lb.advance(10.1)
        assert server.tls is not None


@pytest.mark.live
def test_workers_get_them_from_the_master(tmp_path: Path) -> None:
    def serve(sock: Any) -> None:
        for _ in heads(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = ThreadServer(serve)
    port, admin = free_ports(2)
    text = f"""
[lbproxy]
workers = 2
admin = tcp:{admin}:interface=127.0.0.1
[frontend web]
listen = tcp:{port}:interface=127.0.0.1
backend = app
[backend app]
servers = app-{{1..3}} dns:localhost:{server.address.rpartition(":")[2]}
"""
    process = LBProcess(text, tmp_path, ports=(port, admin), forked=True)
    try:

        def served() -> bool:
            try:
                return bool(urlopen(f"http://127.0.0.1:{port}/", timeout=60).status == 200)
            except HTTPError:
                return False  # a 503 until the workers have them

        assert until(lambda: all(served() for _ in range(8)))
        rows = urlopen(f"http://127.0.0.1:{admin}/api/v1/servers", timeout=60).read()
        assert b'"origin":"discovery:dns"' in rows and b"app-1" in rows
    finally:
        process.stop()
