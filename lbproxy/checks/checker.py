"""CONTROL. Active health checks: probes of all servers of one backend, and their effect on the
group.

:mod:`lbproxy.service` runs one :class:`Checker` per backend that has a ``check``. Servers in maint,
without an address yet, or with ``no_check`` are skipped. Checks are spread over the interval, never
overlap for one server, and end at their timeout regardless of the probe.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import DeferredList, TimeoutError, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import ServerState, State
from lbproxy.checks.checktls import CheckTLS, TLSFor
from lbproxy.checks.places import check_preamble, places_of
from lbproxy.checks.servercheck import ServerCheck
from lbproxy.checks.turns import CheckTurns
from lbproxy.config.model import Address, CertificateSpec, CheckSpec
from lbproxy.health.state import Result, Transition
from lbproxy.interfaces import Env
from lbproxy.net.endpoints import Dialler
from lbproxy.probes.base import ProbeTarget
from lbproxy.probes.notes import shorten

__all__ = ["Checker"]

_log = Logger()

_JITTER = 0.1  # maximum random delay of the first check, as a part of the interval
# part of the timeout for each of several addresses, so that a slow one leaves the others their
# results
_PART = 0.9


class Checker(Service):
    """Keeps the health of one backend's servers up to date; see the module.

    ``tls_for(server)``: TLS parameters of its traffic, or None. Call :meth:`sync` after servers
    were added or removed, or after their admin state changed. ``checks``: by server.
    """

    each_address = True
    """Whether every address of a server is checked, and traffic avoids those that fail."""

    def __init__(
        self,
        backend_name: str,
        group: ServerGroup,
        spec: CheckSpec,
        dialler: Dialler,
        env: Env,
        *,
        tls_for: TLSFor = lambda server: None,
        certificates: Sequence[CertificateSpec] = (),
    ) -> None:
        self.backend_name = backend_name
        self.spec = spec
        self.dialler = dialler
        self.checks: dict[ServerState, ServerCheck] = {}
        self.probe: Any = spec.probe.cls(spec.probe.options, env)
        self.turns = CheckTurns(int(getattr(self.probe, "concurrent", 0)))
        self._group = group
        self._env = env
        self._traffic_tls = tls_for
        self.tls_for: TLSFor
        self.trust(certificates)
        self._probe_broken = False

    def trust(self, certificates: Sequence[CertificateSpec]) -> None:
        """Read keys and authorities again for the next checks, because they may have changed."""
        self.tls_for = CheckTLS(self.spec, self.probe, certificates, self._traffic_tls)

    def startService(self) -> None:
        """Start; server i of n is first checked i/n of the interval from now."""
        super().startService()
        self.sync()

    def stopService(self) -> None:
        """Cancel all checks. The last results stay."""
        super().stopService()
        for check in self.checks.values():
            check.stop()
        self.checks.clear()

    def sync(self) -> None:
        """Update the checks after servers were added, removed, put into maint or taken back."""
        if not self.running:
            return
        wanted = [server for server in self._group.servers.values() if self.wants(server)]
        for server in self.checks.keys() - set(wanted):
            self.checks.pop(server).stop()
        for check in self.checks.values():
            check.look()
        new = [server for server in wanted if server not in self.checks]
        every = self.spec.every
        for i, server in enumerate(new):
            jitter = self._env.random.random() * _JITTER * every / len(new)
            self.checks[server] = ServerCheck(self, server, i * every / len(new) + jitter)

    # -- for subclasses --------------------------------------------------------------------------

    def wants(self, server: ServerState) -> bool:
        """Return whether ``server`` is checked at all."""
        return not server.spec.no_check

    def rests(self, server: ServerState) -> bool:
        """Return whether checks of ``server`` pause."""
        return server.state is State.MAINT

    def elsewhere(self, server: ServerState) -> Address | None:
        """Return the address to check instead of the server's own, or None."""
        return server.spec.check_address

    # -- for ServerCheck ------------------------------------------------------------------------

    async def check_once(self, check: ServerCheck) -> Result:
        """Run the probe on every address of the server. Exceptions of the probe propagate."""
        server = check.server
        wanted = self.elsewhere(server)
        places = await places_of(server, wanted, self.spec.port, self._env.reactor)
        if not places:
            return Result(False, f"cannot resolve {wanted}")
        if len(places) == 1 or not self.each_address:
            if self.each_address:
                check.addresses.forget()
                self._group.set_unusable(server, frozenset())
            return await self._probe(server, places[0][1])
        results = await self._probe_all(server, places)
        unusable, result = check.addresses.judge(results)
        self._group.set_unusable(server, unusable)
        return result

    async def _probe(self, server: ServerState, address: Address) -> Result:
        target = ProbeTarget(
            server=server,
            network=self.dialler,
            address=address,
            tls=self.tls_for(server),
            timeout=self.spec.timeout,
            preamble=b"" if self.spec.port else check_preamble(server),
        )
        result: Result = await self.probe.check(target)
        return result

    async def _probe_all(
        self, server: ServerState, places: Sequence[tuple[str, Address]]
    ) -> dict[str, Result]:
        """Run the probe on several addresses at once. An exception for one address is its
        result.
        """
        clock, limit = self._env.reactor, self.spec.timeout * _PART
        running = [
            ensureDeferred(self._probe(server, address)).addTimeout(limit, clock)
            for _, address in places
        ]
        found = await DeferredList(running, consumeErrors=True)
        results = {}
        for (text, _), (_, value) in zip(places, found, strict=True):
            results[text] = _failed(value, limit) if isinstance(value, Failure) else value
        return results

    def judged(self, check: ServerCheck, result: Result, transition: Transition | None) -> None:
        """Process the result of a check, and report changes to the group and the log."""
        server = check.server
        if result.ok:
            server.counters.probes_ok += 1
        else:
            server.counters.probes_failed += 1
        if transition is not None:
            self._announce(server, transition)
        if self._group.servers.get(server.name) is not server:
            return
        if server.leaving and result.ok and not result.drain:
            self._group.set_leaving(server, False)
        if transition is not None or result.note != server.health_note:
            self._group.set_health(server, check.state.healthy, result.note)
        if result.drain and result.ok and not server.leaving:
            _log.info(
                "server {backend}/{server} accepts no new work: {note}",
                backend=self.backend_name,
                server=server.name,
                note=result.note,
            )
            self._group.set_leaving(server, True)
        if result.weight is not None and result.weight != server.full_weight:
            self._group.set_weight(server.name, max(0, result.weight))

    def _announce(self, server: ServerState, transition: Transition) -> None:
        words = ("check passed", "checks passed") if transition.healthy else ("failure", "failures")
        _log.info(
            "server {backend}/{server} is {state}: {note} ({count} {word})",
            backend=self.backend_name,
            server=server.name,
            state="up" if transition.healthy else "down",
            note=transition.note or ("checked" if transition.healthy else "check failed"),
            count=transition.count,
            word=words[transition.count != 1],
        )

    def probe_failed(self, failure: Failure) -> None:
        """Log the traceback of a probe that raised, once. Later exceptions appear in notes only."""
        if not self._probe_broken:
            self._probe_broken = True
            _log.failure(
                "the check of backend {backend} failed; further failures are only counted",
                failure,
                backend=self.backend_name,
            )


def _failed(failure: Failure, limit: float) -> Result:
    """Return the result of a probe that raised, or took longer than ``limit`` seconds."""
    late = failure.check(TimeoutError) is not None
    note = f"no answer in {limit:g} s" if late else failure.getErrorMessage()[:200]
    return Result(False, shorten(note), limit if late else 0.0)
