"""Names of responses and purges mean what :meth:`Purge.names` says, and values what was stored."""

from __future__ import annotations

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.catalog import path_group
from lbproxy.cache.purge import KINDS, Purge
from lbproxy.cache.purgenames import NAME_SIZE, names_in, names_of, prefix_of

SCHEMES = st.sampled_from([b"http", b"https"])
HOSTS = st.sampled_from([b"h", b"h:80", b"h:443", b"h:8080", b"g"])
PATHS = st.sampled_from([b"/", b"/a", b"/a/b", b"/a?x=1", b"/a?x=2", b"/a/b?x=1"])
WORDS = st.sampled_from([b"x", b"y", b"x y", b""])


@frozen
class Response:
    url: bytes
    tags: frozenset[bytes]
    groups: frozenset[bytes]


@st.composite
def urls(draw: st.DrawFn) -> bytes:
    return draw(SCHEMES) + b"://" + draw(HOSTS) + draw(PATHS)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    url = draw(urls())
    groups = set(draw(st.sets(WORDS)))
    if draw(st.booleans()):
        groups.add(path_group(url))
    return Response(url, frozenset(draw(st.sets(WORDS))), frozenset(groups))


@st.composite
def purges(draw: st.DrawFn) -> Purge:
    kind = draw(st.sampled_from(KINDS))
    url = draw(urls())
    origin = b"/".join(url.split(b"/", 3)[:3])
    values = {
        "url": url,
        "prefix": url[: draw(st.integers(0, len(url)))],
        "host": draw(HOSTS),
        "tag": draw(WORDS),
        "group": origin + b" " + draw(WORDS),
        "all": b"",
    }
    return Purge(kind, values[kind])


@given(responses(), purges())
def test_a_purge_means_what_shares_a_name_with_it(response: Response, purge: Purge) -> None:
    own, prefix = names_of(response), prefix_of(purge)
    assert all(len(name) == NAME_SIZE for name in own)
    by_name = bool(set(own) & set(names_in(purge)))
    by_prefix = prefix is not None and response.url.startswith(prefix)
    assert (by_name or by_prefix) == purge.names(response)
