"""The recipes of docs/protection.rst do what the page says, on the virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.testing import LB

from ..support.mmdb import write_mmdb
from .pages import DOCS, blocks

CLIENT = "203.0.113.9"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(word: str) -> str:
    """The first configuration of the page that has ``word``."""
    found = [one.text for one in blocks(DOCS / "protection.rst", "ini") if word in one.text]
    assert found, word
    return found[0]


class Site:
    """A recipe that runs, with an origin for each of its servers."""

    def __init__(self, word: str, handler: Any = b"ok") -> None:
        self.lb = LB.from_config(recipe(word)).__enter__()
        for backend in self.lb.service.config.backends:
            for server in backend.servers:
                if backend.mode == "http" and str(server.target) not in self.lb.origins:
                    self.lb.origin(str(server.target), str(server.target), handler)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.lb.__exit__(*exc)

    def begin(self, path: str = "/", *lines: str, client: str = CLIENT, method: str = "GET") -> Any:
        made = self.lb.connect("web", client=client)
        head = [f"{method} {path} HTTP/1.1", "Host: h", *lines, "", ""]
        made.send("\r\n".join(head).encode())
        return made

    def ask(self, path: str = "/", *lines: str, client: str = CLIENT, method: str = "GET") -> int:
        """The status of a response; 0 without one."""
        return int(self.begin(path, *lines, client=client, method=method).received[9:12] or 0)


def test_lists() -> None:
    with Site("[list office]") as site:
        assert site.ask("/admin/x", client="10.0.0.7") == 200
        assert site.ask("/admin/x") == 403
        assert site.ask("/x") == 200
        assert site.lb.connect("web", client="192.0.2.7").finished


def test_countries(folder: Path) -> None:
    pytest.importorskip("maxminddb")
    germany: dict[str, Any] = {"203.0.113.0/24": {"country": {"iso_code": "DE"}}}
    write_mmdb(folder / "GeoLite2-Country.mmdb", germany)
    network = {"198.51.100.0/24": {"autonomous_system_number": 64500}}
    write_mmdb(folder / "GeoLite2-ASN.mmdb", network)
    with Site("geoip =") as site:
        assert site.ask("/admin/x") == 200
        assert site.ask("/admin/x", client="198.51.100.1") == 403
        assert site.ask("/x", client="198.51.100.1") == 200
        assert len(site.lb.origins["10.0.0.12:8000"].requests) == 1  # type: ignore[union-attr]


def test_limits() -> None:
    with Site("[limit per-client]") as site:
        assert [site.ask() for _ in range(51)] == [200] * 50 + [429]
        assert site.ask("/healthz") == 200
        site.lb.advance(60)
        waiting = [site.begin("/login") for _ in range(6)]
        assert [one.received[9:12] for one in waiting] == [b"200"] * 5 + [b""]
        site.lb.advance(13)
        assert waiting[-1].received[9:12] == b"200"


def test_keys() -> None:
    with Site("[limit per-key]") as site:
        found = []
        for _ in range(11):
            client = site.lb.connect("api")
            client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
            found.append(client.received[9:12])
        assert found == [b"200"] * 10 + [b"429"]


def test_units() -> None:
    with Site("[limit guesses]", 404) as site:
        assert [site.ask() for _ in range(11)] == [404] * 10 + [429]
        site.lb.tcp_origin("db1", "10.0.0.21:5432", "echo")
        sessions = [site.lb.connect("db") for _ in range(11)]
        assert [one.finished for one in sessions] == [False] * 10 + [True]


def test_bans() -> None:
    with Site("[ban rude]", 404) as site:
        assert [site.ask() for _ in range(31)] == [404] * 30 + [0]
        assert [site.ask(client="192.0.2.9") for _ in range(40)] == [404] * 40
        site.lb.advance(61)
        assert site.ask() == 404
        found = [site.ask("/login", client="203.0.113.77") for _ in range(7)]
        assert found == [404] * 5 + [429, 403]
    assert Path("lbproxy.state.journal").stat().st_size


def test_tracks() -> None:
    with Site("[track bad]", 404) as site:
        assert [site.ask() for _ in range(12)] == [404] * 11 + [403]
        for _ in range(21):
            site.ask("/login", client="203.0.113.77")
        assert [site.ask(client="203.0.113.77") for _ in range(2)] in ([403, 429], [429, 429])
