"""DATA. Passive health in traffic: processes outcomes of attempts and sessions, ejects servers and
takes them back.

:class:`lbproxy.health.passive.PassiveHealth` judges servers. Timers run only while a server is
ejected, or while there is something to compare. A changed ``passive`` line starts fresh, and
ejected servers return.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from lbproxy.balance.server import ServerState
from lbproxy.config.model import PassiveSpec
from lbproxy.errors import Kind
from lbproxy.health.passive import Ejection, PassiveHealth
from lbproxy.http.retry import cause_of, is_server_error
from lbproxy.net.timers import Timer
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.ratelog import Quiet

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["AT_ONCE_S", "Ejector"]

_quiet = Quiet(Logger())

AT_ONCE_S = 1.0
"""Seconds within which a TCP session that the server ends without having sent data counts as
failed.
"""


class Ejector(Feature["Backend"]):
    """Passive health; see the module. ``health``: the judge. ``out``: the ejected servers."""

    name = "passive"
    keys = ("passive",)

    def __init__(self, spec: PassiveSpec) -> None:
        self.health: PassiveHealth[ServerState] = PassiveHealth(spec, self._may_eject)
        self.out: dict[ServerState, Timer] = {}
        self._spec = spec
        self._counts = frozenset(spec.count)
        self._judging: Timer | None = None
        self._armed = True

    @classmethod
    def prepare(cls, spec: Any, old: Ejector | None, given: Given) -> Ejector | None:
        """See :class:`Feature`."""
        wanted: PassiveSpec | None = spec.passive
        if wanted is None or (old is not None and old._spec == wanted):
            return old if wanted is not None else None
        return cls(wanted)

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self.backend_name = owner.name
        self._group = owner.group
        self._wheel = owner.wheel
        self._judging = owner.wheel.timer(self._judge) if self.health.compares else None
        self._armed = self._judging is None
        self._owner = owner
        owner.passive = self

    def detach(self) -> None:
        """Take ejected servers back."""
        self._owner.passive = None
        for server in list(self.out):
            self.release(server)

    # -- evidence -------------------------------------------------------------------------------

    def answered(self, server: ServerState, status: int, seconds: float) -> None:
        """Handle a complete response. ``status``: as sent by the server."""
        if status >= 500 and is_server_error(status):
            if "5xx" in self._counts:
                self._bad(server, f"status {status}")
        else:
            self.succeeded(server, seconds)

    def succeeded(self, server: ServerState, seconds: float) -> None:
        """Handle a successful attempt or session. ``seconds`` to the first response byte, or to
        connect.
        """
        self.health.succeeded(server, seconds)
        if not self._armed:
            self._arm()

    def failed(self, server: ServerState, kind: Kind) -> None:
        """Handle a failed attempt. Only failures of the server count."""
        if cause_of(kind) in self._counts:
            self._bad(server, kind.value)

    def session_over(
        self, server: ServerState, kind: Kind, hollow: bool, connect_s: float, lasted_s: float
    ) -> None:
        """Handle the end of a connected TCP session after ``lasted_s``.

        ``hollow``: the server ended it without having sent data.
        """
        if kind is Kind.SERVER_TIMEOUT:
            return  # silence of both sides
        if kind is Kind.SERVER_GONE:
            self.failed(server, kind)
        elif hollow and lasted_s < AT_ONCE_S:
            if "reset" in self._counts:
                self._bad(server, "closed at once")
        elif kind is Kind.OK:
            self.succeeded(server, connect_s)

    def _bad(self, server: ServerState, why: str) -> None:
        ejection = self.health.failed(server, why, self._wheel.now())
        if ejection is not None:
            self._eject(ejection)
        if not self._armed:
            self._arm()

    # -- ejections ------------------------------------------------------------------------------

    def _may_eject(self, server: ServerState) -> bool:
        return self._group.may_eject(server, self._spec.max_ejected)

    def _eject(self, ejection: Ejection[ServerState]) -> None:
        server = ejection.server
        timer = self._wheel.timer(partial(self._back, server))
        timer.set(ejection.seconds)
        self.out[server] = timer
        server.counters.ejections += 1
        _quiet.warn(
            f"{self.backend_name}/{server.name} ejected",
            "server {backend}/{server} is ejected for {seconds:g} s: {reason}",
            backend=self.backend_name,
            server=server.name,
            seconds=ejection.seconds,
            reason=ejection.reason,
        )
        note = f"ejected for {ejection.seconds:g} s: {ejection.reason}"
        self._group.set_ejected(server, True, note)

    def _back(self, server: ServerState) -> None:
        timer = self.out.pop(server, None)
        if timer is None:
            return
        timer.close()
        self.health.returned(server, self._wheel.now())
        _quiet.warn(
            f"{self.backend_name}/{server.name} back",
            "server {backend}/{server} is back on trial",
            backend=self.backend_name,
            server=server.name,
        )
        self._group.set_ejected(server, False)

    def release(self, server: ServerState) -> None:
        """Take an ejected server back before its time. Does nothing for other servers."""
        self._back(server)

    def server_removed(self, server: ServerState) -> None:
        """Forget a server that the backend no longer has."""
        timer = self.out.pop(server, None)
        if timer is not None:
            timer.close()
        self.health.forget(server)

    # -- comparison -----------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._judging is not None:
            self._armed = True
            self._judging.set(self._spec.every)

    def _judge(self) -> None:
        self._armed = False
        for ejection in self.health.judge(self._wheel.now()):
            self._eject(ejection)

    def close(self) -> None:
        """Stop all timers. Ejected servers stay ejected."""
        for timer in self.out.values():
            timer.close()
        self.out.clear()
        if self._judging is not None:
            self._judging.close()
        self._judging, self._armed = None, True
