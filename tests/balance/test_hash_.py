from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.balance.base import Need
from lbproxy.balance.group import ServerGroup
from lbproxy.balance.hash_ import Hash, HashOptions, hash_key
from lbproxy.balance.server import ServerState
from lbproxy.errors import Outcome
from lbproxy.http.message import RequestHead
from lbproxy.interfaces import Env

from .tools import Chance, Clock, Context, group_of, make, server, servers

KEYS = [Context(client_ip=f"10.{i >> 8}.{i & 255}.1") for i in range(2000)]


def group(members: list[ServerState], **options: Any) -> ServerGroup:
    return group_of(Hash(HashOptions(**options), Env(Clock(), Chance(1))), members)


def owner(of: ServerGroup, context: Context, avoid: Any = ()) -> str:
    lease = of.pick(context, avoid)
    assert lease is not None
    lease.release(Outcome.OK)
    return lease.server.name


def table(of: ServerGroup) -> list[str]:
    return [owner(of, key) for key in KEYS]


def moved(before: list[str], after: list[str]) -> float:
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(count=st.integers(2, 20), which=st.integers(0, 19), prefix=st.text("abcxyz", min_size=1))
def test_a_server_that_leaves_moves_only_its_keys(count: int, which: int, prefix: str) -> None:
    gone = f"{prefix}{which % count}"
    ring = group([server(f"{prefix}{i}") for i in range(count)])
    before = table(ring)
    ring.remove(gone)
    after = table(ring)
    assert all(a == b for a, b in zip(before, after, strict=True) if a != gone)
    assert moved(before, after) < 2.0 / count
    ring.add(server(gone))
    assert table(ring) == before


@settings(max_examples=15, deadline=None, derandomize=True)
@given(order=st.permutations(list(range(8))))
def test_the_ring_depends_on_names_only(order: list[int]) -> None:
    straight = group(servers([1] * 8))
    shuffled = group([])
    for i in order:
        shuffled.add(server(f"s{i}"))
    assert table(shuffled) == table(straight)


def test_known_places() -> None:
    """Other versions and processes must agree: these values may never change."""
    assert hash_key(b"198.51.100.7") == 0x1D9949D7CEEC69C1
    ring = group(servers([1] * 5))
    assert [owner(ring, key) for key in KEYS[:8]] == [
        "s0",
        "s3",
        "s1",
        "s0",
        "s3",
        "s3",
        "s2",
        "s2",
    ]


@pytest.mark.parametrize("consistent", [True, False])
def test_shares_follow_weights(consistent: bool) -> None:
    weights = [1, 2, 4, 4]
    seen = Counter(table(group(servers(weights), consistent=consistent)))
    for i, weight in enumerate(weights):
        share = len(KEYS) * weight / sum(weights)
        assert abs(seen[f"s{i}"] - share) < 0.3 * share


def test_a_small_change_of_weight_moves_few_keys() -> None:
    ring = group(servers([8] * 6))
    before = table(ring)
    ring.set_weight("s0", 7)
    after = table(ring)
    assert 0 < moved(before, after) < 0.05
    assert {a for a, b in zip(before, after, strict=True) if a != b} == {"s0"}


def test_the_avoided_is_passed_to_the_next_on_the_ring() -> None:
    members = servers([1] * 5)
    ring = group(members)
    for key in KEYS[:100]:
        mine = owner(ring, key)
        second = owner(ring, key, [ring.servers[mine]])
        assert second != mine
        ranked = sorted(ring.balancer.scores(key), key=lambda row: row[1])
        assert [row[0].name for row in ranked[:2]] == [mine, second]
    assert ring.pick(KEYS[0], members) is None


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    weights=st.lists(st.integers(1, 4), min_size=2, max_size=10),
    keys=st.lists(st.integers(0, 3), min_size=1, max_size=120),
    bound=st.sampled_from([1.1, 1.25, 2.0]),
)
def test_bounded_load(weights: list[int], keys: list[int], bound: float) -> None:
    members = servers(weights)
    ring = group(members, bound=bound)
    for count, key in enumerate(keys, 1):
        lease = ring.pick(KEYS[key])
        assert lease is not None
        share = count * lease.server.weight / sum(weights)
        assert lease.server.active < bound * share + 1


def test_the_bound_knows_the_leases_that_were_there_before() -> None:
    members = servers([1, 1])
    ring = group(members, bound=1.5)
    leases = [ring.pick(KEYS[0]) for _ in range(10)]
    ring.set_weight("s0", 2)
    ring.set_weight("s0", 1)
    assert abs(members[0].active - members[1].active) <= 6
    for lease in leases:
        assert lease is not None
        lease.release(Outcome.OK)
    assert isinstance(ring.balancer, Hash) and ring.balancer._active == 0


def test_nearly_everything_full_stays_cheap_and_right() -> None:
    members = servers([1] * 600, maxconn=1)
    ring = group(members)
    for member in members[:-1]:
        assert ring.take(member) is not None
    assert all(owner(ring, key) == "s599" for key in KEYS[:50])


@pytest.mark.parametrize("consistent", [True, False])
def test_without_a_key_everyone_takes_turns(consistent: bool) -> None:
    options = {"what": "header", "key": "X-User", "consistent": consistent}
    ring = group(servers([1] * 4), **options)
    request = RequestHead(b"GET", b"/", [(b"Host", b"h")])
    seen = Counter(owner(ring, Context(request=request)) for _ in range(400))
    assert all(60 < seen[f"s{i}"] < 140 for i in range(4))
    _, _, note = ring.balancer.scores(Context())[0]
    assert "no header X-User: spread in turn" in note


@pytest.mark.parametrize(
    ("what", "key", "changes"),
    [
        ("uri", "", "target"),
        ("path", "", "path"),
        ("header", "x-user", "header"),
        ("cookie", "sid", "cookie"),
        ("query", "id", "target"),
    ],
)
def test_what_is_hashed(what: str, key: str, changes: str) -> None:
    ring = group(servers([1] * 7), what=what, key=key)

    def owners(part: str) -> set[str]:
        found = set()
        for i in range(40):
            v = dict.fromkeys(("path", "header", "cookie", "target"), b"0")
            v[part] = b"%d" % i
            head = [(b"X-User", v["header"]), (b"Cookie", b"a=b; sid=" + v["cookie"])]
            request = RequestHead(b"GET", b"/p" + v["path"] + b"?id=" + v["target"], head)
            found.add(owner(ring, Context(client_ip=f"10.0.0.{i}", request=request)))
        return found

    moving = {changes, "path"} if what == "uri" else {changes}
    for part in ("path", "header", "cookie", "target"):
        assert len(owners(part)) == 1 or part in moving
    assert all(len(owners(part)) > 3 for part in moving)


def test_sni_and_source() -> None:
    by_name = group(servers([1] * 7), what="sni")
    assert len({owner(by_name, Context(client_ip=f"{i}", sni="a.example")) for i in range(40)}) == 1
    assert len({owner(by_name, Context(sni=f"{i}.example")) for i in range(40)}) > 3
    by_ip = group(servers([1] * 7))
    assert len({owner(by_ip, Context(sni=f"{i}")) for i in range(40)}) == 1


@pytest.mark.parametrize(
    ("what", "key", "need"),
    [
        ("source", "", Need.SOURCE),
        ("sni", "", Need.SNI),
        ("uri", "", Need.REQUEST),
        ("cookie", "sid", Need.REQUEST),
    ],
)
def test_needs(what: str, key: str, need: Need) -> None:
    assert Hash(HashOptions(what, key), Env(Clock(), Chance(1))).needs == {need}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": "header"}, "needs the name of the header"),
        ({"what": "uri", "key": "x"}, "takes no name, found 'x'"),
        ({"bound": 1.05}, "at least 1.1"),
    ],
)
def test_options_that_make_no_sense(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HashOptions(**options)


@pytest.mark.parametrize("kind", ["hash", "hash-bound", "hash-range"])
def test_without_servers_there_is_nothing_to_pick(kind: str) -> None:
    balancer = make(kind)
    assert balancer.pick(Context(), ()) is None
    balancer.servers_changed([])
    assert balancer.pick(Context(), ()) is None
