"""What is rarely configured or sent: each has one right answer or one clear error."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from lbproxy.guard.addresses import AddressSet
from lbproxy.http.chunkline import without_extensions
from lbproxy.http.condition import compile_condition
from lbproxy.http.contradiction import excluded
from lbproxy.http.forward import Forwarder
from lbproxy.http.geo import Location, asn_number, country_code, location_of
from lbproxy.http.h1 import RequestParser
from lbproxy.http.headeroptions import HeaderOptions
from lbproxy.http.hoplines import MEMO
from lbproxy.http.message import Limits, Reply, RequestHead
from lbproxy.http.paths import normal_path
from lbproxy.http.place import fence
from lbproxy.http.redirect import Redirect, RedirectOptions
from lbproxy.http.rewrite import Rewrite, RewriteOptions
from lbproxy.http.template import Template
from lbproxy.interfaces import Env
from lbproxy.model import FrontendSpec

from .traffic import Traffic, request

ENV = Env(now=lambda: 0.0, random=Random(0))


class Geo:
    """Says that every address is in one place."""

    def find(self, ip: str) -> Location:
        return Location("DE", 64500)


def located(geo: Any = None, **lists: Any) -> Any:
    frontend = SimpleNamespace(geo=geo, lists=lists)
    return SimpleNamespace(client_ip="192.0.2.1", request=None, frontend=frontend)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("list:office", True),
        ("list:home", False),
        ("country:de", True),
        ("country:FR", False),
        ("asn:64500", True),
        ("asn:AS64501", False),
        ("country:FR list:office", True),
        ("country:FR 192.0.2.0/24", True),
    ],
)
def test_where_a_client_is(words: str, wanted: bool) -> None:
    traffic = located(Geo(), office=AddressSet([ip_network("192.0.2.0/24")]), home=AddressSet())
    condition = compile_condition("client", words.split(), False)
    assert condition.holds(traffic, b"/") is wanted
    shown = condition.shown(traffic, b"/")
    assert shown == ("192.0.2.1" if words.startswith("list") else "192.0.2.1 DE AS64500")


def test_a_client_that_nobody_can_locate() -> None:
    condition = compile_condition("client", ["country:DE"], False)
    assert not condition.holds(located(), b"/")
    assert condition.shown(located(), b"/") == "192.0.2.1"
    assert location_of(SimpleNamespace()).country == ""


@pytest.mark.parametrize("text", ["D", "DEU", "1", "", "D1"])
def test_what_is_no_country(text: str) -> None:
    with pytest.raises(ValueError, match="two letters, such as DE"):
        country_code(text)


@pytest.mark.parametrize("text", ["", "0", "x", "AS", "4294967296", "9" * 40])
def test_what_is_no_autonomous_system(text: str) -> None:
    with pytest.raises(ValueError, match="such as 64500"):
        asn_number(text)
    assert asn_number("as4294967295") == 4294967295


@pytest.mark.parametrize(
    ("one", "two", "never"),
    [
        (("client", ("10.0.0.0/8",), False), ("client", ("2001:db8::/32",), True), False),
        (("client", ("10.0.0.0/8",), False), ("client", ("10.0.0.0/7",), True), True),
        (("host", ("~^a",), False), ("host", ("~^a",), True), True),
        (("host", ("~^a",), False), ("host", ("b",), False), True),
        (("header", ("X", "~^a"), False), ("header", ("X", "~^a"), True), True),
        (("sometimes", (), False), ("sometimes", (), True), False),
    ],
)
def test_conditions_that_exclude_each_other(one: Any, two: Any, never: bool) -> None:
    assert (excluded([one, two]) is not None) is never


@pytest.mark.parametrize(
    ("line", "digits"),
    [
        (b'5;a="b\\"c"', 1),
        (b'5;a="\\', 0),
        (b'5;a="b\\\x01"', 0),
        (b'5;a="b\x7f"', 0),
        (b'5;a="\t"', 1),
        (b'5;a="', 0),
    ],
)
def test_quoted_chunk_extensions(line: bytes, digits: int) -> None:
    assert without_extensions(line) == digits


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"a=1; b=2 ", b"b=2"),
        (b"b=2 ; a=1", b"b=2"),
        (b"b=2; a=1 \t", b"b=2"),
        (b" a=1", None),
        (b"c=3; a=1 ; b=2\t", b"c=3; b=2"),
    ],
)
def test_blanks_around_a_cookie_that_is_taken_out(line: bytes, left: bytes | None) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + line + b"\r\n\r\n"
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead) and head.drop_cookie(b"a")
    assert head.header(b"Cookie") == left


def test_a_head_whose_fields_are_nominated_reaches_the_server_without_them() -> None:
    rules = Forwarder(FrontendSpec(name="web"))
    head = request(headers=(("X-A", "1"), ("X-B", "2")), nominated=(b"x-a",))
    out = rules.server_request(head, client_ip="10.0.0.1", scheme="http", host_header=b"b")
    assert out.header(b"X-A") is None and out.header(b"X-B") == b"2"


def test_more_clients_than_are_remembered() -> None:
    rules = Forwarder(FrontendSpec(name="web"))
    for number in range(MEMO + 2):
        ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        out = rules.server_request(request(), client_ip=ip, client_port=1, scheme="http")
        assert out.header(b"X-Forwarded-For") == ip.encode()
    assert len(rules._latest) <= MEMO


@pytest.mark.parametrize("target", [b"*", b"db.example:5432", b""])
def test_targets_that_are_no_paths_stay(target: bytes) -> None:
    assert normal_path(target) == target


def test_a_template_that_leaves_the_root() -> None:
    with pytest.raises(ValueError, match="leaves the root"):
        fence("/a/../../b")


def test_a_variable_that_is_no_text() -> None:
    """A program that embeds lbproxy may have put it there."""
    traffic = Traffic(request(), request_id="a\udc80")
    assert Template("{request_id}").render(traffic) == b"a?"
    assert repr(Template("{path}x")) == "Template('{path}x')"


def test_redirects() -> None:
    with pytest.raises(ValueError, match="no target"):
        RedirectOptions(301, "")
    with pytest.raises(ValueError, match="one of 301"):
        RedirectOptions(300, "/x")
    reply = Redirect(RedirectOptions(302, "/x"), ENV).request(Traffic(request()))
    assert isinstance(reply, Reply) and reply.headers == [(b"Location", b"/x")]


def test_always_is_for_responses() -> None:
    with pytest.raises(ValueError, match="for responses only"):
        HeaderOptions("request", "X-A", "1", True)


def test_a_pattern_that_does_not_match_changes_nothing() -> None:
    head = request("/b")
    Rewrite(RewriteOptions("~^/a/(.*)", "/c/\\1"), ENV).request(Traffic(head))
    assert head.target == b"/b"


def test_what_people_see_of_heads_and_replies() -> None:
    head = request("/a", headers=(("X-A", "1"),))
    assert repr(head).startswith("<request b'GET' b'/a' b'example.com' [")
    assert repr(Reply(200, b"abc")) == "<reply 200 [] 3 bytes>"
    assert repr(Reply(200, [b"abc"])) == "<reply 200 [] a stream>"
