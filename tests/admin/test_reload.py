"""Reload through the admin API, and of the admin side itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from lbproxy.service import LoadBalancer
from lbproxy.testing import MemoryReactor
from tests.admin.kit import TEXT, AdminClient, admin


def test_there_is_a_report(tmp_path: Path) -> None:
    from lbproxy.testing import LoadBalancerFixture

    path = tmp_path / "lb.ini"
    path.write_text(TEXT)
    reactor = MemoryReactor()
    service = LoadBalancer.from_config(path, reactor=reactor)
    lb = LoadBalancerFixture(service, reactor)
    client = AdminClient(lb)
    path.write_text(TEXT.replace("weight=3", "weight=4"))
    told = client.ask("POST", "reload?dry_run=true").data
    assert told["ok"] and told["dry_run"]
    assert lb.server("app", "a").weight == 3
    told = client.ask("POST", "reload").data
    assert told["ok"] and not told["dry_run"]
    assert [change["key"] for change in told["changes"]] == ["servers"]
    assert lb.server("app", "a").weight == 4
    said = [event["text"] for event in client.ask("GET", "events").data["items"]]
    assert [text for text in said if "reload" in text] == [
        "reload: made 1 change, kept 0 of 0 sessions",
        "reload, by local",
    ]
    path.write_text(TEXT.replace("weight=3", "weight=many"))
    told = client.ask("POST", "reload").data
    assert not told["ok"] and "weight" in told["errors"][0]
    assert "nothing was changed" in told["text"]
    lb.close()


@pytest.fixture
def client() -> Any:
    with admin() as client:
        yield client


def test_its_addresses_come_and_go(client: Any) -> None:
    service = client.lb.service
    more = TEXT.replace(
        "admin = tcp:8404:interface=127.0.0.1",
        "admin =\n    tcp:8404:interface=127.0.0.1\n    tcp:8405:interface=127.0.0.1",
    )
    door = service.admin.doors[0]
    assert service.reload(more).ok
    assert service.admin.doors[0] is door
    assert AdminClient(client.lb, target="127.0.0.1:8405").ask("GET", "whoami").status == 200
    assert service.reload(TEXT).ok
    assert not client.lb.connect("127.0.0.1:8405").established
    assert client.ask("GET", "whoami").status == 200


def test_the_mode_of_a_socket_is_changed() -> None:
    text = TEXT.replace("tcp:8404:interface=127.0.0.1", "unix:/run/x:mode=600")
    seen: list[int | None] = []
    with admin(text) as client:
        service = client.lb.service
        bound = service.admin.doors[0].bound
        bound.serve = lambda factory, *, mode=None: seen.append(mode)
        assert service.reload(text.replace("600", "660")).ok
        assert service.reload(text.replace("600", "660") + "\n").ok
    assert seen == [0o660, None]


def test_tokens_are_read_again(client: Any, tmp_path: Path) -> None:
    service = client.lb.service
    tokens = tmp_path / "tokens"
    tokens.write_text("write ann 0123456789abcdef-ann\n")
    tokens.chmod(0o600)
    text = TEXT.replace("[lbproxy]", f"[lbproxy]\nadmin_tokens = {tokens}")
    assert service.reload(text).ok
    assert client.ask("GET", "whoami").status == 401
    ann = AdminClient(client.lb, Authorization="Bearer 0123456789abcdef-ann")
    assert ann.ask("GET", "whoami").data["name"] == "ann"
    tokens.write_text("write bob 0123456789abcdef-bob\n")
    assert service.reload(text).ok
    assert ann.ask("GET", "whoami").status == 401
    tokens.write_text("write bob short\n")
    report = service.reload(text)
    assert not report.ok and "tokens" in report.errors[0]


def test_an_address_that_cannot_be_bound(client: Any) -> None:
    service = client.lb.service
    generation = service.generation
    from twisted.internet.protocol import Factory, Protocol

    client.lb.reactor.listenTCP(7777, Factory.forProtocol(Protocol), interface="127.0.0.1")
    text = TEXT.replace("tcp:8404", "tcp:7777")
    assert not service.reload(text).ok
    assert service.generation is generation
    assert client.ask("GET", "whoami").status == 200


def test_switched_on_and_off() -> None:
    from lbproxy.testing import LB

    without = TEXT.replace("admin = tcp:8404:interface=127.0.0.1", "")
    lb = LB.from_config(without)
    assert lb.service.admin is None
    assert lb.service.reload(TEXT).ok
    client = AdminClient(lb)
    assert client.ask("GET", "whoami").status == 200
    assert lb.service.reload(without).ok
    assert not lb.connect("127.0.0.1:8404").established
    assert lb.service.reload(TEXT).ok
    assert AdminClient(lb).ask("GET", "whoami").status == 200
    lb.close()


def test_an_address_is_logged_when_it_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """With workers, that is when all of them serve."""
    logged: list[str] = []

    def observe(event: Any) -> None:
        text = formatEvent(event)
        if "admin is at" in text:
            logged.append(text)

    globalLogPublisher.addObserver(observe)
    with monkeypatch.context() as patch:
        patch.setattr(LoadBalancer, "serving", False)
        with admin() as client:
            client.lb.advance(5)
            assert logged == []
            patch.setattr(LoadBalancer, "serving", True)
            client.lb.advance(0.2)
            assert len(logged) == 1
            report = client.lb.service.reload(TEXT.replace("8404", "8405"))
            assert report.ok and len(logged) == 2 and "8405" in logged[1]
    globalLogPublisher.removeObserver(observe)
