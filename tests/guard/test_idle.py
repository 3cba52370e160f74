"""Who is closed first to make room: a model of lists against the linked lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.guard.connections import ConnectionLimits, ConnectionTotal
from lbproxy.guard.idle import IdleClient, IdleLine


class Client(IdleClient):
    """A connection that notes its eviction in ``gone``."""

    def __init__(
        self, ip: str, limits: ConnectionLimits, gone: list[Client], since: float = 0.0
    ) -> None:
        super().__init__()
        self.ip = ip
        self.limits = limits
        self.gone = gone
        self.since = since
        self.silent: bool | None = None

    @property
    def address(self) -> str:
        return self.ip

    def waits_since(self) -> float:
        return self.since

    def evict(self, silent: bool) -> None:
        assert self.line is not None
        self.line.remove(self)
        self.silent = silent
        self.limits.give_back(self.ip)
        self.gone.append(self)


def admit(
    limits: ConnectionLimits, ip: str, gone: list[Client], silent: bool = False, since: float = 0.0
) -> Client:
    """A connection that is accepted and idle at once."""
    assert limits.try_take(ip) is None
    client = Client(ip, limits, gone, since)
    client.excess = limits.has_too_many(ip)
    limits.idle.add(client, silent)
    return client


def names(line: IdleLine) -> list[IdleClient]:
    """The connections of a line, which must be linked in both directions."""
    found: list[IdleClient] = []
    client = line.first
    while client is not None:
        assert client.line is line
        assert client.before is (found[-1] if found else None)
        found.append(client)
        client = client.after
    assert line._last is (found[-1] if found else None)
    return found


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7))))
def test_a_line_is_a_list(steps: list[tuple[bool, int]]) -> None:
    limits = ConnectionLimits()
    clients = [Client("1.1.1.1", limits, []) for _ in range(8)]
    line, model = IdleLine(silent=False), list[IdleClient]()
    for adds, number in steps:
        client = clients[number]
        if adds and client.line is None:
            line.add(client)
            model.append(client)
        elif not adds and client.line is not None:
            line.remove(client)
            model.remove(client)
        assert names(line) == model


def test_idle_ones_go_before_silent_ones_and_the_longest_first() -> None:
    limits = ConnectionLimits(maxconn=40)
    gone: list[Client] = []
    first = [admit(limits, f"1.1.1.{n}", gone, silent=n % 2 == 0) for n in range(40)]
    for n in range(40):
        assert limits.try_take(f"2.2.2.{n}") is None
    assert gone == first[1::2] + first[::2]
    assert [client.silent for client in gone] == [False] * 20 + [True] * 20
    assert limits.try_take("3.3.3.3") == "maxconn 40 of the frontend"
    assert (limits.active, limits.refused) == (40, 1)


def test_addresses_with_more_than_a_tenth_lose_theirs_first() -> None:
    limits = ConnectionLimits(maxconn=40)
    gone: list[Client] = []
    for n in range(20):
        admit(limits, f"1.1.1.{n}", gone)
    greedy = [admit(limits, "6.6.6.6", gone, silent=n % 2 == 0) for n in range(20)]
    for n in range(18):
        assert limits.try_take(f"2.2.2.{n}") is None
    # those above a tenth (4): idle ones, then silent ones; after that all are alike
    assert gone[:16] == greedy[5::2] + greedy[4::2]
    assert [client.ip for client in gone[16:]] == ["1.1.1.0", "1.1.1.1"]


def test_an_address_that_has_shrunk_is_like_others_again() -> None:
    limits = ConnectionLimits(maxconn=20)
    gone: list[Client] = []
    greedy = [admit(limits, "6.6.6.6", gone) for n in range(6)]
    for n in range(14):
        admit(limits, f"1.1.1.{n}", gone)
    assert [client.excess for client in greedy] == [False] * 2 + [True] * 4
    for client in greedy[:4]:
        assert client.line is not None
        client.line.remove(client)
        limits.give_back("6.6.6.6")
    for n in range(5):
        assert limits.try_take(f"2.2.2.{n}") is None
    assert [client.ip for client in gone] == ["1.1.1.0"]
    assert names(limits.idle.excess_idle) == []
    assert names(limits.idle.idle)[-2:] == greedy[4:]


def test_unix_sockets_are_no_address() -> None:
    limits = ConnectionLimits(maxconn=10)
    assert not admit(limits, "", []).excess
    assert not any(admit(limits, "", []).excess for _ in range(8))


def test_the_process_evicts_the_longest_idle_of_all_frontends() -> None:
    total = ConnectionTotal(maxconn=4)
    one, other = ConnectionLimits(total=total), ConnectionLimits(total=total)
    gone: list[Client] = []
    clients = [
        admit(limits, f"1.1.1.{since}", gone, since=since)
        for limits, since in ((one, 4), (other, 1), (one, 5), (other, 2))
    ]
    assert one.try_take("9.9.9.1") is None
    assert one.try_take("9.9.9.2") is None
    assert other.try_take("9.9.9.3") is None
    assert gone == [clients[1], clients[3], clients[0]]
    assert total.active == 4


def test_a_full_frontend_evicts_its_own() -> None:
    total = ConnectionTotal(maxconn=10)
    one, other = ConnectionLimits(maxconn=1, total=total), ConnectionLimits(total=total)
    gone: list[Client] = []
    admit(other, "1.1.1.1", gone, since=1)
    mine = admit(one, "1.1.1.2", gone, since=2)
    assert one.try_take("1.1.1.3") is None
    assert gone == [mine]


def test_nobody_is_evicted_for_one_that_is_refused_anyway() -> None:
    limits = ConnectionLimits(maxconn=2, maxconn_per_ip=1)
    gone: list[Client] = []
    admit(limits, "1.1.1.1", gone)
    admit(limits, "2.2.2.2", gone)
    assert limits.try_take("1.1.1.1") is not None
    assert gone == []


def test_a_process_without_connections_knows_no_frontends() -> None:
    total = ConnectionTotal(maxconn=4)
    limits = ConnectionLimits(total=total)
    assert limits.try_take("1.1.1.1") is None
    assert list(total.frontends) == [limits]
    limits.give_back("1.1.1.1")
    assert total.frontends == {}
    assert not total.make_room()
