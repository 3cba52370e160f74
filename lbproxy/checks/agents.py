"""CONTROL. Agents: programs beside the servers that report their capacity.

:class:`AgentChecker` queries each server's agent periodically, like a check. The rules follow;
:attr:`lbproxy.balance.server.ServerState.state` implements the first three:

1. The operator's ``drain`` and ``maint`` override any agent. An agent only ends its own states.
2. A server is up if both its checks and its agent say so.
3. An agent's ``maint`` stops the checks, but not the agent, because only the agent can end it.
4. A percentage applies to the weight that is configured or set by the operator; ``maxconn``
   replaces the configured one.
5. Values that a line omits stay unchanged. An agent that cannot be reached, or sends an invalid
   line, changes nothing, and is logged once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import define
from twisted.logger import Logger

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import AdminState, ServerState, State
from lbproxy.checks.checker import Checker
from lbproxy.checks.servercheck import ServerCheck
from lbproxy.config.model import Address, AgentSpec, CheckSpec, PluginSpec
from lbproxy.health.agent import Advice, parse_advice
from lbproxy.health.state import Result, Transition
from lbproxy.interfaces import Env
from lbproxy.net.endpoints import Dialler
from lbproxy.probes.agent import AgentOptions, AgentProbe
from lbproxy.proxy.feature import Feature, Given

if TYPE_CHECKING:
    from twisted.application.service import Service

    from lbproxy.proxy.backend import Backend

__all__ = ["AgentChecker", "AgentState", "Agents"]

_log = Logger()

_limits: WeakKeyDictionary[ServerState, int] = WeakKeyDictionary()  # ``maxconn`` from agents


class AgentChecker(Checker):
    """See the module."""

    each_address = False

    def __init__(
        self, backend_name: str, group: ServerGroup, spec: AgentSpec, dialler: Dialler, env: Env
    ) -> None:
        check = CheckSpec(
            probe=PluginSpec("agent", AgentProbe, AgentOptions(spec.send)),
            every=spec.every,
            timeout=spec.timeout,
            port=spec.port,
            rise=1,
            fall=1,
            no_tls=True,
        )
        super().__init__(backend_name, group, check, dialler, env)
        self._states: WeakKeyDictionary[ServerState, AgentState] = WeakKeyDictionary()
        self._silent: WeakKeyDictionary[ServerState, bool] = WeakKeyDictionary()

    def wants(self, server: ServerState) -> bool:
        """Return True: servers without checks have agents too."""
        return True

    def rests(self, server: ServerState) -> bool:
        """Return whether the operator has put the server into maint."""
        return server.admin is AdminState.MAINT

    def elsewhere(self, server: ServerState) -> Address | None:
        """See :class:`Checker`."""
        return server.spec.agent_address

    def judged(self, check: ServerCheck, result: Result, transition: Transition | None) -> None:
        """Process the answer of an agent."""
        server = check.server
        if self._group.servers.get(server.name) is not server:
            return
        try:
            advice = parse_advice(result.note) if result.ok else None
        except ValueError as error:
            self._unheard(server, str(error))
            return
        if advice is None:
            self._unheard(server, result.note)
            return
        if self._silent.pop(server, False):
            _log.info(
                "the agent of {server} answers again", server=f"{self.backend_name}/{server.name}"
            )
        self._apply(server, advice)

    def _unheard(self, server: ServerState, note: str) -> None:
        if not self._silent.get(server):
            self._silent[server] = True
            _log.warn(
                "no valid answer from the agent of {server}; its last values stay: {note}",
                server=f"{self.backend_name}/{server.name}",
                note=note,
            )

    def _apply(self, server: ServerState, advice: Advice) -> None:
        group = self._group
        said = self._states.get(server)
        if said is None:  # before a reload, perhaps by another object
            said = self._states[server] = AgentState.of(server.agent)
        said.take(advice)
        state = said.state
        if state is not server.agent:
            note = advice.note or f"its agent reports {state.value}"
            _log.info(
                "the agent of {server} reports {state}{note}",
                server=f"{self.backend_name}/{server.name}",
                state=state.value,
                note=f": {advice.note}" if advice.note else "",
            )
            group.set_agent(server, state, "" if state is State.UP else note)
        if advice.percent is not None:
            group.set_agent_share(server, advice.percent / 100)
        if advice.maxconn is not None:
            _limits[server] = advice.maxconn
            if advice.maxconn != server.maxconn:
                group.set_maxconn(server.name, advice.maxconn)


@define
class AgentState:
    """The last values of an agent. A line keeps the values that it omits."""

    wish: str = "ready"
    well: bool = True

    @classmethod
    def of(cls, state: State) -> AgentState:
        """Return the agent state that leads to ``state``."""
        wish = state.value if state in (State.DRAIN, State.MAINT) else "ready"
        return cls(wish, state is not State.DOWN)

    def take(self, advice: Advice) -> None:
        """Process one line."""
        self.wish = advice.wish or self.wish
        if advice.well is not None:
            self.well = advice.well

    @property
    def state(self) -> State:
        """The strictest requested state; UP if none is requested."""
        if self.wish != "ready":
            return State(self.wish)
        return State.UP if self.well else State.DOWN


class Agents(Feature["Backend"]):
    """The feature for agents. ``agent``: the configuration; see the module."""

    name = "agent"
    keys = ("agent",)

    def __init__(self, spec: AgentSpec, given: Given) -> None:
        self._spec = spec
        self._given = given

    @classmethod
    def prepare(cls, spec: Any, old: Agents | None, given: Given) -> Agents | None:
        """See :class:`Feature`."""
        wanted: AgentSpec | None = spec.agent
        if wanted is None:
            return None
        return old if old is not None and old._spec == wanted else cls(wanted, given)

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        given = self._given
        self._checker = AgentChecker(
            owner.name, owner.group, self._spec, given.network.dialler, given.env
        )

    def detach(self) -> None:
        """Drop the values of the agents, unless the new configuration queries agents too."""
        if self._owner.spec.agent is None:
            _forget(self._owner.group)

    def services(self) -> Iterable[Service]:
        """See :class:`Feature`."""
        return (self._checker,)

    def sync(self) -> None:
        """See :class:`Feature`."""
        self._checker.sync()


def _forget(group: ServerGroup) -> None:
    for server in group.servers.values():
        if server.agent is not State.UP:
            group.set_agent(server, State.UP)
        group.set_agent_share(server, 1.0)
        limit = _limits.pop(server, None)
        if limit is not None and limit == server.maxconn:  # still the value that an agent has set
            group.set_maxconn(server.name, server.spec.maxconn)
