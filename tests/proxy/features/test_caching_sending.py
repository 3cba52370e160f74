"""Large stored bodies on the short path: from memory at once, from a file as the client takes it.

Here the clients are not lbproxy's own transports, so that all bodies come as bytes;
``tests/live/test_caching_sending.py`` has real sockets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.testing import LB, LoadBalancerFixture, NoResponse
from lbproxy.testing.client import PendingResponse
from lbproxy.testing.origin import Answer
from tests.support.caching import config_with
from tests.support.descriptors import open_below
from tests.support.purging import purged

HOUR = {"Cache-Control": "max-age=3600", "ETag": '"v"'}
BODY = bytes(range(256)) * 2600  # 650 KiB
OPENFILE = "lbproxy.proxy.features.caching.disk.openfile"

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Start a load balancer that has :data:`BODY` as ``/a``; a fetch would give ``fetched``."""
    made: list[LoadBalancerFixture] = []
    disk = f"disk = {tmp_path / 'store'} 64m\nmemory = 1m\nmax_object = 8m"
    cache = disk if request.param == "disk" else "memory = 8m\nmax_object = 1m"

    def start(frontend: str = "") -> LoadBalancerFixture:
        lb = LB.from_config(config_with(cache, frontend))
        made.append(lb)
        left = [Answer(200, BODY, HOUR)]
        lb.origin("a", "10.0.0.1:80", lambda _: left.pop() if left else b"fetched")
        assert lb.get("http://h/a").body == BODY
        lb.advance(1)
        return lb

    yield start
    for lb in made:
        memory = lb.service.caches["main"].memory
        assert not any(one.in_use for one in memory)
        assert (memory.reserved, memory.detached) == (0, 0)
        assert not open_files(lb)
        lb.close()


def open_files(lb: LoadBalancerFixture) -> list[str]:
    """Names of body files that are open and not in the table of the folder. A mapped file has two
    descriptors.
    """
    folder: Any = lb.service.caches["main"].store.folder
    if folder is None:
        return []
    found = sorted({one for one in open_below(folder.path) if ".b" in one})
    return found[len(folder.open_files) :]


def begun(lb: LoadBalancerFixture) -> PendingResponse:
    """Return a request by a client that reads nothing."""
    client = lb.connect("web")
    client.pause()
    pending = lb.begin("GET", "http://h/a", via=client)
    lb.advance(1)
    return pending


def test_a_large_body_is_sent_whole(make: Make) -> None:
    lb = make()
    for _ in range(3):
        found = lb.get("http://h/a")
        assert found.body == BODY and found.header("Cache-Status").startswith("main; hit")
    assert lb.service.caches["main"].counters.hits == 3


def test_responses_keep_their_order(make: Make) -> None:
    lb = make()
    client = lb.connect("web")
    client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
    lb.advance(1)
    bodies = client.take().split(b"\r\n\r\n")[1:]
    assert [one.partition(b"HTTP/1.1")[0] for one in bodies] == [BODY] * 3


def test_a_client_that_leaves_frees_everything(make: Make) -> None:
    lb = make()
    pending = begun(lb)
    pending.client.abort()
    lb.advance(1)
    assert lb.get("http://h/a").body == BODY


def test_a_slow_client_gets_a_body_that_is_purged_meanwhile(make: Make) -> None:
    lb = make()
    pending = begun(lb)
    assert purged(lb.service.caches["main"], Purge("all")) == 1
    assert lb.get("http://h/a").body == b"fetched"
    pending.client.resume()
    assert pending.wait().body == BODY


def test_a_filter_may_replace_the_response(make: Make, tmp_path: Path) -> None:
    plugin = tmp_path / "replaces.py"
    plugin.write_text(
        "from lbproxy.http.filter import Filter\n"
        "from lbproxy.http.message import Reply\n"
        "class Replaces(Filter):\n"
        "    name = 'replaces'\n"
        "    def response(self, traffic):\n"
        "        if traffic.request.header(b'x-replace'):\n"
        "            return Reply(403, b'replaced')\n"
    )
    lb = make(f"filters = {plugin}:Replaces")
    found = lb.get("http://h/a", headers={"X-Replace": "1"})
    assert (found.status, found.body) == (403, b"replaced")
    assert lb.get("http://h/a").body == BODY


def test_pieces_that_go_as_bytes_are_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lb = make()
    preadv, sizes = os.preadv, []

    def counted(fd: int, buffers: Any, offset: int, flags: int) -> int:
        found = preadv(fd, buffers, offset, flags)
        sizes.append(found)
        return found

    monkeypatch.setattr(f"{OPENFILE}.os.preadv", counted)
    assert lb.get("http://h/a").body == BODY
    assert sum(sizes) <= len(BODY) + 256 * 1024


@pytest.mark.parametrize("good", [0, 1, 2, 5])
def test_what_the_kernel_does_not_have_is_read_in_a_thread(
    make: Make, monkeypatch: pytest.MonkeyPatch, good: int
) -> None:
    lb = make()
    preadv, left = os.preadv, [good]

    def some(*args: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return preadv(*args)

    monkeypatch.setattr(f"{OPENFILE}.os.preadv", some)
    assert lb.get("http://h/a").body == BODY


def test_a_file_that_changes_while_it_is_sent_cuts_the_client(make: Make, tmp_path: Path) -> None:
    lb = make()
    files = list((tmp_path / "store").glob("*/*.b"))
    pending = begun(lb)
    for path in files:
        with path.open("r+b") as file:
            file.seek(len(BODY) - 1)
            file.write(b"\x00")
    pending.client.resume()
    if files:
        with pytest.raises(NoResponse):
            pending.wait()
    else:
        assert pending.wait().body == BODY
    assert lb.get("http://h/a").body == (b"fetched" if files else BODY)
