"""The short way of a request past its limits decides as the long way does."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import asdict
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.limits.bucket import Buckets
from lbproxy.limits.cells import WAYS, Cells
from lbproxy.limits.rate import Rate
from lbproxy.proxy.features.limiting.feature import Limiting
from lbproxy.proxy.features.limiting.quick import SLOTS
from lbproxy.testing import LB
from tests.proxy.test_limiting import BACKEND, ask

TEXT = f"""
[limit address]
rate = 4/2s burst=3
headers = {{headers}}

[limit key]
rate = 3/2s burst=2
key = {{{{query:key}}}}
empty = {{empty}}

[limit where]
rate = 2/4s
key = {{{{path}}}} {{{{header:X}}}}
action = {{action}}

[limit route]
rate = 5/1s burst=1
method = {{method}}

[frontend web]
listen = tcp:80
limits =
    address
    key
    where if path /a*
routes =
    path /a/r -> app limits=route
    path /free -> app limits=none
    default -> app
{BACKEND}"""

PATHS = ("/", "/a", "/a/r", "/free", "/?key=1", "/a?key=2", "/?key=1&key=2", "/?key=%31", "/?key=",
         "/a/../..")  # fmt: skip
HEADERS = ((), ("X: 1",), ("X: 1", "X: 2"), ("X: \xe9",), ("X:",))

requests = st.lists(
    st.tuples(
        st.sampled_from(PATHS),
        st.sampled_from(HEADERS),
        st.sampled_from(("10.1.0.1", "10.1.0.2", "2001:db8::1", "2001:db8::2", "::ffff:10.1.0.1")),
        st.sampled_from((0.0, 0.0, 0.1, 0.7, 3.0)),
    ),
    max_size=20,
)


def long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limiting, "_desk", lambda self: self)


def seen(text: str, asked: Any) -> list[Any]:
    """The responses to ``asked``, and what is shown afterwards."""
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        found: list[Any] = []
        for path, headers, ip, pause in asked:
            client = lb.connect("web", client=ip)
            lines = [f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]
            client.send("\r\n".join(lines).encode("latin-1"))
            lb.advance(pause)
            head = client.received.partition(b"\r\n\r\n")[0]
            found.append([one for one in head.split(b"\r\n") if b"X-Request-Id" not in one])
        frontend = lb.service.frontend("web")
        feature = Limiting.of(frontend)
        assert feature is not None
        return [found, feature.gauges(), asdict(frontend.counts["limits"])]


@given(
    asked=requests,
    headers=st.sampled_from(("yes", "no")),
    empty=st.sampled_from(("pass", "limit")),
    action=st.sampled_from(("reject", "log", "delay")),
    method=st.sampled_from(("bucket", "window")),
)
@settings(max_examples=15, deadline=None)
def test_both_ways_decide_alike(asked, headers, empty, action, method) -> None:
    text = TEXT.format(headers=headers, empty=empty, action=action, method=method)
    short = seen(text, asked)
    with pytest.MonkeyPatch.context() as patch:
        long_way(patch)
        assert seen(text, asked) == short


def test_an_ordinary_request_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    went: list[str] = []
    apply = Limiting.apply
    monkeypatch.setattr(
        Limiting, "apply", lambda self, *words: [went.append("long"), apply(self, *words)][1]
    )
    text = (
        "[limit one]\nrate = 10/s burst=2\n"
        f"[frontend web]\nlisten = tcp:80\nlimits = one\nbackend = app\n{BACKEND}"
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        ask(lb)
        ask(lb)
        assert went == []
        ask(lb)
        assert went == ["long"]
        assert lb.service.reload(text.replace("10/s", "20/s")).ok
        ask(lb)
        assert went == ["long"] * 2  # the use of the old rate is looked for
        lb.advance(70)
        ask(lb)  # this request ends the search
        went.clear()
        ask(lb)
        assert went == []


def test_remembered_keys_are_bounded_and_forgetting_them_changes_no_count() -> None:
    text = (
        "[limit one]\nrate = 2/1000s\nkey = {query:key}\n"
        f"[frontend web]\nlisten = tcp:80\nlimits = one\nbackend = app\n{BACKEND}"
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        feature = Limiting.of(lb.service.frontend("web"))
        assert feature is not None
        (limit,) = feature._limits.values()
        ask(lb, "/?key=mine")
        for number in range(SLOTS + 10):
            assert limit.slot_of(str(number)) is not None
            assert len(limit._slots) <= SLOTS
        remembered = len(limit._slots)
        for number in range(100):
            assert limit.slot_of(f"{number}" * 50) is not None
        assert len(limit._slots) <= remembered + 10, "long keys are not remembered"
        assert [int(ask(lb, "/?key=mine").received[9:12]) for _ in range(2)] == [200, 429]


def test_a_slot_follows_its_cell_and_never_uses_that_of_another_key() -> None:
    """One set of cells for more keys than it holds: cells are taken over all the time."""
    memory = memoryview(bytearray(Cells.size(WAYS // 2)))
    cells = Cells(memory, 0, b"secret")
    assert cells.cells == WAYS
    buckets = Buckets(cells, "one", Rate(1.0, 10.0, 2.0))
    plain = Cells(memoryview(bytearray(Cells.size(WAYS // 2))), 0, b"secret")
    other = Buckets(plain, "one", Rate(1.0, 10.0, 2.0))
    slots = [buckets.slot(str(number)) for number in range(3 * WAYS)]
    now = 0.0
    for step in range(2000):
        slot = slots[step * 7 % len(slots)]
        now += 0.3
        room = other.ask(slot.ident, 1.0, now) == 0.0
        assert buckets.has_one(slot, now) is room
        if room:
            buckets.take_one(slot, now)
            other.charge(slot.ident, 1.0, now)
        if step % 11 == 0:
            assert buckets.forget(slot.ident) is other.forget(slot.ident)
    assert cells.dropped == plain.dropped > 0


def test_processes_that_make_a_cell_of_a_key_at_once_agree_on_one_afterwards() -> None:
    memory = memoryview(bytearray(Cells.size(WAYS)))
    tables = [Cells(memory, 0, b"secret") for _ in range(2)]
    first, second = (Buckets(one, "one", Rate(1.0, 10.0, 4.0)) for one in tables)
    slot, twin = first.slot("key"), second.slot("key")
    first.take_one(slot, 1.0)
    # what the second process has written in the same microsecond: the same key in the next cell
    at = tables[0].find(slot.ident)
    tables[0].words[at + 1] = tables[0].words[at]
    tables[0]._names[at + 1 - WAYS] = slot.ident
    for _ in range(3):
        assert first.has_one(slot, 1.0) and second.has_one(twin, 1.0)
        first.take_one(slot, 1.0)
        second.take_one(twin, 1.0)
        if not first.has_one(slot, 1.0):
            break
    assert not first.has_one(slot, 1.0)
    assert not second.has_one(twin, 1.0)
