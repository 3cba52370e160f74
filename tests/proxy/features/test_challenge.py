"""``challenge``: who is checked, answers, crawlers, switches; on the virtual clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.errors import Kind
from lbproxy.proxy.features.challenge import crawling
from lbproxy.proxy.features.challenge.crawling import AT_ONCE, Crawlers
from lbproxy.registry import parse_config
from lbproxy.testing import LB, LoadBalancerFixture
from tests.support.proof import read_challenge, solve

TEXT = """
{top}
[frontend web]
listen =
    tcp:80
access_log = mem.log json
challenge_bits = 6
{keys}
routes =
    {routes}
[backend app]
servers = a 10.0.0.1:80
"""
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
GOOGLE = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}

Make = Callable[..., LoadBalancerFixture]


def text(keys: str = "challenge = on", routes: str = "default -> app", top: str = "") -> str:
    return TEXT.format(keys=keys, routes=routes, top=top)


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a load balancer with these keys and routes."""
    made: list[LoadBalancerFixture] = []

    def start(*words: str, **options: str) -> LoadBalancerFixture:
        lb = LB.from_config(text(*words, **options))
        lb.origin("a", "10.0.0.1:80", lambda request: b"from the server")
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def feature(lb: LoadBalancerFixture) -> Any:
    return lb.service.frontend("web").features["challenge"]


def counts(lb: LoadBalancerFixture) -> tuple[int, ...]:
    found = lb.service.frontend("web").counts["challenge"]
    return (
        found.challenge_pages,
        found.challenge_refused,
        found.challenge_solved,
        found.challenge_wrong,
        found.challenge_crawlers,
    )


def post(lb: LoadBalancerFixture, path: str, body: str, **options: Any) -> Any:
    return lb.request("POST", f"http://h{path}", body=body.encode(), **options)


def pass_of(lb: LoadBalancerFixture, **options: Any) -> str:
    """Solve the page; returns the cookie."""
    page = lb.get("http://h/x", headers=HTML, **options)
    assert page.status == 403
    token, bits, path = read_challenge(page.body)
    reply = post(lb, path, f"token={token}&answer={solve(token, bits)}", **options)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("Cache-Control") == "no-store"
    return str(reply.header("Set-Cookie")).partition(";")[0]


def test_a_browser_solves_the_page_and_its_pass_does_not_reach_the_server(make: Make) -> None:
    lb = make()
    cookie = pass_of(lb)
    response = lb.get("http://h/x", headers={"Cookie": f"a=1; {cookie}; b=2"})
    assert (response.status, response.body) == (200, b"from the server")
    assert counts(lb) == (1, 0, 1, 0, 0)
    origin = lb.service.frontend("web")
    assert origin.counters.closes[Kind.CHALLENGED] == 1


def test_the_server_gets_the_other_cookies_as_they_were(make: Make) -> None:
    seen: list[Any] = []
    lb = LB.from_config(text())
    lb.origin("a", "10.0.0.1:80", lambda request: seen.append(request.header("Cookie")) or b"ok")
    with lb:
        cookie = pass_of(lb)
        lb.get("http://h/x", headers={"Cookie": f"a=1; {cookie}; b=2"})
        lb.get("http://h/x", headers={"Cookie": cookie})
    assert seen == ["a=1; b=2", ""]


def test_a_page_is_for_gets_that_take_html_and_others_get_a_text(make: Make) -> None:
    lb = make()
    page = lb.get("http://h/x", headers=HTML)
    assert (page.status, page.header("Content-Type")) == (403, "text/html; charset=utf-8")
    assert page.header("Cache-Control") == "no-store" and not page.header("Location")
    assert str(page.header("Content-Security-Policy")).startswith("default-src 'none'")
    for method, headers in (("GET", {}), ("GET", {"Accept": "*/*"}), ("POST", HTML)):
        refused = lb.request(method, "http://h/x", headers=headers)
        assert (refused.status, refused.header("Cache-Control")) == (403, "no-store")
        assert refused.header("Content-Type") == "text/plain; charset=utf-8"
        assert b"browser with JavaScript" in refused.body and b"<" not in refused.body
        record = json.loads(lb.log_lines()[-1])
        assert record["close"] == "challenged" and record["request_id"] in refused.body.decode()
    head = lb.request("HEAD", "http://h/x", headers=HTML)
    assert (head.status, head.body) == (403, b"")
    assert counts(lb) == (1, 4, 0, 0, 0)


def test_a_refusal_can_be_looked_up(make: Make) -> None:
    lb = make()
    page = lb.get("http://h/x", headers=HTML)
    (found,) = lb.service.frontend("web").features["refusals"].last
    assert found["request_id"] == page.header("X-Request-Id")
    assert (found["close"], found["detail"]) == ("challenged", "no pass")


def test_parallel_tabs_each_answer_their_own_token(make: Make) -> None:
    lb = make()
    pages = [read_challenge(lb.get("http://h/x", headers=HTML).body) for _ in range(3)]
    assert len({token for token, _, _ in pages}) == 3
    for token, bits, path in reversed(pages):
        assert post(lb, path, f"answer={solve(token, bits)}&token={token}").status == 204


def test_a_pass_belongs_to_a_prefix_and_ends(make: Make) -> None:
    lb = make("challenge = on\nchallenge_time = 10m")
    cookie = {"Cookie": pass_of(lb, client="192.0.2.1")}
    assert lb.get("http://h/", headers=cookie, client="192.0.2.1").status == 200
    assert lb.get("http://h/", headers=cookie, client="192.0.2.2").status == 403
    lb.advance(599)
    assert lb.get("http://h/", headers=cookie, client="192.0.2.1").status == 200
    lb.advance(2)
    assert lb.get("http://h/", headers=cookie, client="192.0.2.1").status == 403


def test_addresses_of_one_64_share_a_pass(make: Make) -> None:
    lb = make()
    cookie = {"Cookie": pass_of(lb, client="2001:db8::1")}
    assert lb.get("http://h/", headers=cookie, client="2001:db8::ffff:2").status == 200
    assert lb.get("http://h/", headers=cookie, client="2001:db8:0:1::1").status == 403


def test_an_answer_that_is_sent_again_gives_no_longer_pass(make: Make) -> None:
    lb = make("challenge = on\nchallenge_time = 10m")
    token, bits, path = read_challenge(lb.get("http://h/", headers=HTML).body)
    form = f"token={token}&answer={solve(token, bits)}"
    first = str(post(lb, path, form).header("Set-Cookie"))
    assert "; Max-Age=600;" in first
    lb.advance(300)
    again = str(post(lb, path, form).header("Set-Cookie"))
    assert "; Max-Age=300;" in again and again.partition(";")[0] == first.partition(";")[0]
    lb.advance(301)
    assert post(lb, path, form).status == 403


def test_an_answer_that_is_later_than_a_pass_lasts_gives_none(make: Make) -> None:
    lb = make("challenge = on\nchallenge_time = 1m")
    token, bits, path = read_challenge(lb.get("http://h/", headers=HTML).body)
    form = f"token={token}&answer={solve(token, bits)}"
    lb.advance(59)
    assert "; Max-Age=1;" in str(post(lb, path, form).header("Set-Cookie"))
    lb.advance(1)
    reply = post(lb, path, form)
    assert (reply.status, reply.header("Set-Cookie")) == (403, "")
    assert reply.body == b"the token is too old\n"


@pytest.mark.parametrize(
    "form",
    ["", "token=x&answer=1", "answer=1", "token=" + "A" * 36 + "&answer=0", "&" * 50, "x" * 5000,
     "token=\xff&answer=1"],
)  # fmt: skip
def test_a_bad_answer_gets_a_text_and_counts_as_an_error(make: Make, form: str) -> None:
    lb = make()
    reply = post(lb, "/.lbproxy/challenge", form)
    assert (reply.status, reply.header("Set-Cookie")) == (403, "")
    assert reply.header("Content-Type") == "text/plain; charset=utf-8"
    assert counts(lb) == (0, 0, 0, 1, 0)
    assert json.loads(lb.log_lines()[-1])["close"] == "replied"


def test_an_answer_in_pieces(make: Make) -> None:
    lb = make()
    token, bits, path = read_challenge(lb.get("http://h/", headers=HTML).body)
    form = f"token={token}&answer={solve(token, bits)}".encode()
    client = lb.connect("web")
    client.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(form)}\r\n".encode())
    client.send(b"Expect: 100-continue\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 100 Continue\r\n")
    for at in range(len(form)):
        client.send(form[at : at + 1])
    assert b"HTTP/1.1 204 " in client.received and b"Set-Cookie: lbproxy_pass=" in client.received
    client.send(b"GET /.lbproxy/challenge HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"HTTP/1.1 405 " in client.received and b"Allow: POST" in client.received


def test_a_slow_answer_ends_by_the_timeout_of_bodies(make: Make) -> None:
    lb = make("challenge = on\ntimeout_body = 5s")
    client = lb.connect("web")
    client.send(b"POST /.lbproxy/challenge HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nt")
    lb.advance(6)
    assert client.received.startswith(b"HTTP/1.1 408 ")


def test_who_is_exempt(make: Make) -> None:
    lb = make(
        "challenge = on\nchallenge_except =\n    path /api/*\n    method OPTIONS  header X-Ok yes",
        "path /open/*   -> app challenge=off\n"
        "    path /health   -> reply 200 fine\n"
        "    path /old      -> redirect 302 https://h/new\n"
        "    default        -> app",
    )
    for path, status in (
        *(("/api/v1", 200), ("/open/x", 200), ("/health", 200), ("/old", 302), ("/apix", 403)),
    ):
        assert lb.get(f"http://h{path}").status == status, path
    assert lb.request("OPTIONS", "http://h/", headers={"X-Ok": "yes"}).status == 200
    assert lb.request("OPTIONS", "http://h/").status == 403
    assert lb.get("http://h/open/%2e%2e/secret").status in (400, 403)


def test_a_route_alone_is_checked(make: Make) -> None:
    lb = make("", "path /login -> app challenge=on\n    default -> app")
    assert (lb.get("http://h/login").status, lb.get("http://h/").status) == (403, 200)
    cookie = {"Cookie": feature(lb)._proofs.make_pass(_earned(lb), "203.0.113.9")}
    assert lb.get("http://h/login", headers=cookie).status == 403  # that is no cookie of this name


def _earned(lb: LoadBalancerFixture) -> Any:
    from lbproxy.challenge.proof import Pass

    return Pass(int(lb.service.network.wheel.wall()), 18)


def test_off_has_no_hook(make: Make) -> None:
    lb = make("")
    frontend = lb.service.frontend("web")
    assert not frontend.early and not frontend.own_hooks.failed
    assert lb.get("http://h/").status == 200


def test_switches_of_operators(make: Make) -> None:
    lb = make("")
    switch = feature(lb).switch
    for setting, status in (("on", 403), ("off", 200), ("on", 403), ("auto", 200)):
        switch.set(setting)
        assert lb.get("http://h/").status == status
    with pytest.raises(ValueError, match="'maybe' is not one of on, off, auto"):
        switch.set("maybe")


@pytest.mark.parametrize("ends", ["auto", "off", "alert", "reload"])
def test_a_pass_never_reaches_the_server(ends: str) -> None:
    """Browsers send it for as long as it is valid, whether or not it is asked for."""
    seen: list[Any] = []
    with LB.from_config(text("challenge = alert" if ends == "alert" else "")) as lb:
        lb.origin("a", "10.0.0.1:80", lambda request: seen.append(request.header("Cookie")) or b"")
        switch = feature(lb).switch
        if ends == "alert":
            switch.alarm(True)
        else:
            switch.set("on")
        cookie = pass_of(lb)
        if ends == "alert":
            switch.alarm(False)
        elif ends == "reload":
            lb.service.reload(parse_config(text("challenge = on")))
            switch.set("auto")
            lb.service.reload(parse_config(text("")))
        else:
            switch.set(ends)
        assert lb.get("http://h/x", headers={"Cookie": f"a=1; {cookie}"}).status == 200
        assert lb.get("http://h/x", headers={"Cookie": cookie}).status == 200
    assert seen == ["a=1", ""]


def test_an_answer_is_taken_when_the_attack_has_just_ended(make: Make) -> None:
    lb = make("")
    feature(lb).switch.set("on")
    token, bits, path = read_challenge(lb.get("http://h/x", headers=HTML).body)
    feature(lb).switch.set("auto")
    assert post(lb, path, f"token={token}&answer={solve(token, bits)}").status == 204


def test_off_by_an_operator_wins_over_the_configuration(make: Make) -> None:
    lb = make("challenge = on", "path /a -> app challenge=on\n    default -> app")
    feature(lb).switch.set("off")
    assert (lb.get("http://h/").status, lb.get("http://h/a").status) == (200, 200)


def test_a_reload_keeps_passes_and_the_switch(make: Make) -> None:
    lb = make("challenge = on")
    cookie = {"Cookie": pass_of(lb)}
    lb.service.reload(parse_config(text("challenge = on\nchallenge_time = 2h")))
    assert lb.get("http://h/", headers=cookie).status == 200
    assert lb.get("http://h/").status == 403
    feature(lb).switch.set("off")
    lb.service.reload(parse_config(text("challenge = on\nchallenge_time = 3h")))
    assert feature(lb).switch.setting == "off" and lb.get("http://h/").status == 200
    lb.service.reload(parse_config(text("")))
    feature(lb).switch.set("auto")
    assert lb.get("http://h/").status == 200


def test_alert_begins_and_ends_with_the_alert_attack(make: Make) -> None:
    """Without ``[alerts]``: the rule runs for the challenge alone."""
    lb = make("challenge = alert\ndeny = 198.51.100.0/24")
    assert lb.get("http://h/").status == 200

    def attack(seconds: int, count: int) -> None:
        for _ in range(seconds):
            for _ in range(count):
                lb.connect("web", client="198.51.100.7").abort()
            lb.advance(1)

    attack(45, 25)
    assert feature(lb).switch.attack and lb.get("http://h/").status == 403
    lb.advance(30)
    assert lb.get("http://h/").status == 403
    lb.advance(120)
    assert not feature(lb).switch.attack and lb.get("http://h/").status == 200


def test_challenge_pages_are_no_attack(make: Make) -> None:
    lb = make("challenge = on", top="[alerts]\nrules = attack volume=1 after=0s")
    lb.advance(2)
    for _ in range(50):
        lb.get("http://h/", headers=HTML)
        lb.advance(0.1)
    lb.advance(60)
    assert not lb.service.alerter.active


def test_pages_are_no_errors_for_limits(make: Make) -> None:
    lb = make("challenge = on\nlimits = faults", top="[limit faults]\nrate = 2/1h\nunit = errors")
    assert [lb.get("http://h/").status for _ in range(5)] == [403] * 5
    for _ in range(2):
        post(lb, "/.lbproxy/challenge", "token=x")
    assert lb.get("http://h/").status == 429


def test_the_client_is_the_one_behind_trusted_proxies(make: Make) -> None:
    lb = make("challenge = on\ntrusted_proxies = 203.0.113.0/24")
    page = lb.get("http://h/", headers={**HTML, "X-Forwarded-For": "192.0.2.1"})
    token, bits, path = read_challenge(page.body)
    form = f"token={token}&answer={solve(token, bits)}"
    assert post(lb, path, form).status == 403
    https = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    cookie = str(post(lb, path, form, headers=https).header("Set-Cookie"))
    assert cookie.startswith("__Host-lbproxy_pass=") and cookie.endswith("; Secure")
    kept = {"Cookie": cookie.partition(";")[0]}
    assert lb.get("http://h/", headers={**kept, "X-Forwarded-For": "192.0.2.1"}).status == 200
    assert lb.get("http://h/", headers={**kept, "X-Forwarded-For": "192.0.2.9"}).status == 403


def test_many_cookies_of_the_name_are_not_all_judged(make: Make) -> None:
    lb = make()
    cookie = pass_of(lb)
    junk = "; ".join(["lbproxy_pass=" + "A" * 28] * 3)
    assert lb.get("http://h/", headers={"Cookie": f"{junk}; {cookie}"}).status == 200
    assert lb.get("http://h/", headers={"Cookie": f"{junk}; {junk}; {cookie}"}).status == 403


# -- crawlers -----------------------------------------------------------------------------------


class Names:
    """DNS as a table; ``waits``: nothing is answered."""

    def __init__(self, waits: bool = False) -> None:
        self.names = {"66.249.66.1": ["crawl-1.googlebot.com"], "192.0.2.6": ["x.googlebot.com"]}
        self.addresses = {"crawl-1.googlebot.com": ["66.249.66.1"], "x.googlebot.com": ["1.2.3.4"]}
        self.asked: list[str] = []
        self.waits = waits

    def names_of(self, ip: str) -> Deferred[list[str]]:
        self.asked.append(ip)
        if self.waits:
            return Deferred()
        return succeed(self.names[ip]) if ip in self.names else fail(OSError("no name"))

    def addresses_of(self, name: str) -> Deferred[list[str]]:
        return succeed(self.addresses[name])


def with_names(lb: LoadBalancerFixture, names: Names) -> None:
    feature(lb)._crawlers = Crawlers(lambda: names, lb.service.network.wheel)


def test_a_crawler_that_dns_confirms_passes(make: Make) -> None:
    lb = make()
    names = Names()
    with_names(lb, names)
    google, liar = "66.249.66.1", "192.0.2.6"
    for _ in range(3):
        assert lb.get("http://h/", headers=GOOGLE, client=google).status == 200
        assert lb.get("http://h/", headers=GOOGLE, client=liar).status == 403
    assert lb.get("http://h/", headers=GOOGLE, client="192.0.2.7").status == 403
    assert names.asked == ["66.249.66.1", "192.0.2.6", "192.0.2.7"]
    assert lb.get("http://h/", client=google).status == 403  # it does not say what it is
    assert counts(lb)[4] == 3


def test_look_ups_are_bounded_and_have_a_deadline(make: Make) -> None:
    lb = make()
    names = Names(waits=True)
    with_names(lb, names)
    clients = []
    for number in range(AT_ONCE + 5):
        client = lb.connect("web", client=f"192.0.2.{number}")
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: Googlebot\r\n\r\n")
        clients.append(client)
    assert len(names.asked) == AT_ONCE
    assert [one.received[9:12] for one in clients] == [b""] * AT_ONCE + [b"403"] * 5
    clients[0].abort()
    lb.advance(3.1)
    assert [one.received[9:12] for one in clients[1:]] == [b"403"] * (AT_ONCE + 4)
    names.waits = False
    lb.advance(61)
    assert lb.get("http://h/", headers=GOOGLE, client="192.0.2.3").status == 403
    assert names.asked[-1] == "192.0.2.3"  # a failure is asked again after a minute


def test_a_look_up_may_take_longer_than_a_filter(make: Make) -> None:
    lb = make("challenge = on\ntimeout_filter = 1s")
    with_names(lb, Names(waits=True))
    client = lb.connect("web")
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: Googlebot\r\n\r\n")
    lb.advance(2)
    assert not client.received
    lb.advance(1.2)
    assert client.received.startswith(b"HTTP/1.1 403 ")
    assert json.loads(lb.log_lines()[-1])["close"] == "challenged"


def test_a_flood_of_liars_drives_no_real_crawler_out(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawling, "KEPT", 5)
    lb = make()
    names = Names()
    with_names(lb, names)
    google = "66.249.66.1"
    assert lb.get("http://h/", headers=GOOGLE, client=google).status == 200
    for number in range(10, 30):
        liar = f"192.0.2.{number}"
        assert lb.get("http://h/", headers=GOOGLE, client=liar).status == 403
    assert lb.get("http://h/", headers=GOOGLE, client=google).status == 200
    assert names.asked.count(google) == 1
    known = feature(lb)._crawlers
    assert (len(known._good), len(known._bad)) == (1, 5)


def test_crawlers_can_be_checked_like_others(make: Make) -> None:
    lb = make("challenge = on\nchallenge_crawlers = no")
    names = Names()
    with_names(lb, names)
    assert lb.get("http://h/", headers=GOOGLE, client="66.249.66.1").status == 403
    assert not names.asked


# -- the configuration --------------------------------------------------------------------------


def test_keys_are_read_and_written() -> None:
    keys = "challenge = alert\nchallenge_except =\n    path /api/*\n    host api.example.com"
    config = parse_config(text(keys, "path /x -> app challenge=off\n    default -> app"))
    (spec,) = config.frontends
    assert spec.challenge == "alert" and len(spec.challenge_except) == 2
    assert spec.routes[0].challenge == "off" and spec.routes[1].challenge is None
    assert parse_config(dump(config)) == config


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("challenge = maybe", "off, on, alert"),
        ("challenge_except = patch /x", "unknown condition 'patch'"),
        ("challenge_bits = 99", "28"),
        ("mode = tcp\nchallenge = on", "challenge"),
    ],
)
def test_mistakes(keys: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(text(keys))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "routes"),
    [("challenge = alert", "default -> app"), ("", "default -> app challenge=alert")],
)
def test_an_alert_that_is_off_cannot_be_waited_for(keys: str, routes: str) -> None:
    top = "[alerts]\nrules = attack off"
    with pytest.raises(ConfigErrors, match="waits for the alert attack"):
        LB.from_config(text(keys, routes, top=top))
    LB.from_config(text("challenge = on", top=top)).close()


def test_check_says_that_a_restart_forgets_passes(make: Make) -> None:
    assert any("checked again after a restart" in one for one in make().service.warnings())
    assert not make("").service.warnings()


def test_twisted_asks_for_the_name_of_an_address() -> None:
    from twisted.internet import reactor
    from twisted.names import dns

    from lbproxy.proxy.features.challenge.dns import DNSNames

    asked: list[Any] = []

    def answer(name: str, timeout: Any) -> Deferred[Any]:
        asked.append(name)
        pointer = dns.RRHeader("x", dns.PTR, payload=dns.Record_PTR("crawl.googlebot.com"))
        other = dns.RRHeader("x", dns.A, payload=dns.Record_A("192.0.2.1"))
        return succeed(([other, pointer], [], []))

    names = DNSNames(reactor)
    names._names.dns.lookupPointer = answer
    got: list[Any] = []
    for ip in ("192.0.2.1", "2001:db8::1"):
        names.names_of(ip).addCallback(got.append)
    assert got == [["crawl.googlebot.com"]] * 2
    assert asked[0] == "1.2.0.192.in-addr.arpa" and asked[1].endswith(".ip6.arpa")


FILTERS = """
class Moves:
    def __init__(self, options, env):
        pass

    def early(self, traffic):
        target = traffic.request.header(b"x-target")
        if target:
            traffic.request.target = target
        host = traffic.request.header(b"x-host")
        if host:
            traffic.request.host = host
"""


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/open", {"X-Target": "/private"}),
        ("/open", {"X-Target": "/private?x=1"}),
        ("/api/x", {"X-Target": "/private"}),
        ("/free", {"X-Host": "shut"}),
    ],
)
def test_a_filter_cannot_lead_around_the_check(
    make: Make, tmp_path: Path, path: str, headers: dict[str, str]
) -> None:
    file = tmp_path / "moves.py"
    file.write_text(FILTERS)
    keys = f"challenge = on\nchallenge_except = path /api/*\nfilters = {file}:Moves"
    routes = "path /open -> app challenge=off\n    not host shut path /free -> app challenge=off"
    lb = make(keys, f"{routes}\n    default -> app")
    assert lb.get(f"http://h{path}").status == 200, "without a change"
    assert lb.get(f"http://h{path}", headers=headers).status == 403
    assert lb.get("http://h/open", headers={"X-Target": "/api/y"}).status == 200
    cookie = pass_of(lb)
    assert lb.get(f"http://h{path}", headers={**headers, "Cookie": cookie}).status == 200


def test_a_filter_cannot_lead_around_the_check_by_a_host(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "moves.py"
    file.write_text(FILTERS)
    lb = make(f"challenge = on\nchallenge_except = host api\nfilters = {file}:Moves")
    assert lb.get("http://api/").status == 200
    assert lb.get("http://api/", headers={"X-Host": "h"}).status == 403
