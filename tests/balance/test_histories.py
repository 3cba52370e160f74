"""Any history of changes, picks and releases keeps the promises of IBalancer, for every
balancer.
"""

from __future__ import annotations

from math import isfinite

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.lease import Lease, LeaseError
from lbproxy.balance.server import AdminState, ServerState
from lbproxy.errors import Outcome

from .tools import BUILTIN, Clock, Context, make, server

NAMES = [f"s{i}" for i in range(12)]


class History(RuleBasedStateMachine):
    """One group; ``kind`` is set by the subclasses below."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.balancer = make(self.kind, self.clock)
        self.group = ServerGroup(self.balancer, self.clock)
        self.leases: list[Lease] = []
        self.gone: list[ServerState] = []
        self.errors: list[Exception] = []
        self.group.on_error(self.errors.append)
        for name in NAMES[:3]:
            self.group.add(server(name))

    @property
    def present(self) -> list[str]:
        return list(self.group.servers)

    @rule(
        name=st.sampled_from(NAMES),
        weight=st.sampled_from([0, 1, 1, 1, 2, 3, 7, 1000]),
        maxconn=st.sampled_from([0, 0, 1, 2, 5]),
        backup=st.sampled_from([False, False, True]),
    )
    def add(self, name: str, weight: int, maxconn: int, backup: bool) -> None:
        if name not in self.group.servers:
            self.group.add(server(name, weight, maxconn, backup=backup))

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.gone.append(self.group.remove(data.draw(st.sampled_from(self.present))))

    @precondition(lambda self: self.present)
    @rule(data=st.data(), weight=st.sampled_from([0, 1, 1, 2, 5]))
    def weigh(self, data: st.DataObject, weight: int) -> None:
        self.group.set_weight(data.draw(st.sampled_from(self.present)), weight)

    @precondition(lambda self: self.present)
    @rule(data=st.data(), maxconn=st.sampled_from([0, 1, 2, 3]))
    def limit(self, data: st.DataObject, maxconn: int) -> None:
        self.group.set_maxconn(data.draw(st.sampled_from(self.present)), maxconn)

    @precondition(lambda self: self.present)
    @rule(data=st.data(), admin=st.sampled_from(AdminState))
    def administer(self, data: st.DataObject, admin: AdminState) -> None:
        self.group.set_admin(data.draw(st.sampled_from(self.present)), admin)

    @precondition(lambda self: self.present)
    @rule(data=st.data(), healthy=st.booleans())
    def judge(self, data: st.DataObject, healthy: bool) -> None:
        everyone = [*self.group.servers.values(), *self.gone]
        self.group.set_health(data.draw(st.sampled_from(everyone)), healthy, "probe")

    @rule()
    def everything_up(self) -> None:
        with self.group.changes():
            for name, member in self.group.servers.items():
                self.group.set_admin(name, AdminState.READY)
                self.group.set_health(member, True)
                self.group.set_weight(name, member.weight or 1)

    @rule(data=st.data(), count=st.integers(1, 12), ip=st.integers(0, 255))
    def pick(self, data: st.DataObject, count: int, ip: int) -> None:
        everyone = [*self.group.servers.values(), *self.gone]
        avoid = data.draw(st.lists(st.sampled_from(everyone), max_size=3)) if everyone else []
        for _ in range(count):
            tier = [s for s in self.group.servers.values() if s.eligible]
            tier = [s for s in tier if not s.spec.backup] or tier
            choice = [s for s in tier if not s.full and s not in avoid]
            lease = self.group.pick(Context(client_ip=f"10.0.0.{ip}"), avoid)
            assert not self.errors, self.errors
            if lease is None:
                assert not choice
                break
            assert lease.server in choice
            self.leases.append(lease)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        member = self.group.servers[data.draw(st.sampled_from(self.present))]
        possible = member.honours and not member.full
        lease = self.group.take(member)
        assert (lease is not None) is possible
        if lease is not None:
            self.leases.append(lease)

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(Outcome),
        seconds=st.sampled_from([-1.0, 0.0, 0.001, 3.0]),
        count=st.integers(1, 8),
    )
    def release(self, data: st.DataObject, outcome: Outcome, seconds: float, count: int) -> None:
        for _ in range(min(count, len(self.leases))):
            at = data.draw(st.integers(0, len(self.leases) - 1))
            lease = self.leases.pop(at)
            lease.release(outcome, seconds)
            with pytest.raises(LeaseError):
                lease.release(outcome)

    @rule(seconds=st.sampled_from([0.001, 1.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule(kind=st.sampled_from(sorted(BUILTIN)))
    def change_balancer(self, kind: str) -> None:
        self.group.set_balancer(make(kind, self.clock))
        self.group.set_balancer(self.balancer)

    @invariant()
    def counts_hold(self) -> None:
        held: dict[ServerState, int] = {}
        for lease in self.leases:
            held[lease.server] = held.get(lease.server, 0) + 1
        everyone = [*self.group.servers.values(), *self.gone]
        assert all(s.active == held.get(s, 0) for s in everyone)
        assert self.group.free == sum(not s.full for s in self.group.listed)
        assert [s for s in everyone if s.listed] == list(self.group.listed)
        assert not self.errors, self.errors

    @invariant()
    def scores_name_every_eligible_server_once(self) -> None:
        scores = self.group.balancer.scores(Context())
        assert sorted(s.name for s, _, _ in scores) == sorted(s.name for s in self.group.listed)
        assert all(isfinite(score) and note for _, score, note in scores)

    def teardown(self) -> None:
        for lease in self.leases:
            lease.release(Outcome.NEUTRAL)
        assert all(s.active == 0 for s in [*self.group.servers.values(), *self.gone])
        assert not self.errors, self.errors


for _kind in BUILTIN:
    _case = type(f"History_{_kind}", (History,), {"kind": _kind}).TestCase
    _case.settings = settings(
        max_examples=25,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    globals()[f"Test_{_kind.replace('-', '_')}"] = _case
del _case
