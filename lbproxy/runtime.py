"""The queries and run-time changes of a load balancer, for operators and embedding programs.

:class:`lbproxy.service.LoadBalancer` implements them. The admin API and the commands call the same
methods.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from lbproxy.balance.server import OPERATOR, AdminState, ServerState
from lbproxy.config.errors import ConfigError, ConfigErrors
from lbproxy.featuremethods import FeatureMethods
from lbproxy.generation.guarding import judge_of, server_reason
from lbproxy.operate.changing import Changing
from lbproxy.operate.drain import (
    Drains,
    DrainStatus,
    status_of,
)
from lbproxy.registry import parse_server_line

__all__ = ["Runtime"]


class Runtime(FeatureMethods):
    """See the module."""

    changing: Changing
    _drains: Drains

    # -- servers at run time --------------------------------------------------------------------

    def add_server(self, backend: str, line: str) -> ServerState:
        """Add a server, written as in ``servers``.

        Example: ``add_server("app", "c 10.0.0.3:8000 weight=2")``.

        It is checked and resolved like one from the file. Raises KeyError (backend), ConfigErrors
        (line), ValueError (name taken).
        """
        owner = self.backends[backend]
        spec = parse_server_line(line, self.config)
        judge = judge_of(self.config, owner.spec)
        if judge is not None and (reason := server_reason(judge, spec)):
            raise ConfigErrors([ConfigError(spec.where, "", "servers", reason, str(spec.target))])
        server = owner.add(spec, OPERATOR)
        self.generation.sync(backend)
        self.changing.added(server)
        return server

    def remove_server(self, backend: str, name: str) -> ServerState:
        """Remove a server at once. Running work finishes. Raises KeyError."""
        server = self.backends[backend].remove(name)
        self.generation.sync(backend)
        self.changing.removed(server)
        return server

    def set_weight(self, backend: str, name: str, weight: int) -> None:
        """Set a server's weight; 0 stops new traffic. Raises KeyError or ValueError."""
        group = self.backends[backend].group
        group.set_weight(name, weight)
        self.changing.note(group.servers[name], "weight", weight)

    def set_maxconn(self, backend: str, name: str, maxconn: int) -> None:
        """Set the limit of concurrent requests or connections, 0 for no limit. Those above it
        continue.

        Raises KeyError or ValueError.
        """
        group = self.backends[backend].group
        group.set_maxconn(name, maxconn)
        self.changing.note(group.servers[name], "maxconn", maxconn)

    def set_admin(self, backend: str, name: str, admin: AdminState) -> None:
        """Set the operator's state of a server.

        This combines :meth:`drain`, :meth:`maint` and :meth:`ready`.

        Raises KeyError.
        """
        owner = self.backends[backend]
        owner.set_admin(name, admin)
        self.generation.sync(backend)
        self.changing.note(owner.group.servers[name], "admin", admin.value)

    def drain(self, backend: str, name: str) -> DrainStatus:
        """Stop new traffic to a server, except from sticky clients. Raises KeyError.

        Sessions finish by themselves. Returns the number that remains. :meth:`drain_status` returns
        it again later, :meth:`drained` waits.
        """
        self.set_admin(backend, name, AdminState.DRAIN)
        return self.drain_status(backend, name)

    def drain_status(self, backend: str, name: str) -> DrainStatus:
        """Return the sessions on a server in any state. Raises KeyError."""
        owner = self.backends[backend]
        return status_of(owner, owner.group.servers[name])

    def drained(self, backend: str, name: str, timeout: float = 60.0) -> Deferred[DrainStatus]:
        """Wait until no session is left on a drained server (or one in maint). Raises KeyError.

        The Deferred fires with the status at that time. It also fires after ``timeout`` seconds,
        when the server is made ready again, or when lbproxy stops; check ``done``. It never fails
        and may be cancelled.
        """
        owner = self.backends[backend]
        return self._drains.wait(owner, owner.group.servers[name], timeout)

    def operate(
        self, owner: str, name: str, feature: str, operation: str, arguments: dict[str, Any]
    ) -> Any:
        """Run ``operation`` (``METHOD path``) of a feature, as the API does.

        ``owner``: "backend", "frontend" or "route"; ``name``: its name. Raises KeyError for unknown
        names, and ValueError if the configuration of the owner does not have the feature, or the
        feature refuses.
        """
        found = self.feature(owner, name, feature)
        return found.operation(operation).run(found, **arguments)

    def maint(self, backend: str, name: str) -> None:
        """Stop new traffic and checks of a server. Raises KeyError."""
        self.set_admin(backend, name, AdminState.MAINT)

    def ready(self, backend: str, name: str) -> None:
        """Return a server to service, if it is healthy. Raises KeyError."""
        self.set_admin(backend, name, AdminState.READY)
