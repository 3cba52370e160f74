"""``bans``: who is banned, how long, and what banned clients get, on the virtual clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.net import silence
from lbproxy.net.stock import StockNetwork
from lbproxy.operate.journal import journal_path
from lbproxy.proxy.features.banning.feature import Banning
from lbproxy.registry import parse_config
from lbproxy.service import LoadBalancer
from lbproxy.sharing.local import LocalReplicated, LocalShared
from lbproxy.testing import LB

CLIENT = "203.0.113.9"
PROXY = "198.51.100.7"


def web(ban: str = "", frontend: str = "", listen: str = "tcp:80", more: str = "") -> str:
    return f"""
[lbproxy]
{more}
[list office]
addresses = 192.0.2.0/24
[ban rude]
after = 3/1m
{ban}
[frontend web]
listen = {listen}
bans = rude
{frontend}
routes =
    path /ok -> reply 200 ok
    path /login -> reply 401 login
    path /broken -> reply 500 broken
    default -> reply 404 none
"""


def ask(lb: Any, path: str = "/none", *headers: str, client: str = CLIENT, via: Any = None) -> Any:
    """One more request, of a new client or on the connection ``via``."""
    via = via or lb.connect("web", client=client)
    via.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode())
    return via


def status(client: Any) -> int:
    return int(client.received[9:12] or 0)


def seconds_of_ban(lb: Any, **of: Any) -> int:
    """Offend until banned, and wait until that is over; how long it took."""
    for _ in range(3):
        ask(lb, **of)
    passed = 0
    while status(ask(lb, "/ok", **of)) != 200:
        lb.advance(10)
        passed += 10
        assert passed < 100_000
    return passed


def test_each_ban_is_twice_as_long_until_the_client_stays_good() -> None:
    with LB.from_config(web("time = 1m..5m")) as lb:
        assert [seconds_of_ban(lb) for _ in range(4)] == [60, 120, 240, 300]
        lb.advance(301)
        assert seconds_of_ban(lb) == 60


def test_attempts_while_banned_do_not_lengthen_it() -> None:
    with LB.from_config(web("action = reject")) as lb:
        for _ in range(3):
            ask(lb)
        for _ in range(5):
            lb.advance(10)
            assert status(ask(lb)) == 403
        lb.advance(10.1)
        assert status(ask(lb, "/ok")) == 200
        assert status(ask(lb)) == 404


def test_offences_are_those_of_a_time() -> None:
    with LB.from_config(web()) as lb:
        for _ in range(6):
            assert status(ask(lb)) == 404
            lb.advance(40)


@pytest.mark.parametrize(
    ("on", "path", "headers", "banned"),
    [
        ("4xx", "/none", (), True),
        ("4xx", "/broken", (), False),
        ("errors", "/broken", (), True),
        ("4xx", "/login", (), False),
        ("4xx", "/login", ("Authorization: Basic eDp5",), True),
        ("glitches", "/none", (), False),
        ("glitches", "/none", ("Content-Length: x",), True),
        ("handshakes", "/none", ("Content-Length: x",), False),
        ("glitches handshakes", "/none", ("Transfer-Encoding: x",), True),
    ],
)
def test_what_counts(on: str, path: str, headers: tuple[str, ...], banned: bool) -> None:
    with LB.from_config(web(f"on = {on}")) as lb:
        for _ in range(4):
            ask(lb, path, *headers)
        assert status(ask(lb, "/ok")) == (0 if banned else 200)


def test_too_many_requests_are_no_offence() -> None:
    text = web(frontend="limits = few") + "[limit few]\nrate = 1/1h\n"
    with LB.from_config(text) as lb:
        found = [ask(lb, "/ok") for _ in range(6)]
        assert [status(one) for one in found] == [200] + [429] * 5


def test_close_ends_the_connections_that_are_open() -> None:
    with LB.from_config(web()) as lb:
        idle, other = ask(lb, "/ok"), ask(lb, "/ok", client="203.0.113.10")
        for _ in range(3):
            last = ask(lb)
        assert status(last) == 404
        lb.advance(0.1)
        assert idle.finished and last.finished and not other.finished
        assert lb.connect("web").finished
        counts = lb.service.frontend("web").counts["bans"]
        assert (counts.bans, counts.ban_refused) == (1, 1)


def test_many_bans_cost_few_passes_over_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood from many addresses bans many; each ban must not look at all connections."""
    passes: list[int] = []
    end = Banning._end

    def counted(self: Any, owner: Any, keys: set[int], now: bool) -> None:
        passes.append(len(keys))
        end(self, owner, keys, now)

    monkeypatch.setattr(Banning, "_end", counted)
    with LB.from_config(web()) as lb:
        book = lb.service.frontend("web").features["bans"].books["rude"]
        other = lb.connect("web", client="198.51.100.1")
        for number in range(500):
            book.ban(f"10.0.{number >> 8}.{number & 255}", "test")
            if number % 100 == 0:
                lb.advance(0.01)
        book.ban("198.51.100.1", "test")
        lb.advance(2)
        assert other.finished
        assert sum(passes) == 2 * 501 and len(passes) <= 6


def test_reject_and_tarpit_answer() -> None:
    with LB.from_config(web("action = reject")) as lb:
        client = lb.connect("web")
        for _ in range(4):
            ask(lb, via=client)
        assert client.received.count(b"HTTP/1.1 404") == 3
        assert client.received.count(b"HTTP/1.1 403") == 1
        assert not client.finished
    with LB.from_config(web("action = tarpit 5s")) as lb:
        for _ in range(3):
            ask(lb)
        held = ask(lb, "/ok")
        lb.advance(4.9)
        assert status(held) == 0
        lb.advance(0.2)
        assert status(held) == 403


def test_the_client_behind_a_proxy_is_banned_and_not_the_proxy() -> None:
    with LB.from_config(web(frontend=f"trusted_proxies = {PROXY}")) as lb:
        proxy = lb.connect("web", client=PROXY)
        for _ in range(3):
            ask(lb, "/none", "X-Forwarded-For: 203.0.113.50", via=proxy)
        ask(lb, "/ok", "X-Forwarded-For: 203.0.113.50", via=proxy)
        ask(lb, "/ok", "X-Forwarded-For: 203.0.113.51", via=proxy)
        lb.advance(5)
        assert not proxy.finished
        codes = [int(part[:3]) for part in proxy.received.split(b"HTTP/1.1 ")[1:]]
        assert codes == [404, 404, 404, 403, 200]
        for _ in range(9):  # bad heads of a proxy are nobody's
            bad = lb.connect("web", client=PROXY)
            bad.send(b"nonsense\r\n\r\n")
        assert status(ask(lb, "/ok", client=PROXY)) == 200
        assert lb.connect("web", client="203.0.113.50").finished, "the ban is that of the client"


def test_a_proxy_that_announces_clients() -> None:
    listen = f"tcp:80 accept_proxy={PROXY}"
    with LB.from_config(web("on = 4xx glitches", listen=listen)) as lb:

        def announced(ip: str, path: str) -> Any:
            client = lb.connect("web", client=PROXY)
            client.send(f"PROXY TCP4 {ip} 10.0.0.9 1000 80\r\n".encode())
            return ask(lb, path, via=client)

        for _ in range(3):
            announced(CLIENT, "/none")
        assert announced(CLIENT, "/ok").finished
        assert status(announced("203.0.113.77", "/ok")) == 200
        for _ in range(5):
            lb.connect("web", client=PROXY).send(b"GET / HTTP/1.1\r\n\r\n")
        assert status(announced("203.0.113.77", "/ok")) == 200


@pytest.mark.parametrize("keys", ["bans = rude", "deny = 203.0.113.0/24", "limits = none-more"])
def test_a_client_that_a_proxy_announces_is_judged_before_its_first_bytes(keys: str) -> None:
    text = f"""
[ban rude]
[limit none-more]
rate = 1/1h
unit = connections
[frontend web]
mode = tcp
listen = tcp:443 accept_proxy={PROXY}
maxconn = 1
{keys}
routes = sni a.example -> app
[backend app]
servers = a 10.0.0.1:80
"""
    with LB.from_config(text) as lb:
        frontend = lb.service.frontend("web")
        if "bans" in keys:
            frontend.features["bans"].books["rude"].ban(CLIENT, "rude")

        def announce(ip: str) -> Any:
            found = lb.connect("web", client=PROXY)
            found.send(f"PROXY TCP4 {ip} 10.0.0.9 5000 443\r\n".encode())
            return found

        first = announce(CLIENT)
        if "limits" in keys:
            assert not first.finished and frontend.limits.active == 1
            assert frontend.limits.from_address(CLIENT) == 1
            first.close()
            first = announce(CLIENT)
        assert first.finished
        other = announce("192.0.2.1")
        assert not other.finished and frontend.limits.active == 1
        assert announce("192.0.2.2").finished is False and other.finished, "it made room"
        assert frontend.limits.active == 1
        lb.advance(60)
        assert frontend.limits.active == 0


def test_an_ipv6_client_is_its_prefix() -> None:
    with LB.from_config(web(listen="tcp:80:interface=\\:\\:")) as lb:
        for number in range(3):
            ask(lb, client=f"2001:db8::{number}")
        assert ask(lb, "/ok", client="2001:db8::ffff:1").finished
        assert status(ask(lb, "/ok", client="2001:db8:0:1::1")) == 200


def test_exceptions_are_not_counted() -> None:
    with LB.from_config(web("except = list:office 203.0.113.9")) as lb:
        for client in (CLIENT, "192.0.2.5"):
            found = [ask(lb, client=client) for _ in range(5)]
            assert {status(one) for one in found} == {404}
        lb.service.frontend("web").features["bans"].ban("rude", CLIENT, "by hand")
        assert status(ask(lb)) == 404


def test_a_limit_bans() -> None:
    text = web(frontend="limits = few if path /ok") + (
        "[limit few]\nrate = 2/1m\naction = ban flood\n[ban flood]\ntime = 10m\naction = reject\n"
    )
    with LB.from_config(text) as lb:
        found = [status(ask(lb, "/ok")) for _ in range(4)]
        assert found == [200, 200, 429, 403]
        assert status(ask(lb)) == 403, "everywhere at this frontend"
        lb.advance(601)
        assert status(ask(lb, "/ok")) == 200
        assert lb.service.frontend("web").counts["bans"].bans == 1


def test_a_limit_of_connections_bans() -> None:
    text = web(frontend="limits = few") + (
        "[limit few]\nrate = 3/1m\nunit = connections\naction = ban flood\n"
        "[ban flood]\ntime = 10m\n"
    )
    with LB.from_config(text) as lb:
        found = [lb.connect("web") for _ in range(5)]
        assert [one.finished for one in found[3:]] == [True, True]
        lb.advance(300)
        assert lb.connect("web").finished


def test_a_tcp_frontend() -> None:
    text = """
[ban rude]
after = 2/1m
on = handshakes
[frontend db]
mode = tcp
listen = tcp:5432
bans = rude
backend = pg
[backend pg]
servers = a 10.0.0.1:80
"""
    with LB.from_config(text) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        client = lb.connect("db")
        client.send(b"x")
        assert client.received == b"x"
        lb.service.frontend("db").features["bans"].ban("rude", CLIENT, "by hand")
        lb.advance(1.1)
        assert client.finished, "a session that runs is ended"
        assert lb.connect("db").finished


def test_drop_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    with LB.from_config(web("action = drop")) as lb:
        for _ in range(3):
            ask(lb)
        lb.advance(0.1)
        client = lb.connect("web")
        assert client.finished and client.received == b""
    monkeypatch.setattr(silence, "TCP_REPAIR", 9999)
    assert not silence.may_repair()


def test_two_processes_share_offences_and_bans() -> None:
    """The counts lie in shared memory, and a ban goes to all by a message."""
    shared, heard = LocalShared(), []

    class Both(LocalReplicated):
        def publish(self, topic: str, message: Any) -> None:
            heard.append((topic, json.loads(json.dumps(message))))
            super().publish(topic, message)

    text = web("time = 1m..4m")
    with LB.from_config(text, shared=shared, replicated=Both(lambda: 0.0)) as one:
        ask(one)
        ask(one)
        with LB.from_config(text, shared=shared) as other:
            ask(other)
            assert other.connect("web").finished
            assert not one.connect("web").finished
            book = other.service.frontend("web").features["bans"].books["rude"]
            for message in book._whole():
                one.service._ground.replicated.publish("bans:rude", message)
        assert one.connect("web").finished
        assert heard


def test_bans_survive_a_reload_and_another_section() -> None:
    with LB.from_config(web()) as lb:
        for _ in range(3):
            ask(lb)
        assert lb.service.reload(web("action = reject\ntime = 2m..1h")).ok
        assert status(ask(lb, "/ok")) == 403
        assert lb.service.reload(web("except = 203.0.113.0/24")).ok
        assert status(ask(lb, "/ok")) == 200


def test_bans_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    text = web("time = 1m..1h", more=f"state = {state}")
    with LB.from_config(text) as lb:
        for _ in range(3):
            ask(lb)
        lb.advance(0.3)
        file = Path(journal_path(str(state)))
        assert file.exists(), "written at once, not at the end"
        kept = file.read_bytes()
        lifted = lb.service.frontend("web").features["bans"].books["rude"]
        lifted.lift(CLIENT)
    with LB.from_config(text) as lb:
        assert status(ask(lb, "/ok")) == 200, "what was lifted is over"
    file.write_bytes(kept + b'{"topic": "bans:rude", "mess')  # as kill -9 leaves it
    with LB.from_config(text) as lb:
        assert ask(lb, "/ok").finished
        lb.advance(61)
        assert seconds_of_ban(lb) == 120, "with its history"


def test_a_successor_takes_over_the_bans() -> None:
    with LB.from_config(web()) as lb:
        for _ in range(3):
            ask(lb)
        known = json.loads(json.dumps(lb.service.known()))
        with LB.from_config(web()) as other:
            other.service.inherit(type("None", (), {"take": lambda self, _: None})(), known)
            assert other.connect("web").finished


def test_a_successor_hears_of_bans_made_while_it_starts(tmp_path: Path) -> None:
    """And it leaves the file alone until the other process writes no more."""
    text = web(more=f"state = {tmp_path}/state")
    file = Path(journal_path(f"{tmp_path}/state"))
    sockets: Any = type("None", (), {"take": lambda *_: None})()
    with LB.from_config(text) as lb:
        book = lb.service.frontend("web").features["bans"].books["rude"]
        book.ban("203.0.113.1", "early")
        lb.advance(0.3)
        lb.service.note_kept()
        known = json.loads(json.dumps(lb.service.known()))
        with LB.from_config(web()) as other:
            reactor = other.reactor
        service = LoadBalancer.from_config(text, reactor=reactor, network=StockNetwork(reactor))
        service.inherit(sockets, known)
        with LB(service, reactor) as other:
            book.ban(CLIENT, "meanwhile")
            book.lift("203.0.113.1")
            lb.advance(0.3)
            other.advance(0.3)
            assert b"meanwhile" in file.read_bytes()
            kept = lb.service.noted()
            assert lb.service.noted() == []
            lb.service.hand_over()
            service.complete([], json.loads(json.dumps(kept)))
            other.advance(0.3)
            assert other.connect("web").finished
            found = file.read_bytes()
            assert b"meanwhile" in found and b"203.0.113.1" not in found
            book.ban("203.0.113.2", "too late")
            lb.advance(1)
            assert file.read_bytes() == found


def test_why_finds_connections_and_sessions() -> None:
    text = """
[limit few]
rate = 1/1h
[ban rude]
time = 1m
[frontend db]
mode = tcp
listen = tcp:5432
access_log = a.log json
limits = few
bans = rude
backend = pg
[backend pg]
servers = a 10.0.0.1:80
"""
    with LB.from_config(text) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        assert [lb.connect("db").finished for _ in range(2)] == [False, True]
        ended = lb.service.frontend("db").refusals.ended
        assert [one["close"] for one in ended] == ["rate_limited"]
        assert ended[0]["request_id"] == json.loads(lb.log_lines("a.log")[-1])["request_id"] != ""
        lb.service.frontend("db").ban_judge.ban("rude", "203.0.113.50", "by hand")
        assert lb.connect("db", client="203.0.113.50").finished
        assert (ended[1]["close"], ended[1]["status"]) == ("banned", 0)
        feature = lb.service.frontend("db").features["refusals"]
        records = feature.take_records()
        assert len(records) == 2 and not ended
        feature.add_records(records)
        assert len(ended) == 2


def test_why_a_client_is_refused() -> None:
    text = web("action = reject", frontend="access_log = a.log json")
    with LB.from_config(text) as lb:
        for _ in range(4):
            ask(lb)
        record = json.loads(lb.log_lines("a.log")[-1])
        assert (record["status"], record["close"]) == (403, "banned")
        assert record["detail"].startswith("ban rude until 1970-01-01T00:01:00Z: 3 offences")
        last = lb.service.frontend("web").refusals.last[-1]
        assert last["close"] == "banned" and last["request_id"]


@pytest.mark.parametrize(
    ("ban", "frontend", "words"),
    [
        (
            "on = 5xx",
            "",
            "'5xx' cannot be counted: 4xx, errors, glitches, handshakes or track:NAME",
        ),
        ("time = 5m..1m", "", "the first time is longer than the last"),
        ("time = soon", "", "soon"),
        ("action = kill", "", "'kill' is not an action: close, reject, tarpit [T] or drop"),
        ("except = list:none", "", "there is no list 'none'"),
        ("on = track:none", "", "there is no track 'none'"),
        ("", "limits = few", "there is no limit 'few'"),
    ],
)
def test_mistakes(ban: str, frontend: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(web(ban, frontend))
    assert words in str(caught.value)


def test_mistakes_that_the_frontend_finds() -> None:
    for text, words in (
        (web().replace("bans = rude", "bans = rdue"), "there is no [ban rdue]"),
        (
            "[ban one]\nafter = 3/1m\n[frontend f]\nmode = tcp\nlisten = tcp:1\nbans = one\n"
            "backend = b\n[backend b]\nservers = a 10.0.0.1:1\n",
            "ban one: 'on = 4xx' needs mode = http",
        ),
    ):
        with pytest.raises(ConfigErrors) as caught:
            LB.from_config(text)
        assert words in str(caught.value)


def test_words_are_written_back_and_a_restart_is_warned_of(tmp_path: Path) -> None:
    text = web("on = errors glitches\ntime = 1m..2h\nexcept = list:office\naction = tarpit 3s")
    config = parse_config(text)
    assert parse_config(dump(config)) == config
    assert "except = list:office" in dump(config)
    with LB.from_config(text) as lb:
        assert "lbproxy: without 'state' a restart loses all bans" in lb.service.warnings()
    with LB.from_config(web(more=f"state = {tmp_path}/state")) as lb:
        assert not lb.service.warnings()


def test_bad_heads_are_errors_of_a_limit() -> None:
    text = web(frontend="limits = wrong") + "[limit wrong]\nrate = 2/1m\nunit = errors\n"
    text = text.replace("after = 3/1m", "after = 90/1m")
    with LB.from_config(text) as lb:
        for _ in range(2):
            bad = lb.connect("web")
            bad.send(b"nonsense\r\n\r\n")
            assert status(bad) == 400
        assert status(ask(lb, "/ok")) == 429
