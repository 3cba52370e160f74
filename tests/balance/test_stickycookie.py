"""Cookie lines and ids: round trips, other people's cookies, and everything a client can
make up.
"""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbproxy.balance.cookielines import remove_cookie, rewrite_cookie
from lbproxy.balance.stickycookie import (
    CookieOptions,
    CookieSticky,
    LearnOptions,
    LearnSticky,
    PrefixOptions,
    PrefixSticky,
    server_id,
)
from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.http.scan import lines_of
from lbproxy.interfaces import Env

from .tools import Clock, group_of, make, server

SECRET = b"0123456789abcdef"
NAMES = ("a", "b", "c")


def bound(cls: Any, options: Any, backend: str = "app", secret: bytes = SECRET) -> Any:
    sticky = cls(options, Env(Clock(), Random(0), name=backend, secret=secret))
    sticky.bind(group_of(make("roundrobin"), [server(name) for name in NAMES]))
    for name in NAMES:
        sticky.server_added(name)
    return sticky


def cookie(**options: Any) -> Any:
    return bound(CookieSticky, CookieOptions(name="LB", **options))


def traffic(sticky: Any, *lines: bytes, at: str = "a", scheme: str = "http", **more: Any) -> Any:
    """A request with these Cookie lines that server ``at`` answers."""
    request = RequestHead(b"GET", b"/", [(b"Cookie", line) for line in lines])
    return SimpleNamespace(
        client_ip="10.0.0.1",
        sni="",
        request=request,
        server_request=RequestHead(b"GET", b"/", list(request.headers)),
        response=ResponseHead(200, more.pop("headers", [])),
        server=sticky.group.servers[at],
        scheme=scheme,
        tried=[],
    )


def set_cookie(one: Any) -> list[bytes]:
    return [value for name, value in one.response.headers if name == b"Set-Cookie"]


def test_it_is_set_once_and_honoured() -> None:
    sticky = cookie()
    one = traffic(sticky, at="b")
    assert sticky.belongs(one) is None
    sticky.response(one)
    (line,) = set_cookie(one)
    value = line.partition(b";")[0]
    assert line == value + b"; Path=/; HttpOnly; SameSite=Lax"
    assert one.response.header(b"cache-control") == b"private"
    again = traffic(sticky, b"x=1; " + value, at="b")
    assert sticky.belongs(again) == "b"
    sticky.response(again)
    assert again.response.headers == [] and sticky.counters.cookies == 1
    moved = traffic(sticky, value, at="c")
    moved.tried.append(sticky.group.servers["b"])
    sticky.response(moved)
    assert len(set_cookie(moved)) == 1


def test_a_client_that_was_only_lent_keeps_its_cookie() -> None:
    sticky = cookie()
    mine = b"LB=" + server_id(SECRET, "app", "b")
    lent = traffic(sticky, mine, at="c")
    sticky.response(lent)
    assert set_cookie(lent) == []
    sticky.group.set_health(sticky.group.servers["b"], False)
    sticky.response(lent)
    assert len(set_cookie(lent)) == 1


@pytest.mark.parametrize(
    ("options", "scheme", "words"),
    [
        ({}, "https", b"; Path=/; HttpOnly; SameSite=Lax; Secure"),
        ({"secure": "no"}, "https", b"; Path=/; HttpOnly; SameSite=Lax"),
        ({"secure": "yes", "httponly": False}, "http", b"; Path=/; SameSite=Lax; Secure"),
        ({"samesite": "unset", "path": "/x"}, "http", b"; Path=/x; HttpOnly"),
        (
            {"domain": "example.com", "max_age": 3600.0, "samesite": "none"},
            "https",
            b"; Path=/; Domain=example.com; Max-Age=3600; HttpOnly; SameSite=None; Secure",
        ),
    ],
)
def test_attributes(options: Any, scheme: str, words: bytes) -> None:
    sticky = cookie(**options)
    one = traffic(sticky, scheme=scheme)
    sticky.response(one)
    assert set_cookie(one) == [b"LB=" + server_id(SECRET, "app", "a") + words]


def test_cache_control_of_the_server_stays() -> None:
    one = traffic(cookie(), headers=[(b"cache-control", b"no-store")])
    cookie().response(one)
    assert one.response.header_values(b"Cache-Control") == [b"no-store"]
    public = cookie(private=False)
    two = traffic(public)
    public.response(two)
    assert two.response.header(b"cache-control") is None


def test_a_server_cannot_set_our_cookie() -> None:
    sticky = cookie()
    theirs = [(b"set-cookie", b"LB=forged; Path=/"), (b"Set-Cookie", b"LBX=1")]
    one = traffic(sticky, headers=theirs)
    sticky.response(one)
    lines = [value for name, value in one.response.headers if name.lower() == b"set-cookie"]
    assert len(lines) == 2 and lines[0] == b"LBX=1" and not lines[1].startswith(b"LB=forged")


@pytest.mark.parametrize(
    "old", [b"LB=", b'LB="\xff\xfe"', b"LB=" + b"x" * 5000, b"LB", b"LB=a;LB=b"]
)
def test_a_cookie_of_another_time_before_ours_does_not_hide_it(old: bytes) -> None:
    """As browsers send it that have one for a domain and another for the host."""
    sticky = cookie()
    ours = b"LB=" + sticky._ids.of("b")
    for lines in ((old + b"; " + ours,), (old, ours), (b"x=LB=1; " + old, b"z=y; " + ours + b" ")):
        one = traffic(sticky, *lines, at="b")
        assert sticky.belongs(one) == "b"
        sticky.response(one)
        assert set_cookie(one) == []
    assert sticky.belongs(traffic(sticky, old)) is None


def test_a_server_that_answers_after_it_was_removed_is_not_remembered() -> None:
    sticky = cookie()
    for number in range(50):
        sticky.server_added(f"s{number}")
        late = traffic(sticky)
        late.server = server(f"s{number}")
        sticky.server_removed(f"s{number}")
        sticky.response(late)
        (line,) = set_cookie(late)
        assert line.startswith(b"LB=" + server_id(SECRET, "app", f"s{number}"))
    assert len(sticky._ids._of) == len(NAMES)


def test_ids_tell_nothing_and_mean_nothing_elsewhere() -> None:
    ids = {
        server_id(secret, backend, name)
        for secret in (SECRET, SECRET[::-1])
        for backend in ("app", "api", "appa")
        for name in ("a", "b", "aa")
    }
    assert len(ids) == 18 and all(len(one) == 22 for one in ids)
    sticky = cookie()
    for line in (
        server_id(SECRET, "api", "a"),
        server_id(SECRET[::-1], "app", "a"),
        server_id(SECRET, "app", "gone"),
    ):
        assert sticky.belongs(traffic(sticky, b"LB=" + line)) is None


@given(st.data())
def test_what_is_forged_or_cut_names_no_server(data: st.DataObject) -> None:
    good = [server_id(SECRET, "app", name) for name in NAMES]
    base = data.draw(st.sampled_from(good))
    cut = st.integers(0, 21).map(lambda n: base[:n])
    longer = st.binary(min_size=1, max_size=5).map(base.__add__)
    value = data.draw(cut | longer | st.binary(max_size=40))
    value = value.replace(b";", b"").strip(b' \t\r\n\f\v"')
    for sticky in (cookie(), bound(PrefixSticky, PrefixOptions(name="LB"))):
        one = traffic(sticky, b"LB=" + value)
        if value not in good and not any(value.startswith(g + b"~") for g in good):
            assert sticky.belongs(one) is None
        sticky.server_request(one)
        sticky.response(one)


def without_cookie(headers: list[Any], cookie: bytes) -> list[Any]:
    head = RequestHead(b"GET", b"/", list(headers))
    remove_cookie(head, cookie)
    return head.headers


@given(st.lists(st.text('LBxa=; \t"', max_size=24).map(str.encode), min_size=1, max_size=2))
@example([b";=LB="])
@example([b"a=1;LB=x; b=2"])
@example([b"LB=x"])
@example([b"; LB=x ;"])
@example([b'a=1;\t LB="x" ; LB=y'])
def test_a_cookie_is_taken_out_in_place_as_from_a_list(values: list[bytes]) -> None:
    listed: list[Any] = [(b"Cookie", value.strip(b" \t")) for value in values]
    head = RequestHead(b"GET", b"/", None, lines=lines_of([(b"Host", b"a"), *listed]))
    remove_cookie(head, b"LB")
    assert not head.listed
    seen = RequestHead(b"GET", b"/", None, lines=lines_of(listed)).cookies(b"LB")
    assert seen == RequestHead(b"GET", b"/", listed).cookies(b"LB")
    untouched = not seen and len(values) == 1
    assert head.headers[1:] == (listed if untouched else without_cookie(listed, b"LB"))


TOKEN = st.from_regex(rb"[A-Za-z0-9!#-+.^_|-]{1,8}", fullmatch=True)
PAIR = st.tuples(TOKEN, st.from_regex(rb"[!#-+\--:<-\[\]-~]{0,8}", fullmatch=True))


@given(st.lists(st.lists(PAIR, min_size=1, max_size=4), max_size=3), st.integers(0, 11))
@example([[(b"LB", b"x")]], 0)
def test_other_cookies_arrive_as_they_were(lines: list[list[Any]], at: int) -> None:
    """Ours is put anywhere among them, and taken out again."""
    others = [[pair for pair in line if pair[0] != b"LB"] for line in lines]
    mixed = [list(line) for line in others if line]
    if mixed:
        line = mixed[at % len(mixed)]
        line.insert(at % (len(line) + 1), (b"LB", b"mine"))
    written = [b"; ".join(b"=".join(pair) for pair in line) for line in mixed]
    wanted = [b"; ".join(b"=".join(pair) for pair in line) for line in others if line]
    headers = [(b"Host", b"x"), *((b"Cookie", line) for line in written)]
    left = without_cookie(headers, b"LB")
    assert left == [(b"Host", b"x"), *((b"Cookie", line) for line in wanted)]


def test_a_cookie_line_with_nothing_left_goes() -> None:
    assert without_cookie([(b"cookie", b"LB=x; LB=y ;LB=z")], b"LB") == []
    same = [(b"Cookie", b"a=LB=x; LBS=1")]
    assert without_cookie(same, b"LB") == same


def test_prefix_there_and_back() -> None:
    sticky = bound(PrefixSticky, PrefixOptions(name="S"))
    one = traffic(
        sticky,
        at="b",
        headers=[(b"Set-Cookie", b"S=abc~def; Path=/x"), (b"Set-Cookie", b"T=1"), (b"X", b"S=1")],
    )
    sticky.response(one)
    mark = server_id(SECRET, "app", "b")
    assert set_cookie(one) == [b"S=" + mark + b"~abc~def; Path=/x", b"T=1"]
    back = traffic(sticky, b"T=1; S=" + mark + b"~abc~def")
    assert sticky.belongs(back) == "b"
    sticky.server_request(back)
    assert back.server_request.headers == [(b"Cookie", b"T=1; S=abc~def")]


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (b"S=plain", b"S=plain"),
        (b"S=a~b", b"S=a~b"),
        (b"S=" + server_id(b"another secret..", "app", "a") + b"~v", b"S=v"),
        (b'S="' + server_id(SECRET, "app", "a") + b'~v"', b'S="v"'),
        (b"S=" + server_id(SECRET, "app", "a") + b'~"v"', b'S="v"'),
        (b"S=", b"S="),
        (b"S", b"S"),
    ],
)
def test_what_comes_off_a_prefixed_cookie(sent: bytes, arrives: bytes) -> None:
    sticky = bound(PrefixSticky, PrefixOptions(name="S"))
    one = traffic(sticky, sent)
    sticky.server_request(one)
    assert one.server_request.headers == [(b"Cookie", arrives)]


def learn(**options: Any) -> Any:
    return bound(LearnSticky, LearnOptions(name="S", **options))


def test_what_a_server_sets_is_learned() -> None:
    sticky = learn()
    one = traffic(sticky, at="b", headers=[(b"Set-Cookie", b'S="abc"; Path=/; Max-Age=60')])
    sticky.response(one)
    assert sticky.belongs(traffic(sticky, b"S=abc")) == "b"
    assert sticky.belongs(traffic(sticky, b"S=abd")) is None
    (entry,) = sticky.entries()
    assert "abc" not in entry.key, "a session id is a secret"


@pytest.mark.parametrize(
    "line", [b"S=; Path=/", b"S=gone; Max-Age=0", b"S=gone; max-age=-1", b"T=abc", b"S"]
)
def test_what_is_not_learned(line: bytes) -> None:
    sticky = learn()
    sticky.response(traffic(sticky, headers=[(b"Set-Cookie", line)]))
    assert len(sticky.table) == 0


def test_clients_cannot_fill_the_table() -> None:
    sticky = learn(size=3)
    for n in range(10):
        lease = sticky.pick(traffic(sticky, b"S=%d" % n))
        assert lease is not None
    assert len(sticky.table) == 0


def test_a_known_session_moves_along() -> None:
    sticky = learn()
    sticky.response(traffic(sticky, at="b", headers=[(b"Set-Cookie", b"S=abc")]))
    sticky.group.set_health(sticky.group.servers["b"], False)
    lease = sticky.pick(traffic(sticky, b"S=abc"))
    sticky.group.set_health(sticky.group.servers["b"], True)
    assert sticky.belongs(traffic(sticky, b"S=abc")) == lease.server.name != "b"


@pytest.mark.parametrize("missing", ["server", "response", "server_request"])
def test_traffic_without_a_server_or_a_response_is_left_alone(missing: str) -> None:
    """A filter has answered, or the server is gone."""
    for sticky in (cookie(), bound(PrefixSticky, PrefixOptions(name="S")), learn()):
        one = traffic(sticky, b"LB=x; S=y", headers=[(b"Set-Cookie", b"S=1")])
        setattr(one, missing, None)
        if missing == "server_request":
            getattr(sticky, "server_request", lambda traffic: None)(one)
        else:
            sticky.response(one)
        assert one.response is None or one.response.headers == [(b"Set-Cookie", b"S=1")]


def test_a_request_without_our_cookie_belongs_nowhere() -> None:
    sticky = bound(PrefixSticky, PrefixOptions(name="S"))
    assert sticky.belongs(SimpleNamespace(request=None)) is None
    assert sticky.belongs(traffic(sticky, b"T=x")) is None
    one = traffic(sticky, headers=[(b"Set-Cookie", b"XS=1"), (b"Set-Cookie", b"S=2")])
    sticky.response(one)
    assert [value[:3] for value in set_cookie(one)] == [b"XS=", b"S=" + value_start(sticky)]


def value_start(sticky: Any) -> bytes:
    """The first byte of the id of server a."""
    return bytes(sticky._ids.of("a")[:1])


def test_a_reload_keeps_a_table_of_the_same_cookie_only() -> None:
    assert learn().identity() == learn().identity()
    other = bound(LearnSticky, LearnOptions(name="OTHER"))
    assert learn().identity() != other.identity()


def test_a_server_that_was_never_there_is_removed() -> None:
    sticky = cookie()
    sticky.server_removed("nobody")
    assert sticky.belongs(traffic(sticky, b"LB=" + sticky._ids.of("a"))) == "a"


def test_cookies_with_similar_names_are_not_rewritten() -> None:
    head = RequestHead(
        b"GET", b"/", [(b"Cookie", b"XS=1; T=2"), (b"Cookie", b"S=3"), (b"Cookie", b"U=4")]
    )
    rewrite_cookie(head, b"S", lambda value: value + b"0")
    assert head.header_values(b"Cookie") == [b"XS=1; T=2", b"S=30", b"U=4"]
    rewrite_cookie(head, b"NONE", lambda value: b"never")
    assert head.header_values(b"Cookie") == [b"XS=1; T=2", b"S=30", b"U=4"]
