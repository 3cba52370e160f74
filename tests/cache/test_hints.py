"""Links that are remembered for a 103, and who gets one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.control import NONE
from lbproxy.cache.hints import (
    LONGEST,
    MOST_LINKS,
    MOST_RESPONSES,
    Hints,
    early_links,
    links,
    takes_hints,
)
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.cache.vary import Selected
from lbproxy.http.message import RequestHead, ResponseHead


def response(*values: bytes) -> ResponseHead:
    return ResponseHead(200, [(b"Link", value) for value in values])


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"</a.css>; rel=preload; as=style", (b"</a.css>; rel=preload; as=style",)),
        (b'</a>;rel="next preload"', (b'</a>;rel="next preload"',)),
        (b"</a>; REL=PreLoad", (b"</a>; REL=PreLoad",)),
        (b"</a>; rel=next", ()),
        (b"</a>; title=\"x, </b>; rel=preload\"; rel=next", ()),
        (b"</a,b>; rel=preload, </c>;rel=preload", (b"</a,b>; rel=preload", b"</c>;rel=preload")),
        (b"</a>; rel=preload, nonsense, </c>; rel=preload", (b"</a>; rel=preload",)),
        (b"</a>", ()),
        (b"", ()),
        (b"</a\x00>; rel=preload", (b"</a\x00>; rel=preload",)),
    ],
)  # fmt: skip
def test_links(value: bytes, wanted: tuple[bytes, ...]) -> None:
    assert early_links(response(value)) == wanted


def stored(url: bytes, *values: bytes, selected: Selected = ()) -> Stored:
    headers = [(b"Link", value) for value in values]
    return Stored(url, 200, b"", headers, NONE, 0, 0, 0, True, "", length=1, selected=selected)


GET = RequestHead(b"GET", b"/", [])


def test_bounds() -> None:
    many = [b"</%d>; rel=preload" % number for number in range(2 * MOST_LINKS)]
    assert len(early_links(response(*many))) == MOST_LINKS
    long = response(b"</%b>; rel=preload" % (b"a" * LONGEST))
    assert early_links(long) == ()
    hints = Hints()
    for number in range(MOST_RESPONSES + 10):
        hints.learn(b"%d" % number, stored(b"http://h/%d" % number, *many))
    assert len(hints) == MOST_RESPONSES
    assert not hints.of(b"0", GET)
    hints.learn(b"last", stored(b"http://h/" + b"a" * LONGEST, *many))
    hints.learn(b"last", stored(b"http://h/", *many, selected=((b"x", b"a" * LONGEST),)))
    assert not hints.of(b"last", RequestHead(b"GET", b"/", [(b"X", b"a" * LONGEST)]))


@given(st.text('<>ab;,= "\\', max_size=40))
def test_no_input_yields_what_is_not_in_it(text: str) -> None:
    value = text.encode()
    found = [link for link, _ in links([value])]
    assert all(link in value and link.startswith(b"<") for link in found)


def test_a_response_without_links_and_a_purge_forget() -> None:
    hints = Hints()
    for path in (b"/a", b"/b", b"/c"):
        hints.learn(path, stored(b"http://h" + path, b"</x>; rel=preload"))
    hints.learn(b"/a", stored(b"http://h/a"))
    assert not hints.of(b"/a", GET)
    hints.purged(Purge("url", b"http://h/b"))
    assert not hints.of(b"/b", GET)
    hints.purged(Purge("host", b"other"))
    assert hints.of(b"/c", GET)
    hints.purged(Purge("tag", b"t"))
    assert not hints


def test_only_a_request_that_selects_the_response_gets_its_links() -> None:
    hints = Hints()
    bob = stored(b"http://h/", b"</bob>; rel=preload", selected=((b"x-user", b"bob"),))
    hints.learn(b"k", bob)
    assert hints.of(b"k", RequestHead(b"GET", b"/", [(b"X-User", b"bob")]))
    assert not hints.of(b"k", RequestHead(b"GET", b"/", [(b"X-User", b"eve")]))
    assert not hints.of(b"k", GET)
    assert not hints.of(b"other", RequestHead(b"GET", b"/", [(b"X-User", b"bob")]))


@pytest.mark.parametrize(
    ("version", "mode", "wanted"),
    [(11, b"navigate", True), (10, b"navigate", False), (11, b"cors", False), (11, None, False)],
)
def test_who_takes_hints(version: int, mode: bytes | None, wanted: bool) -> None:
    headers = [] if mode is None else [(b"Sec-Fetch-Mode", mode)]
    assert takes_hints(RequestHead(b"GET", b"/", headers), version) is wanted
