"""``[list NAME]`` in ``allow``, ``deny`` and conditions, and lists that change in use."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lbproxy.alerts.sampling import AlertSampler
from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.proxy.features.listing import reading
from lbproxy.proxy.features.listing.reading import read_source
from lbproxy.proxy.features.listing.spec import ListSpec
from lbproxy.registry import parse_config
from lbproxy.testing import LB

CLIENT = "203.0.113.9"
TEXT = """
[list one]
{list}
[frontend web]
listen = tcp:80
{frontend}
routes =
    path /office client list:one -> reply 200 office
    default -> reply 404 none
"""


def web(contents: str, frontend: str = "") -> str:
    return TEXT.format(list=contents, frontend=frontend)


def ask(lb: Any, path: str = "/office", *headers: str) -> Any:
    client = lb.connect("web")
    client.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode())
    return client


def status(client: Any) -> int:
    return int(client.received[9:12] or 0)


def rewrite(path: Path, text: str) -> None:
    """Another version, with another time."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_conditions_and_keys() -> None:
    with LB.from_config(web(f"addresses = {CLIENT}")) as lb:
        assert status(ask(lb)) == 200
    with LB.from_config(web("addresses = 10.0.0.0/8")) as lb:
        assert status(ask(lb)) == 404
    for frontend, admitted in (
        ("deny = list:one", False),
        ("allow = list:one", True),
        ("allow_peers = list:one", True),
        ("allow = list:one\ndeny = 203.0.113.0/24", False),
    ):
        with LB.from_config(web(f"addresses = {CLIENT}", frontend)) as lb:
            assert (status(ask(lb)) == 200) is admitted, frontend
    with LB.from_config(web("addresses = 10.0.0.1", "allow = list:one")) as lb:
        assert status(ask(lb)) == 0
        assert lb.service.reload(web("addresses = 10.0.0.1", "allow = list:one 203.0.113.9")).ok
        assert status(ask(lb)) == 404


def test_a_file_is_read_again_and_a_bad_version_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("10.0.0.0/8\n")
    with LB.from_config(web(f"file = {path}\nrefresh = 5s", "deny = list:one")) as lb:
        kept = ask(lb, "/")
        assert status(kept) == 404
        rewrite(path, f"10.0.0.0/8\n{CLIENT} # rude\n")
        lb.advance(4)
        assert status(ask(lb)) == 404
        lb.advance(1.2)
        assert status(ask(lb)) == 0 and (kept.closed or kept.finished)
        for bad in ("", "# nothing\n", "<html>busy</html>\n"):
            rewrite(path, bad)
            lb.advance(5.1)
            assert status(ask(lb)) == 0, "the last good version stays"
        source = lb.service.frontend("web").features["lists"].sources["one"]
        assert "<html>" in source.error
        path.unlink()
        lb.advance(5.1)
        assert status(ask(lb)) == 0 and "No such file" in source.error
        path.write_text("10.0.0.1\n")
        lb.advance(5.1)
        assert status(ask(lb)) == 404 and source.error == ""


def test_an_empty_version_can_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{CLIENT}\n")
    text = web(f"file = {path}\nrefresh = 5s\nempty = yes", "allow = list:one")
    with LB.from_config(text) as lb:
        assert status(ask(lb)) == 200
        rewrite(path, "")
        lb.advance(5.1)
        assert status(ask(lb)) == 0, "an empty list in allow admits nobody"


def test_a_list_that_cannot_be_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("junk\n")
    with pytest.raises(ConfigErrors, match=r"deny.*list one: line 1: 'junk'"):
        LB.from_config(web(f"file = {path}", "deny = list:one"))
    with LB.from_config(web(f"file = {path}\nrefresh = 5s", "allow = list:one")) as lb:
        assert status(ask(lb)) == 0
        rewrite(path, f"{CLIENT}\n")
        lb.advance(5.1)
        assert status(ask(lb)) == 200


def test_an_emptied_file_is_not_used_beside_addresses(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"\ufeff{CLIENT}\n", encoding="utf-8")
    text = web(f"file = {path}\naddresses = 10.0.0.1\nrefresh = 5s", "deny = list:one")
    with LB.from_config(text) as lb:
        assert status(ask(lb)) == 0, "a byte order mark is no part of the first line"
        rewrite(path, "")
        lb.advance(5.1)
        assert status(ask(lb)) == 0
        source = lb.service.frontend("web").features["lists"].sources["one"]
        assert "empty" in source.error


def test_deny_with_a_list_that_was_never_read(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("junk\n")
    with pytest.raises(ConfigErrors, match="list one: line 1"):
        LB.from_config(web(f"file = {path}", "deny_peers = list:one"))
    with LB.from_config(web(f"file = {path}", "allow = 203.0.113.0/24")) as lb:
        for key in ("deny", "deny_peers"):
            done = lb.service.reload(web(f"file = {path}", f"{key} = list:one"))
            assert not done.ok and "list one: line 1" in str(done)
        path.write_text(CLIENT)
        assert lb.service.reload(web(f"file = {path}", "deny = list:one")).ok
        assert status(ask(lb)) == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 40\r\n\r\n10.0.0.0/2", "30 bytes too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n10.0.0.0/2", "Incomplete"),
        (b"junk\r\n\r\n", "BadStatusLine"),
    ],
)
def test_half_of_a_url_is_not_used(answer: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection = server.accept()[0]
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        spec = ListSpec(name="one", url=f"http://127.0.0.1:{server.getsockname()[1]}/")
        with pytest.raises(ValueError, match=words):
            read_source(spec)
        thread.join()


def test_a_url_that_drips_does_not_hold_traffic_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WAITED_FOR", (5.0, 0.0))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection = server.accept()[0]
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n10.0.0.1\n")
                connection.recv(4096)  # until the other end has left

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(ConfigErrors, match="longer than 0 seconds"):
            LB.from_config(web(f"url = {url}", "deny = list:one"))
        thread.join()


def test_operators_change_a_list() -> None:
    with LB.from_config(web("addresses = 10.0.0.1", "deny = list:one")) as lb:
        source = lb.service.frontend("web").features["lists"].sources["one"]
        kept = ask(lb)
        source.edit("add", "203.0.113.0/24")
        lb.advance(0.1)
        assert kept.closed or kept.finished
        assert status(ask(lb)) == 0
        source.edit("remove", CLIENT)
        source.edit("add", "192.0.2.1-192.0.2.9")
        assert "192.0.2.5" in source.list
        with pytest.raises(ValueError, match="neither"):
            source.edit("add", "example.com")
        assert lb.service.reload(web("addresses = 10.0.0.2", "deny = list:one")).ok
        lb.advance(0.1)
        again = lb.service.frontend("web").features["lists"].sources["one"]
        assert again is source and "10.0.0.2" in source.list and "203.0.113.1" in source.list
        assert lb.service.reload(
            "[frontend web]\nlisten = tcp:80\nroutes = default -> reply 200 x"
        ).ok
        assert status(ask(lb)) == 200


@pytest.mark.parametrize("listen", ["tcp:80", "tcp:80 accept_proxy=198.51.100.7"])
def test_a_connection_that_has_not_said_its_first_bytes_is_closed_too(listen: str) -> None:
    text = f"""
[list one]
addresses = 10.0.0.1
[frontend web]
mode = tcp
listen = {listen}
deny = list:one 198.51.100.0/24
routes = sni a.example -> app
[backend app]
servers = a 10.0.0.1:80
"""
    with LB.from_config(text) as lb:
        peer = "198.51.100.7" if "proxy" in listen else CLIENT
        client, silent = lb.connect("web", client=peer), lb.connect("web", client=peer)
        if "proxy" in listen:
            client.send(f"PROXY TCP4 {CLIENT} 10.0.0.9 5000 80\r\n".encode())
        lb.service.frontend("web").features["lists"].sources["one"].edit("add", CLIENT)
        lb.advance(0.1)
        assert client.finished
        assert silent.finished is ("proxy" not in listen), "nobody knows whose it is"


def test_changes_of_operators_survive_a_restart(tmp_path: Path) -> None:
    text = web("addresses = 192.0.2.1") + f"[lbproxy]\nstate = {tmp_path}/state\n"
    with LB.from_config(text) as lb:
        sources = lb.service.frontend("web").features["lists"].sources
        sources["one"].edit("add", CLIENT)
        sources["one"].edit("add", "192.0.2.7")
        sources["one"].edit("remove", "192.0.2.7")
    with LB.from_config(text) as lb:
        assert status(ask(lb)) == 200
        found = lb.service.frontend("web").features["lists"].sources["one"].list
        assert list(found.added) == [CLIENT] and "192.0.2.7" not in found


def test_many_changes_are_taken_over_at_once() -> None:
    """A process that begins, or missed messages, gets all of them in one, and none too many."""
    with LB.from_config(web("addresses = 192.0.2.1")) as lb:
        source = lb.service.frontend("web").features["lists"].sources["one"]
        assert list(source._edits()) == [], "nobody has changed anything"
        every = [f"10.{at >> 8}.{at & 255}.1" for at in range(5000)]
        source._edited({"add": ["203.0.113.1"]})
        begun = time.process_time()
        source._edited({"whole": True, "add": every, "remove": ["192.0.2.1"]})
        for at in range(500):  # as a journal gives them, one by one
            source._edited({"add": [f"172.16.{at >> 8}.{at & 255}"]})
        assert "10.7.7.1" in source.list and "192.0.2.1" not in source.list
        assert time.process_time() - begun < 2
        assert "203.0.113.1" not in source.list, "it was taken out while nobody told"
        for address in list(source.list.added):
            source.list.added.pop(address)
        source._edited({"add": ["192.0.2.1"]})
        source._edited({"remove": ["192.0.2.1"]})
        assert list(source._edits()) == [{"whole": True}, {"remove": ["192.0.2.1"]}]


def test_a_list_that_cannot_be_read_any_more_is_seen_by_alerts(tmp_path: Path) -> None:
    file = tmp_path / "bad.txt"
    file.write_text("192.0.2.1\n")
    with LB.from_config(web(f"file = {file}", "deny = list:one")) as lb:
        source = lb.service.frontend("web").features["lists"].sources["one"]
        sampler = AlertSampler(lb.service, lambda: 0.0)
        assert sampler.sample(0.0).lists == {"one": ""}
        file.unlink()
        source._look()
        assert sampler.sample(1.0).lists == {"one": "No such file or directory"}
        assert "192.0.2.1" in source.list, "the last good version"


def test_clients_behind_a_proxy_are_judged_by_their_requests() -> None:
    text = web("addresses = 192.0.2.1", "deny = list:one\ntrusted_proxies = 203.0.113.0/24")
    with LB.from_config(text) as lb:
        assert status(ask(lb, "/", "X-Forwarded-For: 192.0.2.1")) == 403
        assert status(ask(lb, "/", "X-Forwarded-For: 192.0.2.2")) == 404


def test_explain_knows_the_lists() -> None:
    config = parse_config(web("addresses = 192.0.2.1", "deny = 192.0.2.9"))
    assert "200" in explain_http(config, "GET", "http://h/office", [], "192.0.2.1").action
    assert "404" in explain_http(config, "GET", "http://h/office", [], "192.0.2.2").action
    denied = parse_config(web("addresses = 192.0.2.1", "deny = list:one"))
    assert "denied" in explain_http(denied, "GET", "http://h/", [], "192.0.2.1").error


def test_words_and_mistakes(tmp_path: Path) -> None:
    config = parse_config(web("addresses = 10.0.0.0/8", "allow = list:one 10.0.0.1"))
    assert parse_config(dump(config)) == config
    for contents, frontend, words in (
        ("", "", "neither file, url nor addresses"),
        ("file = /nonexistent/x", "", "no such file"),
        ("url = ftp://h/x", "", "not an http:// or https:// address"),
        ("addresses = 10.0.0.1", "deny = list:on", "no list 'on'.*did you mean 'one'"),
    ):
        with pytest.raises(ConfigErrors, match=words):
            parse_config(web(contents, frontend))
    with pytest.raises(ConfigErrors, match="no list 'two'"):
        parse_config(web("addresses = 10.0.0.1").replace("client list:one", "client list:two"))
