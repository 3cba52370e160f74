"""Two nodes that share limits, bans, tracks and lists, on the virtual clock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from lbproxy.bans.record import as_record
from lbproxy.limits.nodes import NodeCounts
from lbproxy.limits.rate import Rate
from lbproxy.net.redis import RedisDown
from lbproxy.proxy.features.banning.feature import Banning
from lbproxy.proxy.features.limiting.limit import Limit
from lbproxy.proxy.features.limiting.spec import LimitSpec
from lbproxy.proxy.features.listing.feature import Listing
from lbproxy.proxy.features.tracking.feature import Tracking
from lbproxy.sharing.local import LocalShared
from lbproxy.testing import LB, MemoryReactor
from lbproxy.testing.redis import FakeRedis

CONFIG = """
    [shared]
    redis = redis://10.0.0.1/0

    [limit per-client]
    rate = 10/100s
    on_error = {on_error}
    method = {method}

    [track seen]
    window = 60s

    [ban rude]
    after = 6/1m
    on = 4xx
    action = reject

    [list guests]
    addresses = 198.51.100.7

    [frontend web]
    listen = tcp:{port}
    bans = rude
    tracks = seen
    deny = list:guests
    routes =
        path /limited     -> app limits=per-client
        path /bad         -> reply 404
        track seen > 5    -> reply 403
        default           -> app

    [backend app]
    servers = a 10.0.0.11:8000
"""


class Nodes:
    """Nodes with the same configuration, and their store."""

    def __init__(self, count: int = 2, on_error: str = "open", method: str = "bucket") -> None:
        self.reactor = MemoryReactor()
        self.redis = FakeRedis(self.reactor)
        self.redis.start()
        self._words = {"on_error": on_error, "method": method}
        self.nodes: list[LB] = []
        for number in range(count):
            self.add(8001 + number)
        self.nodes[0].origin("a", "10.0.0.11:8000")
        self.reactor.advance(1)

    def add(self, port: int) -> LB:
        text = CONFIG.format(port=port, **self._words)
        self.nodes.append(LB.from_config(text, reactor=self.reactor))
        return self.nodes[-1]

    def get(self, node: int, path: str = "/limited", client: str = "203.0.113.9") -> int:
        return self.nodes[node].get(f"http://a.test:{8001 + node}{path}", client=client).status

    def passed(self, node: int, times: int) -> int:
        return sum(self.get(node) == 200 for _ in range(times))

    def feature(self, node: int, kind: Any) -> Any:
        return kind.of(self.nodes[node].service.frontends["web"])

    def close(self) -> None:
        for one in self.nodes:
            one.service.stopService()
        self.reactor.advance(30)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.close()


@pytest.mark.parametrize("method", ["bucket", "window"])
def test_what_one_node_let_pass_counts_at_the_other(method: str) -> None:
    nodes = Nodes(method=method)
    assert nodes.passed(0, 10) == 10
    assert nodes.get(1, "/") == 200
    # the other node learns of it with its first own request
    assert nodes.get(1) == 200
    nodes.reactor.advance(0.3)
    assert nodes.get(1) == 429
    nodes.close()


def test_no_request_waits_for_the_store(nodes: Nodes) -> None:
    nodes.redis.hung = True
    before = nodes.reactor.seconds()
    assert nodes.passed(0, 12) == 10
    assert nodes.reactor.seconds() == before


@pytest.mark.parametrize("method", ["bucket", "window"])
def test_a_limit_that_is_open_holds_at_each_node_while_the_store_is_away(method: str) -> None:
    nodes = Nodes(method=method)
    nodes.redis.stop()
    assert nodes.passed(0, 15) == 10
    assert nodes.passed(1, 15) == 10
    nodes.close()


def test_a_limit_that_is_closed_refuses_while_the_store_is_away() -> None:
    nodes = Nodes(on_error="closed")
    assert nodes.get(0) == 200
    nodes.redis.stop()
    assert nodes.get(0) == 503
    assert nodes.get(0, "/") == 200, "other traffic goes on"
    nodes.redis.start()
    nodes.reactor.advance(3)
    assert nodes.get(0) == 200
    nodes.close()


def test_a_store_that_forgot_its_data_gives_no_debt_back(nodes: Nodes) -> None:
    assert nodes.passed(0, 10) == 10
    nodes.reactor.advance(0.3)
    nodes.redis.stop()
    nodes.redis.lose()
    nodes.redis.start()
    nodes.reactor.advance(3)
    assert nodes.get(0) == 429
    assert nodes.nodes[0].service.nodes.up


def test_a_ban_holds_at_the_other_node_within_a_second_and_ends_there(nodes: Nodes) -> None:
    for _ in range(6):
        nodes.get(0, "/bad")
    assert nodes.get(0, "/") == 403
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 403
    nodes.reactor.advance(61)
    assert nodes.get(1, "/") == 200


def test_offences_at_both_nodes_make_one_ban(nodes: Nodes) -> None:
    for number in range(7):
        nodes.get(number % 2, "/bad")
        nodes.reactor.advance(0.3)
    assert nodes.get(0, "/") == 403
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 403


def test_operators_bans_and_pardons_reach_the_other_node(nodes: Nodes) -> None:
    book = nodes.feature(0, Banning).books["rude"]
    book.ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 403
    nodes.feature(1, Banning).books["rude"].lift("203.0.113.9")
    nodes.reactor.advance(1)
    assert nodes.get(0, "/") == 200


def test_a_node_that_begins_learns_the_bans_and_edits(nodes: Nodes) -> None:
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.feature(0, Listing).sources["guests"].edit("add", "203.0.113.77")
    nodes.reactor.advance(1)
    nodes.add(8003)
    nodes.reactor.advance(1)
    assert nodes.get(2, "/") == 403
    assert "203.0.113.77" in nodes.feature(2, Listing).sources["guests"].list


def test_bans_made_while_the_store_was_away_follow(nodes: Nodes) -> None:
    nodes.redis.stop()
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    assert nodes.get(0, "/") == 403
    nodes.reactor.advance(5)
    assert nodes.get(1, "/") == 200
    nodes.redis.start()
    nodes.reactor.advance(7)
    assert nodes.get(1, "/") == 403


def test_a_store_that_forgot_its_data_gets_the_bans_again(nodes: Nodes) -> None:
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    nodes.redis.stop()
    nodes.redis.lose()
    nodes.redis.start()
    nodes.reactor.advance(7)
    nodes.add(8003)
    nodes.reactor.advance(1)
    assert nodes.get(2, "/") == 403


def test_a_section_that_a_reload_adds_learns_what_was_sent_before() -> None:
    nodes = Nodes()
    text = CONFIG.format(port=8003, on_error="open", method="bucket")
    without = "\n".join(line for line in text.splitlines() if "bans = rude" not in line)
    late = LB.from_config(without, reactor=nodes.reactor)
    nodes.nodes.append(late)
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    assert nodes.get(2, "/") == 200
    assert late.service.reload(dedent(text)).ok
    nodes.reactor.advance(1)
    assert nodes.get(2, "/") == 403
    nodes.close()


def test_tracks_count_at_all_nodes(nodes: Nodes) -> None:
    for _ in range(4):
        assert nodes.get(0, "/") == 200
    nodes.reactor.advance(0.3)
    nodes.get(1, "/")  # asks for the first time
    nodes.reactor.advance(0.3)
    assert nodes.get(1, "/") == 403
    track = nodes.feature(0, Tracking).tracks["seen"]
    track.set(track.written("203.0.113.9"), 0.0)
    nodes.reactor.advance(0.3)
    nodes.get(1, "/bad")
    nodes.reactor.advance(0.3)
    assert nodes.get(1, "/") == 200


def test_the_state_says_whether_the_store_answers(nodes: Nodes) -> None:
    facts = nodes.nodes[0].service.nodes.facts()
    assert (facts["up"], facts["error"], facts["place"]) == (True, "", "redis://10.0.0.1:6379/0")
    nodes.redis.stop()
    nodes.get(0)
    nodes.reactor.advance(0.3)
    facts = nodes.nodes[0].service.nodes.facts()
    assert not facts["up"]
    assert facts["error"]
    assert facts["keys_lost"] > 0


def test_messages_of_strangers_in_the_stream_do_no_harm(nodes: Nodes) -> None:
    strange = [b"{", b"[]", b'["n", 1, "bans:rude", 7]', b'["n", 1, "other", {}]', b"\xff"]
    strange += [b'["n", 1, "bans:rude", {}, %s]' % at for at in (b"1" * 400, b"NaN", b"-1")]
    for text in (*strange, b'["n", 1, "other", {}, 1]'):
        nodes.redis._do_xadd(b"lbproxy:log", b"*", b"m", text)
    nodes.redis._do_xadd(b"lbproxy:log", b"*", b"other", b"x")
    heard: list[Any] = []
    nodes.nodes[1].service._ground.replicated.subscribe("other", heard.append)
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 403
    assert not heard, "topics that are not kept belong to one node"


def test_a_read_that_is_cut_off_leaves_what_was_said_last(nodes: Nodes) -> None:
    """The store ends between two replies; what was read so far holds as at the other nodes."""
    topics = nodes.nodes[1].service.nodes.topics
    assert topics is not None
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    text = nodes.redis.data[b"lbproxy:log"].value[-1][1][1]
    nodes.feature(0, Banning).books["rude"].lift("203.0.113.9")
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 200
    _, number, topic, message, at = json.loads(text)
    older = json.dumps(["other", number, topic, message, at]).encode()
    nodes.redis._do_xadd(b"lbproxy:log", b"*", b"m", older)
    rows = topics._rows

    async def cut_off(after: bytes) -> Any:
        found = await rows(after)
        if not found:
            raise RedisDown("lost")
        return found

    topics._rows = cut_off
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 200


def test_a_process_without_shared_imports_nothing_for_it() -> None:
    text = "[frontend w]\\nlisten = tcp:80\\nroutes = default -> reply 200 ok\\n"
    code = (
        "import sys; from lbproxy.testing import LB;"
        f"LB.from_config('{text}').close();"
        "print([n for n in sys.modules if 'redis' in n or 'lbproxy.nodes' in n or 'names' in n])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_process_without_shared_has_no_store() -> None:
    lb = LB.from_config("""
        [frontend web]
        listen = tcp:8080
        backend = app
        [backend app]
        servers = a 10.0.0.11:8000
    """)
    assert lb.service.nodes is None
    lb.close()


def test_a_stop_amid_an_exchange_leaves_nothing_behind(nodes: Nodes) -> None:
    nodes.get(0)
    nodes.reactor.latency = 0.05
    nodes.reactor.advance(0.12)  # commands are on their way
    store = nodes.nodes[0].service.nodes
    assert store.client._waiting
    store.stopService()
    nodes.reactor.advance(5)
    assert not store.up
    nodes.reactor.latency = 0.0
    store.startService()
    nodes.reactor.advance(1)
    assert store.up


def test_a_loss_is_noticed_though_another_node_has_written_since(nodes: Nodes) -> None:
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    nodes.redis.stop()
    nodes.redis.lose()
    nodes.redis.start()
    text = b'["other", 1, "bans:rude", {"ban": []}]'
    nodes.redis._do_xadd(b"lbproxy:log", b"*", b"m", text)
    nodes.reactor.advance(7)
    nodes.add(8003)
    nodes.reactor.advance(1)
    assert nodes.get(2, "/") == 403


def test_a_loss_without_an_outage_is_noticed(nodes: Nodes) -> None:
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    nodes.redis.lose()
    nodes.reactor.advance(7)
    nodes.add(8003)
    nodes.reactor.advance(1)
    assert nodes.get(2, "/") == 403
    count = len(nodes.redis.data[b"lbproxy:log"].value)
    nodes.reactor.advance(30)
    assert len(nodes.redis.data[b"lbproxy:log"].value) == count, "once is enough"


@pytest.mark.parametrize("latency", [0.0, 0.02, 0.1])
def test_after_a_loss_all_nodes_end_alike_and_no_edit_is_lost(nodes: Nodes, latency: float) -> None:
    nodes.feature(0, Listing).sources["guests"].edit("add", "198.51.100.1")
    nodes.reactor.advance(1)
    nodes.redis.stop()
    nodes.redis.lose()
    for node in (0, 1):
        source = nodes.feature(node, Listing).sources["guests"]
        source.edit("add", f"198.51.100.{node + 2}")
    nodes.reactor.latency = latency
    nodes.redis.start()
    nodes.reactor.advance(12)
    nodes.add(8003)
    nodes.reactor.advance(3)
    for node in (0, 1, 2):
        found = sorted(nodes.feature(node, Listing).sources["guests"].list.added)
        assert found == ["198.51.100.1", "198.51.100.2", "198.51.100.3"], node


def test_a_long_and_large_past_is_read_in_small_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    book = nodes.feature(0, Banning).books["rude"]
    ban = as_record(book.ban("203.0.113.9", "by hand", seconds=600))
    large = json.dumps(["other", 0, "bans:rude", {"ban": [ban] * 500}]).encode()
    small = json.dumps(["other", 0, "bans:rude", {"ban": [ban]}]).encode()
    for text in [large] * 30 + [small] * 500:
        nodes.redis._do_xadd(b"lbproxy:log", b"*", b"m", text)
    sizes: list[int] = []
    read = FakeRedis._do_xread

    def noted(redis: FakeRedis, *words: bytes) -> Any:
        found = read(redis, *words)
        sizes.append(sum(len(fields[1]) for _, fields in found[0][1]) if found else 0)
        return found

    monkeypatch.setattr(FakeRedis, "_do_xread", noted)
    nodes.add(8003)
    nodes.reactor.advance(2)
    assert nodes.get(2, "/") == 403
    assert max(sizes) <= 8 * len(large)
    assert len(sizes) < 100, "small messages come many at once"
    nodes.close()


def test_after_a_reply_that_missed_its_deadline_fewer_messages_are_asked_for(nodes: Nodes) -> None:
    for _ in range(300):
        nodes.redis._do_xadd(b"lbproxy:log", b"*", b"m", b'["other", 0, "none", 0]')
    nodes.reactor.advance(1)
    nodes.redis.errors["XREAD"] = "BUSY the reply does not come"
    nodes.redis.seen.clear()
    nodes.reactor.advance(4)
    counts = [int(words[2]) for words in nodes.redis.seen if words[0] == b"XREAD"]
    assert counts[0] > 100
    assert counts[-1] == 1


def test_a_section_that_reloads_remove_and_add_learns_what_was_sent_between() -> None:
    nodes = Nodes()
    text = dedent(CONFIG.format(port=8002, on_error="open", method="bucket"))
    without = "\n".join(line for line in text.splitlines() if "bans = rude" not in line)
    assert nodes.nodes[1].service.reload(without).ok
    nodes.feature(0, Banning).books["rude"].ban("203.0.113.9", "by hand", seconds=600)
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 200
    assert nodes.nodes[1].service.reload(text).ok
    nodes.reactor.advance(1)
    assert nodes.get(1, "/") == 403
    nodes.close()


def test_a_store_that_refuses_all_exchanges_does_not_answer() -> None:
    nodes = Nodes(count=1, on_error="closed")
    store = nodes.nodes[0].service.nodes
    assert nodes.get(0) == 200
    nodes.reactor.advance(1)
    nodes.redis.errors["EVALSHA"] = "OOM command not allowed when used memory > 'maxmemory'."
    assert nodes.get(0) == 200
    nodes.reactor.advance(0.3)
    assert store.up, "one failed exchange is no outage"
    nodes.reactor.advance(2)
    assert not store.up
    assert store.facts()["error"].startswith("OOM")
    assert nodes.get(0) == 503
    assert nodes.get(0, "/") == 200
    nodes.redis.errors.clear()
    nodes.reactor.advance(1)
    assert store.up
    assert nodes.get(0) == 200
    nodes.reactor.advance(1)
    assert nodes.redis._live(b"lbproxy:bucket:probe") is None, "nothing stays"
    nodes.close()


def test_what_a_request_is_charged_after_a_reload_counts_at_all_nodes() -> None:
    store = SimpleNamespace(counts=NodeCounts(), up=True)
    spec = LimitSpec("traffic", rate=Rate(1000, 10, 1000), unit="bytes")
    limit = Limit(spec, LocalShared(), store)  # type: ignore[arg-type]
    asked = limit.ask("203.0.113.9", 1.0)
    store.counts.clear()
    limit.apply(attrs.evolve(spec), 2.0)
    limit.charge(asked, 500.0, 3.0)
    assert [one.amount for one in store.counts.take("bucket")] == [500.0]
    limit.apply(attrs.evolve(spec, rate=Rate(10, 10, 10)), 4.0)
    limit.charge(asked, 500.0, 5.0)
    assert not len(store.counts), "what was asked of another rate is no use of this one"
