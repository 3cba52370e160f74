"""What a client writes into targets and replies stays in its place."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from random import Random
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.paths import normal_path
from lbproxy.http.redirect import Redirect, RedirectOptions
from lbproxy.http.reply import ReplyFilter, ReplyOptions
from lbproxy.http.rewrite import Rewrite, RewriteOptions
from lbproxy.interfaces import Env
from tests.http.traffic import Traffic, request

ENV = Env(now=lambda: 0.0, random=Random(0))
TEXT = st.text(st.characters(max_codepoint=255, blacklist_categories=("Cc",)))
NASTY = st.text("./\\%25eEfF#?&=@:;+ \"'<>ax", max_size=12)


def traffic(value: str, uri: str = "/a/b", host: str = "example.com") -> Traffic:
    """A request with ``value`` in a header, a cookie and a query parameter."""
    head = request(
        f"{uri}?next={quote(value.encode('latin-1'), safe='')}",
        host,
        headers=(("X-A", value), ("Cookie", f"c={value}")),
    )
    return Traffic(head)


def rewritten(pattern: str, replacement: str, value: str, uri: str = "/a/b") -> str:
    made = traffic(value, uri)
    Rewrite(RewriteOptions(pattern, replacement), ENV).request(made)
    assert made.request is not None
    return made.request.target.decode().partition("next=")[0].rstrip("?&")


def location(target: str, value: str, uri: str = "/a/b", host: str = "example.com") -> str:
    reply = Redirect(RedirectOptions("302", target), ENV).reply(traffic(value, uri, host))
    return dict(reply.headers)[b"Location"].decode()


def body(text: str, kind: str, value: str) -> bytes:
    return bytes(ReplyFilter(ReplyOptions(200, text, kind), ENV).reply(traffic(value)).body)


@pytest.mark.parametrize(
    ("replacement", "value", "wanted"),
    [
        ("/t/{header:X-A}/*", "acme", "/t/acme/b"),
        ("/t/{header:X-A}/*", "a b", "/t/a%20b/b"),
        ("/t/{header:X-A}/*", "a?x=1#", "/t/a%3Fx%3D1%23/b"),
        ("/t/{header:X-A}/*", "a/b", "/t/a%2Fb/b"),
        ("/t/{header:X-A}/*", "50%", "/t/50%25/b"),
        ("/t/{header:X-A}/*", "%2e%2e", "/t/%252e%252e/b"),
        ("/t/{header:X-A}/*", "..a", "/t/..a/b"),
        ("/t/{cookie:c}/*", "a;v=1", "/t/a/b"),
        ("/t/{query:next}/*", "a b", "/t/a%20b/b"),
        ("/t/{query:next}", "", "/t/"),
        ("/t/*?u={header:X-A}", "a&admin=1#x", "/t/b?u=a%26admin%3D1%23x"),
        ("/t/*?u={header:X-A}", "a/b+c%", "/t/b?u=a/b%2Bc%25"),
        ("/t/*?u={query:next}", "a&b", "/t/b?u=a%26b"),
        ("/t?p=*", "", "/t?p=b"),
        ("/t/{client_ip}/*", "", "/t/192.0.2.1/b"),
        ("{header:X-A}/*", "x", "/x/b"),
    ],
)
def test_rewrites_escape_by_position(replacement: str, value: str, wanted: str) -> None:
    assert rewritten("/a/*", replacement, value) == wanted


@pytest.mark.parametrize(
    ("pattern", "replacement", "value", "uri"),
    [
        ("/a/*", "/t/{header:X-A}/*", "..", "/a/admin"),
        ("/a/*", "/t/{header:X-A}/*", "../../admin", "/a/x"),
        ("/a/*", "/t/{header:X-A}/*", "..\\..\\admin", "/a/x"),
        ("/a/*", "/t/{header:X-A}/*", ".", "/a/other/x"),
        ("/a/*", "/t/{header:X-A}/*", "", "/a/other/x"),
        ("/a/*", "/t/{header:X-A}*", "", "/a/other/x"),
        ("/a/*", "/t/{header:X-A}", "..", "/a/x"),
        ("/a/*", "/t/.{header:X-A}/*", ".", "/a/x"),
        ("/a/*", "/t/{header:X-A}{cookie:c}/*", ".", "/a/x"),
        ("/a/*", "/t/{query:next}/*", "..", "/a/x"),
        ("/a/*", "/t/{query:next}/*", "../..", "/a/x"),
        ("~^/u(.*)$", "/t/$1", "", "/u../admin"),
        ("~^/u/(.*)$", "/t/{header:X-A}/$1", "..", "/u/admin"),
    ],
)
def test_rewrites_that_leave_their_prefix_are_refused(
    pattern: str, replacement: str, value: str, uri: str
) -> None:
    with pytest.raises(ProxyError) as caught:
        rewritten(pattern, replacement, value, uri)
    assert caught.value.kind is Kind.BAD_REQUEST


def test_a_group_in_a_query_is_one_value() -> None:
    assert rewritten("~^/a/(.*)$", "/s?q=$1", "", "/a/x&admin=1") == "/s?q=x%26admin%3D1"


def test_a_fragment_in_a_replacement_is_an_error() -> None:
    with pytest.raises(ValueError, match="fragment"):
        RewriteOptions("/a/*", "/t/*#x")


@given(NASTY | TEXT, st.sampled_from(["header:X-A", "query:next"]))
@example("../../admin", "query:next")
def test_a_rewritten_path_stays_below_its_prefix(value: str, name: str) -> None:
    try:
        target = rewritten("/a/*", f"/t/x/{{{name}}}/*?k={{{name}}}", value)
    except ProxyError:
        return
    assert "#" not in target and target.count("?") == 1
    path, _, query = target.partition("?")
    normal = normal_path(path.encode())
    assert normal is not None and normal.startswith(b"/t/x/") and normal.endswith(b"/b")
    assert unquote(path, "latin-1").startswith("/t/x/")
    assert len(parse_qsl(query, keep_blank_values=True, encoding="latin-1")) == 1
    assert path.count("/") == 4


@pytest.mark.parametrize(
    ("target", "value", "wanted"),
    [
        ("{query:next}", "/home?a=1&b=%2F", "/home?a=1&b=%2F"),
        ("{header:X-A}", "/home", "/home"),
        ("/login?next={uri}", "x", "/login?next=/a/b%3Fnext%3Dx"),
        ("/login?{query}", "x", "/login?next=x"),
        ("/s?q={query:next}&l=1", "a&l=2", "/s?q=a%26l%3D2&l=1"),
        ("https://{host}{query:next}", "/x", "https://example.com/x"),
        ("https://{header:X-A}.example.com{path}", "de", "https://de.example.com/a/b"),
        ("{header:X-A}://{host}{path}", "https", "https://example.com/a/b"),
        ("https://{host}:{query:next}/", "8443", "https://example.com:8443/"),
        ("/u/{cookie:c}", "a/b?c", "/u/a%2Fb%3Fc"),
        ("https://example.org/u/{header:X-A}/", "a#b", "https://example.org/u/a%23b/"),
        ("/#{header:X-A}", "a b", "/#a%20b"),
    ],
)
def test_redirects_escape_by_position(target: str, value: str, wanted: str) -> None:
    assert location(target, value) == wanted


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("{query:next}", "//evil.example/"),
        ("{query:next}", "/\\evil.example/"),
        ("{query:next}", "https://evil.example/"),
        ("{query:next}", "javascript:alert(1)"),
        ("{query:next}", "data:text/html,x"),
        ("{query:next}", "evil.example"),
        ("{query:next}", ""),
        ("{query:next}", "\\\\evil.example"),
        ("{header:X-A}", "//evil.example/"),
        ("{cookie:c}{path}", "https://evil.example"),
        ("{header:X-A}://{host}/", "javascript"),
        ("https://example.com{query:next}", ".evil.example/"),
        ("https://example.com{query:next}", "@evil.example/"),
        ("https://{host}{query:next}", ".evil.example/"),
        ("https://{host}{query:next}", ":1@evil.example/"),
        ("https://{header:X-A}.example.com/", "evil.example/"),
        ("https://{header:X-A}.example.com/", "evil.example?"),
        ("https://{header:X-A}.example.com/", "evil.example#"),
        ("https://{header:X-A}.example.com/", "evil.example\\"),
        ("https://{header:X-A}.example.com/", "x@evil.example"),
        ("https://{host}:{query:next}/", "1@evil.example"),
        ("/app/{header:X-A}/x", ".."),
        ("/app/{query:next}/x", "../.."),
        ("https://{host}/app/{query:next}/x", ".."),
    ],
)
def test_redirects_that_leave_their_place_are_refused(target: str, value: str) -> None:
    with pytest.raises(ProxyError) as caught:
        location(target, value)
    assert caught.value.kind is Kind.BAD_REQUEST


@given(
    NASTY | TEXT,
    st.sampled_from(
        ["{query:next}", "{header:X-A}", "/app/{header:X-A}", "/{query:next}", "{header:X-A}{path}"]
    ),
)
@example("/\t/evil.example", "{query:next}")
@example("/\n/evil.example", "{query:next}")
def test_a_local_redirect_never_leaves_the_host(value: str, target: str) -> None:
    try:
        found = location(target, value)
    except (ProxyError, ValueError):
        return
    where = urlsplit(urljoin("https://example.com/x", found.replace("\\", "/")))
    assert (where.scheme, where.netloc) == ("https", "example.com")
    assert found.isascii() and found.isprintable()


@pytest.mark.parametrize("value", ['"', "\\", 'x","admin":true,"y":"', "\xff", "</script>", "'"])
@pytest.mark.parametrize(
    "text", ['{{"a": "{header:X-A}", "b": 1}}', '{{"a": {header:X-A}, "b": {client_port}}}']
)
@pytest.mark.parametrize("kind", ["application/json", "application/problem+json"])
def test_json_replies_hold_one_string(value: str, text: str, kind: str) -> None:
    made = body(text, kind, value)
    read = json.loads(made)
    assert set(read) == {"a", "b"} and isinstance(read["b"], int)
    assert read["a"] == value.encode("latin-1").decode("utf-8", "replace")
    assert b"</" not in made


@given(TEXT | NASTY)
def test_any_text_in_a_json_string(value: str) -> None:
    read = json.loads(body('{{"a": ["\\\\", "{header:X-A}"]}}', "application/json", value))
    wanted = value.encode("latin-1").decode("utf-8", "replace")
    assert read == {"a": ["\\", wanted]}


class Seen(HTMLParser):
    """Collects tags and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))


@given(TEXT | NASTY)
@example('"><script>alert(1)</script>')
@example("javascript:alert(1)")
@example("//evil.example")
def test_markup_keeps_its_elements(value: str) -> None:
    page = "<p title='{header:X-A}'>{header:X-A}</p><a href=\"{query:next}\">x</a>"
    seen = Seen()
    seen.feed(body(page, "text/html", value).decode("latin-1"))
    assert [tag for tag, _ in seen.tags] == ["p", "a"]
    assert [name for name, _ in seen.tags[0][1]] == ["title"]
    ((name, link),) = seen.tags[1][1]
    assert name == "href" and link is not None and (link == "#" or link.startswith("/"))
    assert not link.startswith(("//", "/\\"))


def test_scripts_in_markup_hold_strings() -> None:
    page = "<script>let a = '{header:X-A}', b = {header:X-A};</script>"
    made = body(page, "text/html", "';</script>")
    assert made.count(b"</script>") == 1 and made.endswith(b"</script>")
    assert made.count(b"'") == 2 and b'b = "\\u0027;\\u003c/script\\u003e";' in made


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<a href={query:next}>", "within quotes"),
        ("<a {query:next}>", "within quotes"),
        ("<{header:X-A}>", None),
        ("<a onclick='f({query:next})'>", "attribute onclick"),
        ("<p style='{query:next}'>", "attribute style"),
        ("<style>p {{ {query:next} }}</style>", "style sheet"),
        ('<a title="a>b" href={query:next}>', "within quotes"),
    ],
)
def test_places_in_markup_that_no_escape_makes_safe(page: str, message: str | None) -> None:
    if message is None:
        assert body(page, "text/html", "script>") == b"<script&gt;>"
        return
    with pytest.raises(ValueError, match=message):
        ReplyOptions(200, page, "text/html")


def test_scripts_and_plain_text() -> None:
    assert body("f('{header:X-A}')", "text/javascript", "');g('") == b"f('\\u0027);g(\\u0027')"
    assert body("hello {header:X-A}", "text/plain", "a<b") == b"hello a<b"
