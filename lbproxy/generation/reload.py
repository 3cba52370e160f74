"""CONTROL. Replaces one generation by the next, without a pause in traffic.

:meth:`lbproxy.service.LoadBalancer.reload` reads the new configuration and calls
:meth:`Reloader.apply`. The steps:

1. Create and check all new objects (:mod:`lbproxy.generation.assemble`), and find those that
continue. 2. Bind new addresses. Up to here any error is reported and nothing has changed. 3. Swap
the generations in one turn of the reactor: no connection is accepted and no byte moves meanwhile.
4. Services that manage servers start, stop or update. 5. :mod:`lbproxy.generation.leaving` takes
the removed objects.
"""

from __future__ import annotations

import errno
from typing import Any

from attrs import evolve, frozen
from twisted.application.service import MultiService
from twisted.logger import Logger

from lbproxy.config.diff import ConfigDiff, diff
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.model import Config
from lbproxy.errors import ListenError
from lbproxy.generation.assemble import compile_config
from lbproxy.generation.generation import Generation, Ground
from lbproxy.generation.leaving import Leaving, Remnant
from lbproxy.generation.listening import Listener, bind, unbind
from lbproxy.generation.plan import Plan
from lbproxy.observe.events import EventKind, EventSeverity
from lbproxy.proxy.guarding import guard

__all__ = ["ReloadReport", "Reloader"]

_log = Logger()


@frozen
class ReloadReport:
    """The changes that a reload made or, with ``dry_run``, would make.

    ``errors``: reasons for a failed reload; empty on success. ``sessions``: client connections at
    that moment. ``leaving``: those that belong to removed objects; they have ``drain_s`` seconds to
    end. ``seconds``: duration of the pause in traffic.
    """

    changes: ConfigDiff | None = None
    errors: tuple[str, ...] = ()
    dry_run: bool = False
    sessions: int = 0
    kept: int = 0
    leaving: tuple[Remnant, ...] = ()
    drain_s: float = 0.0
    seconds: float = 0.0
    restart: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the new configuration is in use, or could be."""
        return not self.errors

    def summary(self) -> str:
        """Return a summary in one line."""
        if self.errors:
            more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
            fails = "would fail" if self.dry_run else "failed"
            first = f"{self.errors[0]}{more}"
            return f"reload {fails}: {first}; the running configuration is unchanged"
        count = len(self.changes.changes) if self.changes is not None else 0
        does = "would make" if self.dry_run else "made"
        what = f"{does} {count} change{'' if count == 1 else 's'}" if count else "nothing changes"
        keeps = "would keep" if self.dry_run else "kept"
        text = f"{what}, {keeps} {self.kept} of {self.sessions} sessions"
        parts = [
            f"{one.sessions} belong{'s' if one.sessions == 1 else ''} to removed {one.what}"
            for one in self.leaving
        ]
        if parts:
            text += f"; {', '.join(parts)}, closing in {self.drain_s:g} s"
        if self.restart:
            text += f"; needs a restart: {', '.join(self.restart)}"
        return text

    def text(self) -> str:
        """Return the full report for people."""
        if self.errors:
            return "\n".join([*self.errors, "nothing was changed"])
        changes = self.changes.text() if self.changes else ""
        return f"{changes}\n{self.summary()}".lstrip()

    def as_json(self) -> dict[str, Any]:
        """Return the full report for programs."""
        return {
            "ok": self.ok,
            "dry_run": self.dry_run,
            "errors": list(self.errors),
            "changes": self.changes.as_json() if self.changes is not None else [],
            "sessions": self.sessions,
            "kept": self.kept,
            "leaving": [{"what": one.what, "sessions": one.sessions} for one in self.leaving],
            "drain_s": self.drain_s,
            "seconds": self.seconds,
            "restart": list(self.restart),
            "summary": self.summary(),
        }


class Reloader:
    """Replaces generations. ``services``: parent of the background services; while it is stopped,
    nothing is bound.
    """

    def __init__(self, ground: Ground, services: MultiService) -> None:
        self._ground = ground
        self._services = services
        self.leaving: set[Leaving] = set()

    def apply(
        self, old: Generation, config: Config, *, dry_run: bool = False
    ) -> tuple[Generation, ReloadReport]:
        """Replace ``old`` by ``config``. On errors, return ``old``."""
        began = self._ground.network.wheel.now()
        try:
            changes = diff(old.config, config)
            plan = compile_config(config, self._ground, old)
        except ConfigErrors as errors:
            return old, self.refused(tuple(map(str, errors.errors)), dry_run)
        except BaseException as error:  # an error in lbproxy or in a plugin: traffic must continue
            _log.failure("reload")
            return old, self.refused((f"{type(error).__name__}: {error}",), dry_run)
        sessions = old.sessions()
        leaving = Leaving(
            self._ground,
            list(plan.gone_frontends),
            list(plan.gone_backends),
            plan.gone_servers(),
            list(plan.gone_sinks),
        )
        report = ReloadReport(
            changes,
            dry_run=dry_run,
            sessions=sessions,
            kept=max(0, sessions - leaving.sessions),
            leaving=tuple(leaving.remnants()),
            drain_s=config.settings.timeout_drain,
            restart=changes.restart,
        )
        if dry_run:
            return old, report
        try:
            self._bind(plan)
        except ListenError as error:
            return old, self.refused((str(error),), dry_run)
        new = self._swap(old, plan, leaving)
        report = evolve(report, seconds=self._ground.network.wheel.now() - began)
        _log.info("reload: {summary}", summary=report.summary())
        return new, report

    def refused(self, errors: tuple[str, ...], dry_run: bool = False) -> ReloadReport:
        """Report why the reload failed, to operators too."""
        report = ReloadReport(errors=errors, dry_run=dry_run)
        if not dry_run:
            for error in errors:
                _log.error("reload: {error}", error=error)
            _log.error("reload: nothing was changed")
            kind, summary = EventKind.RELOAD_REFUSED, report.summary()
            self._ground.events.add(kind, "", summary, EventSeverity.ERROR)
        return report

    def finish(self) -> None:
        """Abort the sessions of all removed objects."""
        for leaving in list(self.leaving):
            leaving.finish()

    # -- the steps ------------------------------------------------------------------------------

    def _bind(self, plan: Plan) -> None:
        if not self._services.running:
            return
        ground = self._ground
        fresh, gone = plan.fresh_listeners(), plan.gone_listeners
        try:
            bind(fresh, ground.network.binder, ground.reactor)
        except ListenError as error:
            in_the_way = [one for one in gone if any(_overlap(one, other) for other in fresh)]
            if not in_the_way or ground.network.binder.shares_ports or _forbidden(error):
                raise
            unbind(in_the_way)
            try:
                bind(fresh, ground.network.binder, ground.reactor)
            except ListenError:
                bind(in_the_way, ground.network.binder, ground.reactor)
                raise

    def _swap(self, old: Generation, plan: Plan, leaving: Leaving) -> Generation:
        checked = _checked(old)
        new = plan.commit()
        unbind(plan.gone_listeners)
        running = self._services.running
        if running:
            for sink in new.sinks.values():
                if sink not in old.sinks.values():
                    sink.start()
            for frontend in new.frontends.values():
                frontend.start()
        self._change_services(old, new)
        for name, servers in checked.items():
            _heal(new, name, servers)
        self.leaving.add(leaving)
        leaving.begin(plan.config.settings.timeout_drain if running else 0.0, self.leaving.discard)
        return new

    def _change_services(self, old: Generation, new: Generation) -> None:
        before, after = list(old.services()), list(new.services())
        for service in before:
            if service not in after:
                guard(service.disownServiceParent)
        for service in after:
            if service not in before:
                guard(service.setServiceParent, self._services)
        for name in new.backends:
            new.sync(name)


def _overlap(old: Listener, new: Listener) -> bool:
    """Return whether the kernel may refuse ``new`` while ``old`` is open: both have the same port,
    and one of them all interfaces.
    """
    a, b = old.spec.address, new.spec.address
    if a is None or b is None or a.kind != "tcp" or b.kind != "tcp":
        return False
    return a.port == b.port


def _forbidden(error: ListenError) -> bool:
    """Return whether this process may no longer bind closed addresses, because it has dropped
    privileges.
    """
    cause = error.__cause__
    problem = getattr(cause, "socketError", cause)
    return getattr(problem, "errno", None) in (errno.EACCES, errno.EPERM)


def _checked(generation: Generation) -> dict[str, set[Any]]:
    """Return the servers whose health depends on a check, by backend."""
    return {
        name: {s for s in generation.backends[name].group.servers.values() if not s.spec.no_check}
        for name in generation.checkers
    }


def _heal(new: Generation, name: str, checked: set[Any]) -> None:
    """Mark servers that are no longer checked as up, as after a start."""
    backend = new.backends.get(name)
    if backend is None:
        return
    for server in backend.group.servers.values():
        if server in checked and (name not in new.checkers or server.spec.no_check):
            backend.group.set_health(server, True)
            backend.group.set_leaving(server, False)
            backend.group.set_unusable(server, frozenset())
