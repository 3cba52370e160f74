"""Templates and the built-in filters."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.errors import ProxyError
from lbproxy.http.filter import compile_phases
from lbproxy.http.headerfilter import (
    AddHeader,
    HeaderOptions,
    RemoveHeader,
    RemoveOptions,
    SetHeader,
)
from lbproxy.http.message import ResponseHead, header_pairs
from lbproxy.http.place import Place, in_json, in_markup, in_path, in_script, plain
from lbproxy.http.redirect import Redirect, RedirectOptions
from lbproxy.http.reply import ReplyFilter, ReplyOptions
from lbproxy.http.rewrite import Rewrite, RewriteOptions
from lbproxy.http.template import VARIABLES, Template
from lbproxy.interfaces import Env
from tests.http.traffic import Traffic, request

ENV = Env(now=lambda: 0.0, random=Random(0))
TRAFFIC = Traffic(
    request("/a/b?x=1", "Example.com:8080", headers=(("X-A", "va"), ("Cookie", "c=vc"))),
    sni="sni.example",
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", b"plain"),
        ("", b""),
        ("{client_ip}:{client_port}", b"192.0.2.1:4711"),
        ("{host}|{hostname}", b"Example.com:8080|Example.com"),
        ("{path} {query} {uri}", b"/a/b x=1 /a/b?x=1"),
        ("{method} {scheme} {sni}", b"GET http sni.example"),
        ("{frontend}/{backend}/{server}", b"web/app/a"),
        ("{request_id}", b"r-1"),
        ("{header:x-a}{header:none}{cookie:c}{cookie:d}{query:x}{query:y}", b"vavc1"),
        ("{{path}}", b"{path}"),
        ("{{{path}}}", b"{/a/b}"),
        ("caf\u00e9", "caf\u00e9".encode()),
    ],
)
def test_template(text: str, wanted: bytes) -> None:
    assert Template(text).render(TRAFFIC) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{clientip}", "did you mean {client_ip}?"),
        ("{headers:X}", "did you mean {header:NAME}?"),
        ("{zzzzzzzz}", "one of client_ip"),
        ("{}", "unknown variable {}"),
        ("{header:}", "is not the name of a header"),
        ("{header:a b}", "is not the name of a header"),
        ("{path", "a single '{'"),
        ("path}", "a single '}'"),
        ("a\r\nb", "line break"),
        ("a\0b", "control character"),
    ],
)
def test_bad_templates(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Template(text)
    assert message in str(caught.value)


def test_early_templates_know_no_server() -> None:
    with pytest.raises(ValueError, match="before a server is picked"):
        Template("{server}", early=True)


def test_constants_are_precomputed() -> None:
    assert Template("a{{b").constant == b"a{b"
    assert Template("{path}").constant is None


@given(st.binary(), st.text(), st.sampled_from([plain, in_path, in_markup, in_json, in_script]))
def test_no_variable_brings_a_line_break(raw: bytes, text: str, place: Place) -> None:
    head = request("/")
    head.target = b"/" + raw
    head.host = head.method = raw
    head.headers = [(b"X-A", raw), (b"Cookie", b"c=" + raw)]
    traffic = Traffic(head, client_ip=text, sni=text, scheme=text, request_id=text)
    every = "".join(f"{{{name}}}" for name in VARIABLES) + "{header:x-a}{cookie:c}{query:q}"
    out = Template(every, place=place).render(traffic)
    assert not set(out) & {*range(32), 127}


def set_header(message: str, name: str, value: str) -> SetHeader:
    return SetHeader(HeaderOptions(message, name, value), ENV)


def test_set_header_in_the_phase_of_its_message() -> None:
    assert len(compile_phases([set_header("request", "X-A", "1")]).request) == 1
    phases = compile_phases([set_header("response", "X-A", "1")])
    assert (len(phases.request), len(phases.response)) == (0, 1)


def test_set_header_replaces_every_line() -> None:
    head = request(headers=(("x-a", "1"), ("X-A", "2"), ("X-B", "3")))
    set_header("request", "X-A", "{client_ip}").request(Traffic(head))
    assert head.headers[1:] == [(b"X-B", b"3"), (b"X-A", b"192.0.2.1")]


def test_set_header_with_nothing_removes() -> None:
    head = request(headers=(("X-User", "forged"),))
    set_header("request", "X-User", "{cookie:user}").request(Traffic(head))
    assert head.header(b"x-user") is None


def test_headers_of_the_response() -> None:
    response = ResponseHead(200, header_pairs([("Server", "x"), ("X-Powered-By", "y")]))
    traffic = Traffic(request(), response)
    AddHeader(HeaderOptions("response", "X-Via", "{server}"), ENV).response(traffic)
    AddHeader(HeaderOptions("response", "X-Via", "{header:none}"), ENV).response(traffic)
    RemoveHeader(RemoveOptions("response", "x-powered-by"), ENV).response(traffic)
    assert response.headers == [(b"Server", b"x"), (b"X-Via", b"a")]


def test_remove_header_by_its_beginning() -> None:
    head = request(headers=(("X-Internal-A", "1"), ("x-internal-b", "2"), ("X-Int", "3")))
    RemoveHeader(RemoveOptions("request", "X-Internal-*"), ENV).request(Traffic(head))
    assert [name for name, _ in head.headers] == [b"Host", b"X-Int"]
    RemoveHeader(RemoveOptions("request", "*"), ENV).request(Traffic(head))
    assert [name for name, _ in head.headers] == [b"Host"]


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("a b", "x", "not a header name"),
        ("", "x", "not a header name"),
        ("Content-Length", "1", "written by lbproxy"),
        ("transfer-encoding", "x", "written by lbproxy"),
        ("Host", "x", "host_header"),
        ("X", "{sevrer}", "did you mean {server}"),
        ("X", "{server}", "before a server"),
    ],
)
def test_bad_header_options(header: str, value: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        HeaderOptions("request", header, value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "replacement", "target", "wanted"),
    [
        ("/api/*", "/*", "/api/v1/x?q=1", "/v1/x?q=1"),
        ("/api/*", "/new/*", "/api/", "/new/"),
        ("/api/*", "/new/*", "/apix", "/apix"),
        ("/api/*", "/gone", "/api/x?q=1", "/gone?q=1"),
        ("/old", "/new", "/old", "/new"),
        ("/old", "/new", "/old/", "/old/"),
        ("*", "/base*", "/x", "/base/x"),
        ("/a/*", "/*?from=a", "/a/b?q=1", "/b?from=a&q=1"),
        ("/a/*", "/*?from=a", "/a/b", "/b?from=a"),
        ("/a/*", "/{method}/*", "/a/b", "/GET/b"),
        ("~^/u/([0-9]+)", "/user/$1/$1", "/u/42/x", "/user/42/42/x"),
        ("~^/u/([0-9]+)", r"/user/\1", "/u/42", "/user/42"),
        ("~^/(a)?(b)?$", "/x$1$2", "/b", "/xb"),
        ("~x", "$$$0", "/axb", "/a$xb"),
        ("~^/", "", "/x", "/x"),
        ("/api/*", "/*", "/%61pi/x", "/x"),
        ("/api/*", "/*", "/s/../api/x", "/x"),
        ("/api/*", "/*", "/s/../other", "/s/../other"),
        ("/api/*", "/*", "/api/a%2Fb", "/a%2Fb"),
        ("/img/*", "/*", "/img/http://h/a.png", "/http://h/a.png"),
        ("/img/*", "/*", "/img/a%2fb%41?x=//", "/a%2fb%41?x=//"),
        ("/img/*", "/i/*", "/img/a/./b/../c", "/i/a/./b/../c"),
        ("/img*", "/i*", "/img//a//b", "/i//a//b"),
        ("*", "*", "/a//b%41", "/a//b%41"),
        ("/img/*", "/*", "/img//h.example/a//b", "/h.example/a//b"),
        ("/img/*", "/i/*", "/img/a/../../img/b", "/i/b"),
        ("/img/*", "/i/*", "/img/%2e%2e/img/b", "/i/b"),
        ("/img/*", "/i/*", "/%69mg/a//b", "/i/a/b"),
    ],
)
def test_rewrite(pattern: str, replacement: str, target: str, wanted: str) -> None:
    head = request(target)
    Rewrite(RewriteOptions(pattern, replacement), ENV).request(Traffic(head))
    assert head.target == wanted.encode()


def test_rewrite_of_the_host() -> None:
    head = request("/x", "a.example")
    Rewrite(RewriteOptions("*", "*", "In.{host}:81"), ENV).request(Traffic(head))
    assert (head.host, head.target) == (b"in.a.example:81", b"/x")
    assert head.header_values(b"host") == [b"in.a.example:81"]


@pytest.mark.parametrize("value", ["a b", "a/b", "", "a:99999"])
def test_rewrite_to_an_impossible_host_is_refused(value: str) -> None:
    head = request("/x", headers=(("X-H", value),))
    with pytest.raises(ProxyError):
        Rewrite(RewriteOptions("*", "*", "{header:x-h}"), ENV).request(Traffic(head))


def test_rewrite_refuses_ambiguous_paths_and_leaves_others() -> None:
    rewrite = Rewrite(RewriteOptions("/a/*", "/*"), ENV)
    with pytest.raises(ProxyError):
        rewrite.request(Traffic(request("/a/../..")))
    with pytest.raises(ProxyError):
        Rewrite(RewriteOptions("/a*", "/b/*"), ENV).request(Traffic(request("/a../c")))
    head = request("*", method="OPTIONS")
    rewrite.request(Traffic(head))
    assert head.target == b"*"


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ("/a*b", "/x", "~regex"),
        ("/a", "/b*", "the pattern has none"),
        ("/a/*", "b", "must begin with"),
        ("a", "/b", "must begin with"),
        ("~(", "/b", "invalid regular expression"),
        ("~(a)", "/$2", "1 groups"),
        ("/a/*", "/{pth}", "did you mean {path}"),
    ],
)
def test_bad_rewrites(pattern: str, replacement: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        RewriteOptions(pattern, replacement)
    assert message in str(caught.value)


def location(target: str, traffic: Traffic) -> bytes:
    redirect = Redirect(RedirectOptions("301", target), ENV)
    reply = redirect.reply(traffic)
    assert reply.status == 301 and reply.body == b""
    return dict(reply.headers)[b"Location"]


@pytest.mark.parametrize(
    ("target", "uri", "wanted"),
    [
        ("https://{host}{uri}", "/a?b=c", b"https://example.com/a?b=c"),
        ("{scheme}://new{path}", "/a", b"http://new/a"),
        ("/new{path}", "/a", b"/new/a"),
        ("{uri}", "//evil.example/", b"/evil.example/"),
        ("{uri}", "///evil.example", b"/evil.example"),
        ("{uri}", "/\\evil.example", b"/%5Cevil.example"),
        ("/{path}", "/evil.example", b"/evil.example"),
        ("https://new{uri}", "*", b"https://new/"),
        ("//cdn.example{path}", "/a", b"//cdn.example/a"),
        ("/caf\u00e9 x", "/", b"/caf%C3%A9%20x"),
        ("{path}", '/a"<b>%20', b"/a%22%3Cb%3E%20"),
    ],
)
def test_redirect(target: str, uri: str, wanted: bytes) -> None:
    assert location(target, Traffic(request(uri))) == wanted


@pytest.mark.parametrize(
    "target", ["https://{host}{uri}", "{scheme}://{hostname}:8443/", "https://{header:x-host}"]
)
def test_redirect_to_the_host_of_a_request_without_one(target: str) -> None:
    with pytest.raises(ProxyError) as caught:
        location(target, Traffic(request("/a", "")))
    assert caught.value.status == 400


def test_redirect_to_a_target_of_another_scheme() -> None:
    assert location("app:///{hostname}", Traffic(request("/a", ""))) == b"app:///"


@pytest.mark.parametrize("status", ["200", "300", "304", "404"])
def test_redirect_status(status: str) -> None:
    with pytest.raises(ValueError, match="status"):
        RedirectOptions(status, "/")


def test_reply() -> None:
    reply = ReplyFilter(ReplyOptions(503, "down, {client_ip}\n"), ENV).reply(TRAFFIC)
    assert (reply.status, reply.body) == (503, b"down, 192.0.2.1\n")
    assert reply.headers == [(b"Content-Type", b"text/plain; charset=utf-8")]
    empty = ReplyFilter(ReplyOptions(204), ENV).request(TRAFFIC)
    assert (empty.status, empty.body, empty.headers) == (204, b"", [])


def test_replies_share_nothing() -> None:
    maker = ReplyFilter(ReplyOptions(200, "x"), ENV)
    maker.reply(TRAFFIC).headers.append((b"X", b"y"))
    assert len(maker.reply(TRAFFIC).headers) == 1


def test_markup_is_escaped() -> None:
    traffic = Traffic(request("/<script>"))
    page = ReplyFilter(ReplyOptions(404, "<b>{path}</b>", "text/html"), ENV).reply(traffic)
    assert page.body == b"<b>/&lt;script&gt;</b>"


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (100, "", "text/plain", "200 to 599"),
        (204, "x", "text/plain", "no body"),
        (200, "x", "plain", "media type"),
        (200, "x", "text/plain\r\nX: y", "media type"),
        (200, "{bdy}", "text/plain", "unknown variable"),
    ],
)
def test_bad_replies(status: int, body: str, kind: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ReplyOptions(status, body, kind)
    assert message in str(caught.value)
