"""DATA. The admission of client connections: address lists, bans, limits, and their release.

It is the base of :class:`lbproxy.proxy.frontend.Frontend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.logger import Logger

from lbproxy.config.model import FrontendSpec
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.addresses import Access, AddressSet
from lbproxy.guard.connections import ConnectionLimits
from lbproxy.lists.access import access_of
from lbproxy.net.timers import TimerWheel
from lbproxy.observe.metrics import FrontendCounters
from lbproxy.observe.offenders import Offenders
from lbproxy.proxy.accounting import Accounting
from lbproxy.proxy.info import ConnectionInfo, plain_ip
from lbproxy.proxy.ratelog import Quiet
from lbproxy.proxy.roles import BanJudge, Gate

__all__ = ["Admission"]

_quiet: Final = Quiet(Logger(__name__))


class Admission(Accounting):
    """Decides which clients may connect, and counts their connections.

    ``gate`` refuses connections in addition to the address lists, or returns a callable that
    charges a counted one. ``stopping``: no client is admitted.
    """

    def __init__(
        self,
        spec: FrontendSpec,
        wheel: TimerWheel,
        counters: FrontendCounters,
        limits: ConnectionLimits,
        write_log: Callable[[Any], None] | None,
        offenders: Offenders | None,
    ) -> None:
        super().__init__(spec.name, spec.protocol, wheel, counters, write_log, offenders)
        self.spec = spec
        self.limits = limits
        self.stopping = False
        self.gate: Gate | None = None
        self.ban_judge: BanJudge | None = None  # set by a feature
        self._proxies = AddressSet(spec.trusted_proxies)
        self.use_lists({})

    def use_lists(self, lists: Mapping[str, Any]) -> None:
        """Use the lists of addresses in ``lists`` for ``allow``, ``deny`` and conditions."""
        spec = self.spec
        self.lists: Mapping[str, Any] = lists
        self.access: Access = access_of(spec.allow, spec.deny, lists)
        self.peers: Access = access_of(spec.allow_peers, spec.deny_peers, lists)
        # whether some clients are known only from their requests (:meth:`Exchange.start` checks it)
        self.judges_requests = bool(self._proxies) and not self.access.open

    def welcome(self, ip: str, port: int, listener: str, announced: bool) -> ConnectionInfo | None:
        """Return the data about a client that has connected; None if it is refused, which is
        counted.

        ``announced``: a PROXY header will report the client's address (:meth:`readmit`).
        """
        if self.stopping:
            return None
        self.counters.connections += 1
        ip = plain_ip(ip)
        info = ConnectionInfo(ip, port, ip, port)
        info.listener = listener
        info.connected = self.now()
        if self.peers.allows(ip):
            error = self.admit(info, "" if announced else ip, judge=not announced)
        else:
            error = ProxyError(Kind.DENIED, f"{ip} is not an allowed peer")
        if error is not None:
            self.refused(info, error)
            return None
        return info

    def admit(
        self, info: ConnectionInfo, ip: str, *, judge: bool = True, gated: bool = True
    ) -> ProxyError | None:
        """Count one connection from ``ip`` ("" for a Unix socket), or return why it is refused.

        ``judge`` False leaves the address lists to :meth:`readmit`, because a PROXY header will
        report the address. ``gated`` False: the connection belongs to a proxy in front, so
        :attr:`gate` is not called.
        """
        if judge and not self._lets_in(ip):
            return ProxyError(Kind.DENIED, self.access.why_not(ip))
        if self.ban_judge is not None and judge and ip:
            error = self.ban_judge.admit(info)
            if error is not None:
                return error
        charge: Callable[[], ProxyError | None] | None = None
        if self.gate is not None and judge and gated and ip and ip not in self._proxies:
            verdict = self.gate(info)
            if isinstance(verdict, ProxyError):
                return verdict
            charge = verdict
        reason = self.limits.try_take(ip)
        if reason is not None:
            return ProxyError(Kind.LIMITED, reason)
        info.counted_as = ip
        if charge is not None:
            error = charge()
            if error is not None:  # another process was faster
                self.depart(info)
            return error
        return None

    def _lets_in(self, ip: str) -> bool:
        """Return whether a connection from ``ip`` is allowed. Clients behind trusted proxies are
        checked by their requests.
        """
        return self.access.allows(ip) or ip in self._proxies

    def is_direct(self, ip: str) -> bool:
        """Return whether ``ip`` is a client, not a trusted proxy."""
        return ip not in self._proxies

    def still_allows(self, info: ConnectionInfo) -> bool:
        """Return whether a connection admitted by an older configuration may continue."""
        return self.peers.allows(info.peer_ip) and self._lets_in(info.client_ip)

    def readmit(self, info: ConnectionInfo) -> ProxyError | None:
        """Check and count the client's real address, which the PROXY header has reported.

        A header with LOCAL leaves the address of the proxy, to which the connection belongs.
        """
        self.depart(info)
        return self.admit(info, info.client_ip, gated=info.client_ip != info.peer_ip)

    def depart(self, info: ConnectionInfo) -> None:
        """Release the place of a connection, if it was counted."""
        ip, info.counted_as = info.counted_as, None
        if ip is not None:
            self.limits.give_back(ip)
        if info.bound is not None:
            info.bound.close()
        if info.release is not None:
            info.release()
            info.release = None

    def has_too_many(self, info: ConnectionInfo) -> bool:
        """Return whether the client's address has more than a tenth of ``maxconn``; False for
        trusted proxies.
        """
        ip = info.counted_as
        return ip is not None and self.limits.has_too_many(ip) and ip not in self._proxies

    def evicted(self, info: ConnectionInfo, silent: bool) -> None:
        """Count a connection without a request that is closed to make room for another one.

        Its place is released at once. ``silent``: it has not sent a request, so that it counts as
        refused.
        """
        self.depart(info)
        self.counters.evicted += 1
        if silent:
            self.refused(info, ProxyError(Kind.LIMITED, "sent no request and made room for others"))
            return
        _quiet.warn(
            f"{self.name} evicted",
            "frontend {name}: maxconn is reached: closing the idle connection of {ip}",
            name=self.name,
            ip=info.client_ip or "unix socket",
        )
