"""Parts of responses (206): stored, combined, and never mixed (RFC 9111 §3.3, §3.4)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.caching.shown import why
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import config_with
from tests.support.purging import purged

BODY = bytes(range(256)) * 4

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def start(cache: str = "memory = 16m") -> LoadBalancerFixture:
        lb = LB.from_config(config_with(cache))
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


class Resource:
    """A server that obeys Range, with the headers and the body that a test changes."""

    def __init__(self, lb: LoadBalancerFixture, body: bytes = BODY, **headers: str) -> None:
        self.body = body
        self.headers = {"Cache-Control": "max-age=60", "ETag": '"1"'}
        self.headers.update({name.replace("_", "-"): text for name, text in headers.items()})
        self.origin = lb.origin("a", "10.0.0.1:80", self.answer)

    def answer(self, request: Request) -> Answer:
        asked = request.header("Range")
        if not asked or "," in asked:
            return Answer(200, self.body, self.headers)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        size = len(self.body)
        start = int(first) if first else size - int(last)
        end = min(int(last), size - 1) if first and last else size - 1
        part = {"Content-Range": f"bytes {start}-{end}/{size}"}
        return Answer(206, self.body[start : end + 1], {**self.headers, **part})

    @property
    def count(self) -> int:
        return len(self.origin.requests)


def ask(lb: LoadBalancerFixture, span: str = "", **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if span:
        fields["Range"] = f"bytes={span}"
    return lb.get("http://h/a", headers=fields)


def check(response: Response, first: int, last: int, body: bytes = BODY) -> None:
    """It is a 206 with these bytes."""
    assert response.status == 206
    assert response.body == body[first : last + 1]
    assert response.header("Content-Range") == f"bytes {first}-{last}/{len(body)}"
    assert response.header("Content-Length") == str(last - first + 1)


def test_a_part_answers_what_lies_within_it(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    check(ask(lb, "100-199"), 100, 199)
    for first, last in ((100, 199), (150, 160), (199, 199)):
        check(ask(lb, f"{first}-{last}"), first, last)
    assert server.count == 1
    assert ask(lb, "100-199").header("Cache-Status").startswith("main; hit; ttl=60")
    check(ask(lb, "150-200"), 150, 200)
    assert server.count == 2


def test_cache_status_says_that_only_a_part_is_stored(make: Make) -> None:
    lb = make()
    Resource(lb)
    assert ask(lb, "0-9").header("Cache-Status") == (
        "main; fwd=uri-miss; fwd-status=206; ttl=60; stored"
    )
    assert ask(lb, "20-29").header("Cache-Status").startswith("main; fwd=partial; fwd-status=206")


def test_parts_that_touch_are_one(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    for span in ("0-99", "300-399", "50-150", "151-299"):
        ask(lb, span)
    assert server.count == 4
    check(ask(lb, "10-390"), 10, 390)
    assert server.count == 4
    assert len(lb.service.caches["main"].store) == 1


@pytest.mark.parametrize("size", [1024, 700_000])
def test_a_complete_response_answers_everything(make: Make, size: int) -> None:
    lb = make()
    body = random.Random(3).randbytes(size)
    server = Resource(lb, body)
    half = size // 2
    ask(lb, f"{half}-")
    assert ask(lb, f"0-{half - 1}").status == 206
    found = ask(lb)
    assert (found.status, found.body, server.count) == (200, body, 2)
    assert not found.header("Content-Range")
    assert ask(lb, "-5").body == body[-5:]
    assert ask(lb, "5-3,1-2").status == 200, "an invalid Range is ignored"
    assert ask(lb, f"{size}-").status == 416
    several = ask(lb, "0-1,700-701")
    assert several.body.count(b"Content-Range: bytes") == 2
    assert lb.request("HEAD", "http://h/a").header("Content-Length") == str(size)
    assert ask(lb, If_None_Match='"1"').status == 304
    assert server.count == 2


def test_an_incomplete_response_answers_nothing_else(make: Make) -> None:
    """RFC 9111 section 3.3: only requests for a range that lies within it."""
    lb = make()
    server = Resource(lb)
    for number, request in enumerate(
        (
            lambda: ask(lb, If_None_Match='"1"'),
            lambda: lb.request("HEAD", "http://h/a"),
            lambda: ask(lb, "1024-"),
            lambda: ask(lb, "0-9,1000-1023"),
            lambda: ask(lb, "0-9", If_Range='"2"'),
        )
    ):
        purged(lb.service.caches["main"], Purge("all"))
        ask(lb, "0-499")
        before = server.count
        request()
        assert server.count == before + 1, number


def test_if_range_is_judged_by_the_tag_of_the_part(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    ask(lb, "0-499")
    check(ask(lb, "0-9", If_Range='"1"'), 0, 9)
    assert server.count == 1
    assert ask(lb, "0-9", If_Range='W/"1"').status == 206, "the server judges it"
    assert server.count == 2


@pytest.mark.parametrize("tag", ['"2"', 'W/"1"', "", '"1", "2"', "1"])
def test_parts_with_another_validator_are_not_combined(make: Make, tag: str) -> None:
    """The new part replaces the old ones, or is not stored."""
    lb = make()
    server = Resource(lb)
    ask(lb, "0-511")
    server.body, server.headers["ETag"] = bytes(1024), tag
    if not tag:
        del server.headers["ETag"]
    check(ask(lb, "512-1023"), 512, 1023, server.body)
    whole = ask(lb)
    assert (whole.status, whole.body) == (200, server.body)


def test_parts_of_another_length_are_not_combined(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    ask(lb, "0-511")
    server.body = bytes(2048)
    ask(lb, "512-1023")
    check(ask(lb, "0-9"), 0, 9, server.body)
    assert server.count == 3


def test_a_whole_response_replaces_parts(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    ask(lb, "0-511")
    server.body, server.headers["ETag"] = bytes(1024), '"2"'
    assert ask(lb).body == server.body
    check(ask(lb, "0-511"), 0, 511, server.body)
    assert (server.count, len(lb.service.caches["main"].store)) == (2, 1)


@pytest.mark.parametrize("tag", ['"1"', '"2"'])
def test_a_part_of_a_new_representation_replaces_the_whole_old_one(make: Make, tag: str) -> None:
    """A range asked for by a condition of ``refresh`` shows that the stored response is old."""
    lb = make("refresh = header X-Refresh")
    server = Resource(lb)
    ask(lb)
    server.body = BODY if tag == '"1"' else bytes(1024)
    server.headers["ETag"] = tag
    check(ask(lb, "0-9", X_Refresh="1"), 0, 9, server.body)
    assert ask(lb).body == server.body
    assert server.count == (2 if tag == '"1"' else 3)


def test_a_response_that_is_not_stored_removes_parts(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    ask(lb, "0-511")
    server.body, server.headers["Cache-Control"] = bytes(1024), "no-store"
    ask(lb)
    check(ask(lb, "0-511"), 0, 511, server.body)
    assert server.count == 3


def test_a_server_without_ranges_sends_the_whole_response_once(make: Make) -> None:
    lb = make()
    origin = lb.origin("a", "10.0.0.1:80", Answer(200, BODY, {"Cache-Control": "max-age=60"}))
    assert ask(lb, "0-9").status == 200
    check(ask(lb, "0-9"), 0, 9)
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "no-store"},
        {"Cache-Control": "private"},
        {"Set-Cookie": "a=b"},
        {"Vary": "*"},
        {"Content-Range": "bytes 0-9/*"},
        {"Content-Range": "bytes 0-10/1024"},
        {"Content-Range": "bytes 0-9/9"},
        {"Content-Range": "lines 0-9/1024"},
        {"Content-Type": "multipart/byteranges; boundary=x"},
    ],
)
def test_parts_that_are_not_stored(make: Make, headers: dict[str, str]) -> None:
    lb = make()
    fields = {"Cache-Control": "max-age=60", "ETag": '"1"', "Content-Range": "bytes 0-9/1024"}
    origin = lb.origin("a", "10.0.0.1:80", Answer(206, BODY[:10], {**fields, **headers}))
    for _ in range(2):
        assert ask(lb, "0-9").status == 206
    assert len(origin.requests) == 2
    assert len(lb.service.caches["main"].store) == 0


def test_a_part_of_a_response_above_max_object_is_not_stored(make: Make) -> None:
    lb = make("max_object = 1000")
    server = Resource(lb)
    for _ in range(2):
        ask(lb, "0-9")
    assert server.count == 2


def test_parts_of_other_users_and_variants_are_not_used(make: Make) -> None:
    lb = make()
    server = Resource(lb, Vary="Accept-Language")
    ask(lb, "0-99", Accept_Language="de")
    ask(lb, "0-99", Accept_Language="en")
    ask(lb, "0-99", Cookie="a=b")
    ask(lb, "0-99", Authorization="Basic YTpi")
    assert server.count == 4
    ask(lb, "50-60", Accept_Language="de")
    ask(lb, "50-60", Accept_Language="en")
    assert server.count == 4


def test_a_stale_part_is_fetched_again_and_may_then_be_combined(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    ask(lb, "0-511")
    lb.advance(61)
    check(ask(lb, "0-511"), 0, 511)
    assert server.count == 2
    lb.advance(61)
    ask(lb, "512-1023")
    assert (ask(lb).body, server.count) == (BODY, 3), "the same tag: the old bytes are good"


def test_a_client_that_demands_a_new_response_gets_no_part(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    ask(lb, "0-99")
    ask(lb, "0-99", Cache_Control="no-cache")
    assert server.count == 2
    assert ask(lb, "0-99", Cache_Control="only-if-cached").status == 206
    assert ask(lb, "0-100", Cache_Control="only-if-cached").status == 504
    assert server.count == 2


def test_purges_name_parts(make: Make) -> None:
    lb = make()
    server = Resource(lb, Surrogate_Key="news")
    for wanted in (Purge("url", b"http://h/a"), Purge("tag", b"news"), Purge("host", b"h")):
        ask(lb, "0-99")
        before = server.count
        assert purged(lb.service.caches["main"], wanted) == 1
        ask(lb, "0-99")
        assert server.count == before + 1
        purged(lb.service.caches["main"], Purge("all"))


def test_a_part_that_a_purge_overtakes_is_not_stored(make: Make) -> None:
    lb = make()
    headers = {"Cache-Control": "max-age=60", "ETag": '"1"', "Content-Range": "bytes 0-9/1024"}
    lb.origin("a", "10.0.0.1:80", Answer(206, BODY[:10], headers, after=1.0))
    first = lb.begin("GET", "http://h/a", headers={"Range": "bytes=0-9"})
    lb.advance(0.5)
    purged(lb.service.caches["main"], Purge("all"))
    assert first.wait(5).status == 206
    assert len(lb.service.caches["main"].store) == 0


def begin(lb: LoadBalancerFixture, span: str, **headers: str) -> Any:
    fields = {"Range": f"bytes={span}"}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    return lb.begin("GET", "http://h/a", headers=fields)


class Delayed(Resource):
    """Answers after a second, or with what ``instead`` is."""

    instead: Answer | None = None

    def answer(self, request: Request) -> Answer:
        found = self.instead or super().answer(request)
        return Answer(found.status, found.body, found.headers, after=1.0)


def test_requests_for_the_same_part_make_one_fetch(make: Make) -> None:
    lb = make()
    resource = Delayed(lb)
    same = [begin(lb, "10-99") for _ in range(5)]
    other = begin(lb, "10-98")
    assert resource.count == 2
    for one in same:
        check(one.wait(5), 10, 99)
    check(other.wait(5), 10, 98)
    cache = lb.service.caches["main"]
    assert cache.counters.collapsed == 4
    assert not cache._running and not cache.fetches and not cache.memory.reserved
    check(ask(lb, "10-99"), 10, 99)
    assert resource.count == 2


def test_cookies_validators_and_no_cache_join_no_fetch_of_a_part(make: Make) -> None:
    lb = make()
    resource = Delayed(lb)
    headers = [{}, {"Cookie": "a=b"}, {"Cache_Control": "no-cache"}, {"If_Range": '"1"'}]
    found = [begin(lb, "0-9", **one) for one in headers]
    assert resource.count == 4
    assert {one.wait(5).body for one in found} == {BODY[:10]}


def test_a_part_for_one_variant_answers_no_other(make: Make) -> None:
    lb = make()
    resource = Delayed(lb, Vary="Accept-Language")
    english, german = (begin(lb, "0-9", Accept_Language=name) for name in ("en", "de"))
    check(english.wait(5), 0, 9)
    check(german.wait(5), 0, 9)
    assert resource.count == 2, "the second one asks for itself once the first has its Vary"


def test_requests_for_a_part_that_is_not_stored_do_not_wait_again(make: Make) -> None:
    lb = make()
    resource = Delayed(lb, Cache_Control="no-store")
    first = [begin(lb, "0-9") for _ in range(3)]
    for one in first:
        check(one.wait(5), 0, 9)
    assert resource.count == 3
    again = [begin(lb, "0-9") for _ in range(3)]
    assert resource.count == 6, "at once"
    for one in again:
        check(one.wait(5), 0, 9)


def test_who_comes_after_a_purge_joins_no_fetch_of_a_part(make: Make) -> None:
    lb = make()
    resource = Delayed(lb)
    before = begin(lb, "0-9")
    lb.advance(0.5)
    purged(lb.service.caches["main"], Purge("url", b"http://h/a"))
    resource.body = BODY[::-1]
    after = begin(lb, "0-9")
    assert resource.count == 2
    assert (before.wait(5).body, after.wait(5).body) == (BODY[:10], BODY[::-1][:10])
    assert ask(lb, "0-9").body == BODY[::-1][:10]


def test_a_whole_response_to_a_range_answers_all_that_wait(make: Make) -> None:
    lb = make()
    resource = Delayed(lb)
    resource.instead = Answer(200, BODY, resource.headers)
    found = [begin(lb, "0-9") for _ in range(3)]
    assert [one.wait(5).body for one in found] == [BODY] * 3
    check(ask(lb, "5-9"), 5, 9)
    assert resource.count == 1


class Slow(Resource):
    """Answers the range that begins at 0 after two seconds, as the resource was when asked."""

    def answer(self, request: Request) -> Answer:
        found = super().answer(request)
        slow = request.header("Range").startswith("bytes=0-")
        number = {"X-Number": str(self.count)}
        return Answer(206, found.body, {**found.headers, **number}, after=2.0 if slow else 0.0)


def test_a_late_part_of_an_old_representation_does_not_replace_the_new_one(make: Make) -> None:
    lb = make()
    server = Slow(lb)
    late = lb.begin("GET", "http://h/a", headers={"Range": "bytes=0-99"})
    lb.advance(1)
    server.body, server.headers["ETag"] = bytes(1024), '"2"'
    ask(lb, "200-299")
    check(late.wait(5), 0, 99)
    check(ask(lb, "200-299"), 200, 299, server.body)
    assert server.count == 2
    check(ask(lb, "0-9"), 0, 9, server.body)


def test_combined_parts_have_the_head_of_the_latest_request(make: Make) -> None:
    lb = make()
    server = Slow(lb)
    late = lb.begin("GET", "http://h/a", headers={"Range": "bytes=0-99"})
    lb.advance(1)
    ask(lb, "100-199")
    late.wait(5)
    found = ask(lb, "50-150")
    check(found, 50, 150)
    assert (found.header("X-Number"), server.count) == ("2", 2)


@pytest.mark.parametrize("name", ["Content-Digest", "Content-MD5"])
def test_a_digest_of_one_part_is_given_with_no_other_content(make: Make, name: str) -> None:
    lb = make()
    server = Resource(lb, **{name.replace("-", "_"): "x", "Repr_Digest": "y"})
    assert ask(lb, "0-511").header(name) == "x", "as it came"
    ask(lb, "512-1023")
    for found in (ask(lb, "5-9"), ask(lb)):
        assert (found.header(name), found.header("Repr-Digest")) == ("", "y")
    assert server.count == 2


def test_a_digest_of_the_whole_is_given_with_no_part(make: Make) -> None:
    lb = make()
    server = Resource(lb, Content_Digest="x", Repr_Digest="y")
    for span, digest in (("", "x"), ("", "x"), ("0-9", ""), ("0-9,20-29", "")):
        found = ask(lb, span)
        assert (found.header("Content-Digest"), found.header("Repr-Digest")) == (digest, "y")
    assert server.count == 1


def test_why_names_the_part(make: Make) -> None:
    lb = make()
    Resource(lb)
    ask(lb, "0-99")
    head = RequestHead(b"GET", b"/a", [], host=b"h", scheme=b"http")
    (found,) = why(lb.service.caches["main"], head)["stored"]
    assert (found["use"], found["reason"]) == ("part", "bytes 0-99/1024")
    assert found["vary"] == {}


def test_the_number_of_parts_is_bounded(make: Make) -> None:
    lb = make()
    server = Resource(lb)
    for number in range(100):
        ask(lb, f"{number * 10}-{number * 10 + 1}")
        lb.advance(0.01)
    assert len(lb.service.caches["main"].store) == 32
    count = server.count
    check(ask(lb, "990-991"), 990, 991)
    assert server.count == count


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["memory", "few", "disk", "workers"])
def test_no_sequence_of_ranges_gives_a_wrong_byte(
    make: Make, tmp_path: Path, kind: str, seed: int
) -> None:
    """A resource that changes with its tag, asked for random ranges at one process or at two."""
    random_ = random.Random(seed)
    folder = f"memory = 16m\ndisk = {tmp_path} 200m"
    text = {"memory": "memory = 16m", "few": "memory = 16m\nvariants = 6"}.get(kind, folder)
    nodes = [make(text) for _ in range(2 if kind == "workers" else 1)]
    size = random_.choice([10, 1024, 300_000])
    versions = [random_.randbytes(size) for _ in range(3)]
    servers = [Resource(lb, versions[0], Cache_Control="max-age=5", ETag='"0"') for lb in nodes]
    if kind == "workers":
        for lb in nodes:
            lb.service.caches["main"].store.alone = False
    hits = 0
    for _ in range(80):
        if random_.random() < 0.05:
            version = random_.randrange(3)
            for server in servers:
                server.body, server.headers["ETag"] = versions[version], f'"{version}"'
        first = random_.randrange(size)
        last = min(size - 1, first + random_.randrange(1 + size // random_.choice([2, 20])))
        span = random_.choice([f"{first}-{last}", f"{first}-", f"-{size - first}", ""])
        found = ask(random_.choice(nodes), span)
        hits += "hit" in found.header("Cache-Status")
        body = versions[int(found.header("ETag").strip('"'))]
        if found.status == 206:
            start, _, rest = found.header("Content-Range").removeprefix("bytes ").partition("-")
            assert (int(start), rest.partition("/")[2]) == (first, str(size))
            assert found.body == body[first : first + len(found.body)]
        else:
            assert (found.status, found.body) == (200, body)
        time = random_.random()
        for lb in nodes:
            lb.advance(time)
    assert hits, "the parts are used"


def test_a_part_that_one_process_stores_serves_the_other(make: Make, tmp_path: Path) -> None:
    text = f"memory = 16m\ndisk = {tmp_path} 200m"
    one, two = make(text), make(text)
    for lb in (one, two):
        lb.service.caches["main"].store.alone = False
    first, second = Resource(one), Resource(two)
    ask(one, "0-99")
    one.advance(0.1)
    check(ask(two, "10-20"), 10, 20)
    ask(two, "100-1023")
    two.advance(0.1)
    assert (ask(one).body, ask(two).body) == (BODY, BODY)
    assert (first.count, second.count) == (1, 1)
    purged(two.service.caches["main"], Purge("url", b"http://h/a"))
    ask(one, "0-9")
    assert first.count == 2


def test_parts_survive_a_restart_in_files(make: Make, tmp_path: Path) -> None:
    body = random.Random(5).randbytes(900_000)
    cache = f"memory = 4m\ndisk = {tmp_path} 100m\nmax_object = 1m"
    lb = make(cache)
    server = Resource(lb, body)
    check(ask(lb, "0-399999"), 0, 399999, body)
    check(ask(lb, "400000-400099"), 400000, 400099, body)
    check(ask(lb, "399990-400050"), 399990, 400050, body)
    assert server.count == 2
    lb.advance(1)
    lb.close()
    lb = make(cache)
    server = Resource(lb, body)
    check(ask(lb, "399990-400050"), 399990, 400050, body)
    assert server.count == 0
    ask(lb, "400100-")
    assert (ask(lb).body, server.count) == (body, 1)
