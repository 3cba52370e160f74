"""One fetch for all processes: claims in the folder, waits for them, and their end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.disk.claims import PASS_SECONDS, FetchClaims
from lbproxy.proxy.features.caching.runningfetches import LARGE_SECONDS
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer
from tests.support.caching import config_with, in_turn
from tests.support.purging import purged

KEY, OTHER = bytes(16), b"\x01" + bytes(15)
MINUTE = {"Cache-Control": "max-age=60", "ETag": '"v1"'}

Make = Callable[..., LoadBalancerFixture]


def test_one_of_two_has_the_claim(tmp_path: Path) -> None:
    one, two = FetchClaims(tmp_path), FetchClaims(tmp_path)
    claim = one.claim(KEY)
    again = one.claim(KEY)
    assert claim is not None and again is not None
    assert two.claim(KEY) is None and not two.is_free(KEY)
    assert two.is_free(OTHER) and one.is_free(KEY)
    claim.release()
    claim.release()
    assert not two.is_free(KEY), "the process has a second claim"
    again.release()
    assert two.is_free(KEY)


def test_a_key_that_is_not_stored_does_not_wait(tmp_path: Path) -> None:
    one, two = FetchClaims(tmp_path), FetchClaims(tmp_path)
    assert not two.passes(KEY, 50)
    claim = one.claim(KEY)
    assert claim is not None
    claim.release(passing_until=100)
    assert two.passes(KEY, 99) and not two.passes(KEY, 100)
    assert not two.passes(KEY[:-1] + b"x", 99), "another key of the same byte"
    assert not two.passes(KEY, 100 - PASS_SECONDS - 2), "the clock was set back"


def test_the_claim_of_a_killed_process_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from lbproxy.proxy.features.caching.disk.claims import FetchClaims; "
        "claims = FetchClaims(Path(sys.argv[1])); claim = claims.claim(bytes(16)); "
        "print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"claimed\n"
        claims = FetchClaims(tmp_path)
        assert not claims.is_free(KEY)
        other.send_signal(signal.SIGKILL)
        other.wait(30)
    assert claims.is_free(KEY)


def test_a_closed_file_has_no_claims(tmp_path: Path) -> None:
    one, two = FetchClaims(tmp_path), FetchClaims(tmp_path)
    claim = one.claim(KEY)
    assert claim is not None
    one.close()
    assert two.is_free(KEY)
    claim.release(passing_until=100)
    late = one.claim(KEY)
    assert late is not None and one.is_free(KEY) and not one.passes(KEY, 0)
    late.release()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a process of two with one folder."""
    made: list[LoadBalancerFixture] = []
    disk = f"disk = {tmp_path / 'store'} 256m"

    def start(cache: str = "") -> LoadBalancerFixture:
        lb = LB.from_config(config_with(f"{disk}\nwait = 5s\n{cache}", backend="retries = 0"))
        lb.service.caches["main"].store.alone = False
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def together(one: LoadBalancerFixture, two: LoadBalancerFixture, seconds: float) -> None:
    """Let time pass in both."""
    for _ in range(int(seconds * 20)):
        one.advance(0.05)
        two.advance(0.05)


def pair(make: Make, answer: Any, cache: str = "") -> tuple[Any, Any, Any, Any]:
    """Two processes, and the server of each, which answers alike."""
    one, two = make(cache), make(cache)
    return one, two, one.origin("a", "10.0.0.1:80", answer), two.origin("a", "10.0.0.1:80", answer)


def test_the_other_process_waits_and_answers_from_the_store(make: Make) -> None:
    one, two, origin, other = pair(make, Answer(200, b"one", MINUTE, after=1.0))
    first = [one.begin("GET", "http://h/a") for _ in range(3)]
    second = [two.begin("GET", "http://h/a") for _ in range(3)]
    together(one, two, 2)
    assert {item.wait().body for item in first + second} == {b"one"}
    assert (len(origin.requests), len(other.requests)) == (1, 0)
    counters = two.service.caches["main"].counters
    assert (counters.hits, counters.waited) == (3, 3)
    assert counters.wait_seconds == pytest.approx(3, abs=0.5)


def test_one_validation_for_both(make: Make) -> None:
    one, two, origin, other = pair(make, Answer(200, b"one", MINUTE))
    one.get("http://h/a")
    together(one, two, 1)
    assert two.get("http://h/a").body == b"one" and not other.requests
    together(one, two, 61)
    for server in (origin, other):
        server.handler = Answer(304, b"", MINUTE, after=1.0)
    first, second = one.begin("GET", "http://h/a"), two.begin("GET", "http://h/a")
    together(one, two, 2)
    assert (first.wait().body, second.wait().body) == (b"one", b"one")
    assert (len(origin.requests), len(other.requests)) == (2, 0)


def test_one_fetch_for_both_after_a_304_of_another_response(make: Make) -> None:
    one, two, origin, other = pair(make, Answer(200, b"one", MINUTE))
    one.get("http://h/a")
    together(one, two, 1)
    assert two.get("http://h/a").body == b"one"
    together(one, two, 61)
    for server in (origin, other):
        server.handler = in_turn(
            Answer(304, b"", {**MINUTE, "ETag": '"v2"'}, after=1.0),
            Answer(200, b"two", MINUTE, after=1.0),
        )
    asked = [one.begin("GET", "http://h/a") for _ in range(3)]
    asked += [two.begin("GET", "http://h/a") for _ in range(3)]
    together(one, two, 4)
    assert [found.wait().body for found in asked] == [b"two"] * 6
    assert len(origin.requests) + len(other.requests) == 3


def test_nobody_waits_behind_what_is_not_stored(make: Make) -> None:
    one, two, _, other = pair(make, Answer(200, b"one", {"Cache-Control": "private"}, after=1.0))
    first = one.begin("GET", "http://h/a")
    second = [two.begin("GET", "http://h/a") for _ in range(3)]
    together(one, two, 1.2)
    assert first.wait().body == b"one" and len(other.requests) == 3, "all at once"
    together(one, two, 1.2)
    assert {item.wait().body for item in second} == {b"one"}
    third = two.begin("GET", "http://h/a")
    assert len(other.requests) == 4
    assert third.wait().body == b"one"


@pytest.mark.parametrize("status", [403, 503])
def test_an_error_costs_one_request_of_each_process(make: Make, status: int) -> None:
    one, two, a, b = pair(make, Answer(status, b"no", after=1.0))
    for turn in (1, 2):
        waiting = [lb.begin("GET", "http://h/a") for lb in (one, two) for _ in range(10)]
        together(one, two, 3)
        assert [one.wait(1).status for one in waiting] == [status] * 20
        assert (len(a.requests), len(b.requests)) == (turn, turn)


def test_a_failed_fetch_frees_the_others(make: Make) -> None:
    one, two, _, other = pair(make, Answer(raw=b"", reset=True, after=1.0))
    other.handler = Answer(200, b"two", MINUTE)
    first, second = one.begin("GET", "http://h/a"), two.begin("GET", "http://h/a")
    together(one, two, 1.2)
    assert first.wait().status == 502
    assert second.wait().body == b"two"


def test_a_folder_that_fails_during_fetches_costs_no_request(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lb = make()
    lb.origin("a", "10.0.0.1:80", Answer(200, b"one", MINUTE, after=1.0))
    first = [lb.begin("GET", f"http://h/{name}") for name in "ab"]
    lb.advance(0.1)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("lbproxy.proxy.features.caching.disk.journal.os.lseek", fail)
    late = [lb.begin("GET", f"http://h/{name}") for name in "abc"]
    lb.advance(3)
    assert {one.wait().status for one in first + late} == {200}
    cached = [one.wait().header("Cache-Status") for one in first]
    assert all("purged while it was fetched" in one for one in cached), "purges may be missed"


def test_who_waits_too_long_asks_a_server(make: Make) -> None:
    one, two, _, other = pair(make, Answer(200, b"one", MINUTE, after=30.0))
    other.handler = Answer(200, b"two", MINUTE)
    one.begin("GET", "http://h/a")
    second = two.begin("GET", "http://h/a")
    together(one, two, 4.8)
    assert not other.requests
    together(one, two, 0.5)
    found = second.wait()
    assert (found.body, "bypass" in found.header("Cache-Status")) == (b"two", False)
    assert "does not fit" in found.header("Cache-Status")


def test_waiters_are_bounded_and_may_leave(make: Make) -> None:
    one, two, _, other = pair(make, Answer(200, b"one", MINUTE, after=3.0), "waiters = 2")
    one.begin("GET", "http://h/a")
    waiting = [two.begin("GET", "http://h/a") for _ in range(3)]
    together(one, two, 0.2)
    assert len(other.requests) == 1, "the third goes to a server"
    assert len(two.service.caches["main"].elsewhere) == 2
    waiting[0].client.abort()
    together(one, two, 0.2)
    assert len(two.service.caches["main"].elsewhere) == 1
    together(one, two, 4)
    assert waiting[1].wait().body == b"one"
    assert not two.service.caches["main"].elsewhere._waiting


def test_a_purge_ends_the_wait_for_what_began_before(make: Make) -> None:
    one, two, _, other = pair(make, Answer(200, b"old", MINUTE, after=4.0))
    other.handler = Answer(200, b"new", MINUTE)
    one.begin("GET", "http://h/a")
    purged(one.service.caches["main"], Purge("all"))
    second = two.begin("GET", "http://h/a")
    together(one, two, 0.2)
    assert second.wait().body == b"new"
    together(one, two, 5)
    assert two.get("http://h/a").body == b"new"


def test_one_refresh_in_the_background(make: Make) -> None:
    head = {"Cache-Control": "max-age=60, stale-while-revalidate=600"}
    one, two, origin, other = pair(make, Answer(200, b"one", head))
    one.get("http://h/a")
    together(one, two, 61)
    for server in (origin, other):
        server.handler = Answer(200, b"two", head, after=1.0)
    assert (one.get("http://h/a").body, two.get("http://h/a").body) == (b"one", b"one")
    together(one, two, 2)
    assert (len(origin.requests), len(other.requests)) == (2, 0)
    assert (one.get("http://h/a").body, two.get("http://h/a").body) == (b"two", b"two")


def test_the_end_of_a_large_body_is_waited_for_a_second(make: Make) -> None:
    one, two, _, other = pair(make, None, "max_object = 4m")
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 900000\r\n\r\n"
    one.origins["a"].handler = Answer(raw=head + b"x" * 600_000)
    other.handler = Answer(200, b"two", MINUTE)
    one.begin("GET", "http://h/a")
    one.advance(0.5)
    second = two.begin("GET", "http://h/a")
    two.advance(0.5)
    assert not other.requests
    one.advance(LARGE_SECONDS)
    assert second.wait().body == b"two"


def test_a_large_body_that_arrives_soon_is_fetched_once(make: Make) -> None:
    one, two, origin, other = pair(
        make, Answer(200, b"x" * 900_000, MINUTE, after=0.5), "max_object = 4m"
    )
    first, second = one.begin("GET", "http://h/a"), two.begin("GET", "http://h/a")
    one.advance(0.7)
    two.advance(0.1)
    assert first.wait().body == second.wait().body == b"x" * 900_000
    assert (len(origin.requests), len(other.requests)) == (1, 0)


def test_a_huge_body_is_not_waited_for(make: Make) -> None:
    one, two, _, other = pair(make, None, "max_object = 100m")
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 70000000\r\n\r\n"
    one.origins["a"].handler = Answer(raw=head + b"x" * 600_000)
    other.handler = Answer(200, b"two", MINUTE)
    one.begin("GET", "http://h/a")
    one.advance(0.5)
    assert two.begin("GET", "http://h/a").wait().body == b"two"
