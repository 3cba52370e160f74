"""Whatever clients, servers, operators and time do: bytes arrive in order, leases come back once,
one record each.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.errors import Outcome
from lbproxy.proxy.tcp.session import Session
from lbproxy.proxy.tcp.state import NEXT, SessionState
from lbproxy.testing import Client, TCPOrigin
from lbproxy.testing.origin import TCPConnection
from tests.proxy import bench
from tests.proxy.bench import A, B, Bench

SIZES = st.sampled_from([1, 100, 70_000, 400_000])
WHO = st.integers(0, 3)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.just(0), st.just(0)),
        st.tuples(st.just("send"), WHO, SIZES),
        st.tuples(st.just("answer"), WHO, SIZES),
        st.tuples(st.sampled_from(["pause", "resume", "fin", "reset", "close"]), WHO, st.just(0)),
        st.tuples(
            st.sampled_from(
                ["server pause", "server resume", "server fin", "server reset", "server close"]
            ),
            WHO,
            st.just(0),
        ),
        st.tuples(
            st.sampled_from(["stop", "start", "down", "up", "drain", "ready", "remove"]),
            st.integers(0, 1),
            st.just(0),
        ),
        st.tuples(st.just("time"), st.just(0), st.sampled_from([0.0, 0.3, 3.0, 25.0])),
    ),
    max_size=40,
)


def reachable(state: SessionState) -> frozenset[SessionState]:
    """Return what may follow ``state``, after any number of steps, itself included."""
    found = {state}
    while (more := found.union(*[NEXT[one] for one in found])) != found:
        found = more
    return frozenset(found)


REACHABLE = {state: reachable(state) for state in SessionState}
HOLDING = (
    SessionState.LEASED,
    SessionState.DIALLING,
    SessionState.CONNECTED,
    SessionState.RELAYING,
)


@define(eq=False)
class Pair:
    """A client, what it sent, and the connection of a server it turned out to be joined to."""

    number: int
    client: Client
    sent: bytearray = field(factory=bytearray)
    answered: bytearray = field(factory=bytearray)
    calm: bool = True
    """Both sides sent their ends in good order and nobody interfered."""


class World:
    """The bench, with actions by name."""

    def __init__(self, more: str = "") -> None:
        self.bench: Bench = bench.make(
            frontend="timeout_client = 30s",
            backend="timeout_server = 30s\ntimeout_connect = 2s\ntimeout_queue = 4s\n"
            f"queue = 2\non_down = close\nretries = 1\n{more}",
            servers=(f"a {A} maxconn=2", f"b {B}"),
        )
        self.origins: tuple[TCPOrigin, TCPOrigin] = bench.origins(self.bench, None)
        self.pairs: list[Pair] = []
        self.released: list[Outcome] = []
        self.servers = tuple(self.bench.server(name) for name in "ab")
        for state in self.servers:
            assert state.active == 0
        group = self.bench.backend.group
        give_back = group._back

        def counted(server: Any, outcome: Outcome, seconds: float) -> None:
            self.released.append(outcome)
            give_back(server, outcome, seconds)

        group._back = counted
        self.states: dict[Session, SessionState] = {}

    def connection(self, pair: Pair) -> TCPConnection | None:
        """The server's end: every client begins with its number."""
        mark = b"%04d" % pair.number
        for origin in self.origins:
            for connection in origin.connections:
                if connection.received[:4] == mark:
                    return connection
        return None

    def act(self, verb: str, who: int, amount: Any) -> None:
        """One step."""
        lb = self.bench.lb
        if verb == "open":
            if len(self.pairs) < 4:
                number = len(self.pairs)
                pair = Pair(number, lb.connect("t", client=f"203.0.113.{number}"))
                self.pairs.append(pair)
                self.send(pair, b"%04d" % number)
        elif verb == "time":
            lb.advance(amount)
        elif verb in ("stop", "start"):
            getattr(self.origins[who], verb)()
        elif verb in ("down", "up"):
            self.bench.backend.group.set_health(self.servers[who], verb == "up", "test")
            lb.reactor.pump()
        elif verb in ("drain", "ready"):
            if "ab"[who] in self.bench.backend.group.servers:
                getattr(lb.service, verb)("raw", "ab"[who])
        elif verb == "remove":
            if "ab"[who] in self.bench.backend.group.servers:
                lb.service.remove_server("raw", "ab"[who])
        elif who < len(self.pairs):
            self.one(self.pairs[who], verb, amount)

    def send(self, pair: Pair, data: bytes) -> None:
        """From the client; not counted once its own end is sent."""
        transport: Any = pair.client.transport
        over = pair.client.closed or not transport.connected or transport.disconnecting
        if not over and not transport._writeDisconnecting:
            pair.sent += data
            pair.client.send(data)

    def one(self, pair: Pair, verb: str, amount: Any) -> None:
        """A step of one client or its server."""
        data = bytes((len(pair.sent) + len(pair.answered) + i) % 251 for i in range(7)) * (
            -(-int(amount) // 7)
        )
        if verb == "send":
            self.send(pair, data)
            return
        peer: Any = pair.client
        if verb.startswith("server ") or verb == "answer":
            peer = self.connection(pair)
            verb = verb.removeprefix("server ")
        if peer is None or peer.closed or peer.transport.disconnecting:
            return
        if verb == "answer":
            if not peer.transport._writeDisconnecting:
                pair.answered += data
                peer.send(data)
        elif verb == "fin":
            peer.half_close()
        else:
            getattr(peer, {"reset": "abort"}.get(verb, verb))()

    def check(self) -> None:
        """Laws that hold at every moment."""
        for pair in self.pairs:
            assert bytes(pair.answered).startswith(pair.client.received)
            connection = self.connection(pair)
            if connection is not None:
                assert bytes(pair.sent).startswith(connection.received)
        assert len(self.bench.records) <= len(self.pairs)
        self.check_states()
        for server in self.servers:
            assert server.active >= 0
            assert server.active == len(server.sessions)
            assert server.maxconn == 0 or server.active <= server.maxconn

    def check_states(self) -> None:
        """A session goes on as the table says; one that is over has no lease and is logged."""
        for session in [*self.states, *self.bench.frontend.clients]:
            before = self.states.get(session, SessionState.ROUTING)
            assert session.state in REACHABLE[before]
            self.states[session] = session.state
            assert session.over == (session.state in (SessionState.OVER, SessionState.GONE))
            listed = any(session in server.sessions for server in self.servers)
            assert listed == (session.state in HOLDING)

    def finish(self) -> None:
        """Everybody leaves; then nothing is left over."""
        self.bench.close()
        assert len(self.bench.records) == len(self.pairs)
        picked = sum(server.counters.picked for server in self.servers)
        assert len(self.released) == picked


def test_the_table_of_states() -> None:
    assert NEXT.keys() == set(SessionState)
    assert all(SessionState.GONE in REACHABLE[state] for state in SessionState)
    assert all(
        SessionState.OVER in NEXT[state]
        for state in SessionState
        if state not in (SessionState.OVER, SessionState.GONE)
    )


MOVING = "balance = leastconn\nsticky = source\nrebalance = tcp rate=20/s idle=0s after=0s"


@settings(max_examples=120)
@given(st.sampled_from(["", MOVING]), steps)
def test_any_history(more: str, history: list[tuple[str, int, Any]]) -> None:
    world = World(more)
    for step in history:
        world.act(*step)
        world.check()
    world.finish()


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), SIZES, st.booleans()), max_size=12),
    st.booleans(),
    st.sampled_from([0.0, 0.05, 1.5]),
)
def test_sessions_that_end_in_good_order_lose_nothing(
    talk: list[tuple[bool, int, bool]], client_first: bool, slow: float
) -> None:
    """Both sides talk, sometimes slow to read; each ends its direction; every byte has arrived."""
    world = World()
    lb = world.bench.lb
    if slow:
        lb.reactor.slow(A, slow / 4)
    world.act("open", 0, 0)
    lb.advance(3)
    pair = world.pairs[0]
    connection = world.connection(pair)
    assert connection is not None
    for from_client, size, pausing in talk:
        if pausing:
            (connection if from_client else pair.client).pause()
        world.one(pair, "send" if from_client else "answer", size)
    ends: list[Any] = [pair.client, connection]
    for end in ends if client_first else reversed(ends):
        end.half_close()
    for end in ends:
        end.resume()
    lb.advance(60)
    assert connection.received == bytes(pair.sent)
    assert pair.client.received == bytes(pair.answered)
    assert pair.client.finished and connection.finished
    assert world.bench.closes == ["ok"]
    assert (world.bench.last.bytes_in, world.bench.last.bytes_out) == (
        len(pair.sent),
        len(pair.answered),
    )
    world.finish()
