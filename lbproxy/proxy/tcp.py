"""DATA. TCP sessions: a client, a server, and bytes both ways.

The rules of a session:

1. Filters of phase ``early``, the route (client address, SNI, ALPN), filters of phase ``request``.
2. A lease, at once or from the backend's queue; filters of phase ``server_request``; the dial.  What the client sends
   meanwhile is kept, up to :data:`EARLY_BYTES`, so that a client that leaves is noticed.
3. A dial that fails gives the lease back and, while retries are left, another server is tried.
4. Connected: the two transports are each other's producers, so neither is read faster than the other takes.  Where a
   direction moves bulk between our own transports in the clear, the kernel does it (:mod:`lbproxy.net.relay`).
5. A FIN from one side becomes a FIN to the other; the session is over when both directions are.
6. :meth:`Session._finish` runs exactly once: lease, counters, log, filters of phase ``finish``.
7. Then what is still buffered may go out, for at most :data:`_FLUSH` seconds; the session stays among the frontend's
   clients until both its connections are closed, so that a stopping frontend can cut it off.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import MEANING, Kind, Outcome, ProxyError
from lbproxy.http.message import Reply
from lbproxy.net.closing import half_close
from lbproxy.net.relay import splice_to
from lbproxy.observe.record import Record
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.info import note_local
from lbproxy.proxy.outgoing import outgoing_header
from lbproxy.proxy.tries import NONE_TRIED, Tries

if TYPE_CHECKING:
    from lbproxy.net.endpoints import Dial
    from lbproxy.net.timers import Timer
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.frontend import Frontend
    from lbproxy.proxy.policy import Hooks, Policy

__all__ = ["EARLY_BYTES", "Session", "TCPProxyFactory"]

EARLY_BYTES: Final = 64 * 1024
"""How much a client may send before its server is connected."""

_FLUSH: Final = 60.0  # longest time that the last bytes of a closed session may take
_IDLE_PARTS: Final = 8  # an idle session ends at most this part of its timeout late


class TCPProxyFactory(ProxyFactory):
    """Serves the clients of a TCP frontend; an ordinary Twisted factory for any endpoint."""

    def protocol_for(self, info: ConnectionInfo) -> Session:
        """The session of one accepted connection."""
        return Session(self.frontend.lineage.current, info)


class Session(Record):
    """The client's side, and the whole: filters and the access log read its public attributes."""

    __slots__ = (
        "_client_eof",
        "_client_lost",
        "_dial",
        "_dialled",
        "_early",
        "_early_paused",
        "_early_size",
        "_hollow",
        "_hooks",
        "_idle",
        "_idle_for",
        "_lease",
        "_mark",
        "_moved",
        "_policy",
        "_quiet_parts",
        "_server",
        "_server_eof",
        "_server_lost",
        "_server_transport",
        "_server_write",
        "_tries",
        "alpn",
        "backend",
        "factory",
        "frontend",
        "over",
        "priority",
        "sni",
        "transport",
        "tried",
        "vars",
        "waiting",
        "watched",
    )

    request = None
    reused = False
    t_header = -1.0
    t_response = -1.0

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(info, info.connected)
        self.factory: Any = None
        self.transport: Any = None
        self.frontend = frontend
        self.frontend_name = frontend.name
        self.sni = info.sni
        self.alpn = info.alpn
        self.backend: Backend | None = None
        self.priority = 0  # in the backend's queue; lower ones first
        self.tried: Sequence[ServerState] = NONE_TRIED
        self.over = False
        self.waiting: Deferred[Any] | None = None
        self.vars: dict[str, Any] | None = None
        self._tries: Tries | None = None
        self._hooks: Hooks | None = None
        self._policy: Policy | None = None
        self._lease: Lease | None = None
        self._server: ServerState | None = None
        self._dial: Dial | None = None
        self._dialled = self._mark = 0.0
        self._server_transport: Any = None
        self._server_write: Any = None
        self._early: list[bytes] | None = []
        self._early_size = 0
        self._early_paused = False
        self._client_eof = self._server_eof = False
        self._client_lost = self._server_lost = False
        self._hollow = False  # the server ended it, and had said nothing
        self._moved = 0  # bytes both ways when the idle timer last looked
        self._quiet_parts = 0
        self._idle_for = 0.0
        self._idle: Timer | None = None
        self.watched: Any = None  # a Watched, of a backend with ``rebalance``

    @property
    def server(self) -> ServerState | None:
        """The server of the present attempt."""
        return self._server

    @property
    def traffic(self) -> Session:
        """What balancers and lists of sessions look at."""
        return self

    @property
    def tunnelled(self) -> bool:
        """False: there is no request that could have become a tunnel."""
        return False

    # -- the client's connection ----------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """See IProtocol."""
        note_local(self.info, self.transport)
        frontend = self.frontend
        frontend.clients.add(self)
        early = frontend.early
        if early:
            run_hooks(self, self, early, self._route)
        else:
            self._route()

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        write = self._server_write
        if write is not None:
            self.bytes_in += len(data)
            write(data)
            return
        if self.over or self._early is None:
            return
        self.bytes_in += len(data)
        self._early.append(data)
        self._early_size += len(data)
        if self._early_size >= EARLY_BYTES and not self._early_paused:
            self._early_paused = True
            self.transport.pauseProducing()

    def bulk_flow(self) -> None:
        """Our transport's call: a lot came from the client."""
        if self.watched is not None:  # the kernel would hide the bytes
            return
        splice_to(self.transport, self._server_transport, self.moved_in)

    def moved_in(self, size: int) -> None:
        """The kernel took so many bytes from the client; 0: the server took some."""
        self.bytes_in += size
        self._quiet_parts = 0

    def moved_out(self, size: int) -> None:
        """The kernel took so many bytes from the server; 0: the client took some."""
        self.bytes_out += size
        self._quiet_parts = 0

    def peer_hung_up(self, reset: bool) -> bool:
        """The client has gone while reading is paused; a reset ends the session at once."""
        return reset

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        if self._client_eof:
            return
        self._client_eof = True
        if self._server_transport is not None and not self._server_lost:
            if self._server_eof:
                self._both_done()
            else:
                half_close(self._server_transport)
                self._watch()
        elif self._server_transport is None and not self._early_size and self._lease is None:
            self._end(Kind.CLIENT_GONE, "left before a server was found")

    def writeConnectionLost(self) -> None:
        """Our FIN is on its way to the client; nothing to do."""

    def connectionLost(self, reason: Failure) -> None:
        """The client's connection is closed."""
        self._client_lost = True
        self._server_write = None
        server = self._server_transport
        if self.over:
            pass
        elif server is None:
            self._finish(Kind.CLIENT_GONE, "left before the server was connected")
        else:
            clean = reason.check(ConnectionDone) is not None
            self._finish(Kind.OK if clean else Kind.CLIENT_GONE, "" if clean else _words(reason))
            if not self._server_lost:
                # many close TLS without a close_notify: what they said before must arrive all the same
                self._close(server, clean or self.info.tls is not None, self._server_eof)
        self.frontend.depart(self.info)
        if server is None or self._server_lost:
            self._gone()

    # -- where to -------------------------------------------------------------------------------

    def _route(self) -> None:
        frontend = self.frontend
        policy = frontend.policies.match(self)
        if policy is None:
            self.fail(ProxyError(Kind.NO_ROUTE))
            return
        self.route = policy.text
        if policy.priority:
            self.priority = policy.priority
        self._use(policy)
        hooks = policy.hooks
        if hooks.request:
            run_hooks(self, self, hooks.request, self._acquire)
        else:
            self._acquire()

    def _use(self, policy: Policy) -> None:
        """Go on as ``policy`` says, to its backend."""
        self._policy = policy
        self._hooks = policy.hooks
        self.backend = policy.backend
        self.backend_name = policy.backend_name

    def _acquire(self) -> None:
        backend = self.backend
        assert backend is not None
        if backend.name != self.backend_name:  # a filter chose another one
            name = self.backend_name
            chosen = self.frontend.backends.get(name)
            if chosen is None or chosen.mode != "tcp":
                self.backend_name = backend.name
                self.fail(ProxyError(Kind.FILTER_FAILED, f"no tcp backend {name!r} to go to"))
                return
            policy = self._policy
            assert policy is not None
            self._use(policy.at(name))
            backend = chosen
        self._mark = self.frontend.now()
        try:
            lease = backend.acquire(self, self, self.tried)
        except ProxyError as error:
            self.fail(error)
            return
        if lease is not None:
            self.leased(lease)

    def leased(self, lease: Lease) -> None:
        """The backend (or its queue) gives a server."""
        self._lease = lease
        self._server = server = lease.server
        self.server_name = server.spec.name
        self.attempts += 1
        self.t_queue = max(self.t_queue, 0.0) + self.frontend.now() - self._mark
        server.sessions.add(self)
        server.counters.picked += 1
        hooks = self._hooks
        if hooks is not None and hooks.server_request:
            run_hooks(self, self, hooks.server_request, self._connect)
        else:
            self._connect()

    def refused(self, error: ProxyError) -> None:
        """The queue gives no server."""
        if self.backend is not None:
            self.backend.turned_away(error.kind)
        self.fail(error)

    # -- the server's connection ----------------------------------------------------------------

    def _connect(self) -> None:
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        self._dialled = self.frontend.now()
        preamble = b""
        if server.spec.send_proxy:
            preamble = outgoing_header(server.spec.send_proxy, self.info)
        self._dial = backend.dial(server, _ServerSide(self), self._connect_failed, preamble)

    def _connect_failed(self, error: ProxyError) -> None:
        self._dial = None
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        server.counters.connect_errors += 1
        self._another(error)

    def _another(self, error: ProxyError) -> None:
        """The attempt is over; try again if that is allowed and may help."""
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        server.sessions.discard(self)  # if this ejects the server, this attempt is over already
        if backend.passive is not None:
            backend.passive.failed(server, error.kind)
        self._release(error.outcome)
        tries = self._tries
        if tries is None:
            tries = self._tries = Tries(self.started)
            self.tried = tries.servers
        if not (error.retry and tries.allow(backend, self.attempts)):
            self.fail(error)
            return
        pause = tries.again(backend, server, self.attempts)
        if pause:
            self._idle = self.frontend.wheel.timer(self._retry_now)
            self._idle.set(pause)
        else:
            self._acquire()

    def _retry_now(self) -> None:
        if self._idle is not None:
            self._idle.close()
            self._idle = None
        if not self.over:
            self._acquire()

    def server_connected(self, side: _ServerSide) -> None:
        """The dial succeeded."""
        self._dial = None
        transport = side.transport
        self.t_connect = self.frontend.now() - self._dialled
        self._server_transport = transport
        hooks = self._hooks
        if hooks is not None and hooks.response:
            transport.pauseProducing()
            held: list[bytes] = []  # TLS may have read on already
            side.client_write = held.append
            then = partial(self._resume_and_join, side, held)
            run_hooks(self, self, hooks.response, then)
        else:
            self._join(side)

    def _resume_and_join(self, side: _ServerSide, held: list[bytes]) -> None:
        side.client_write = self.transport.write
        self._server_transport.resumeProducing()
        self._join(side)
        if held and side.client_write is not None:
            side.client_write(b"".join(held))

    def _join(self, side: _ServerSide) -> None:
        """Bytes may flow."""
        client, server = self.transport, self._server_transport
        if self._server_lost:
            self._end(Kind.SERVER_GONE, "closed before the session began")
            return
        server.registerProducer(client, True)
        client.registerProducer(server, True)
        self._server_write = write = server.write
        backend = self.backend
        if backend is not None and backend.rebalancer is not None:
            self.watched = watched = backend.rebalancer.watch()
            if watched is not None:
                self._server_write = write = watched.tap_client(write)
                side.client_write = watched.tap_server(client.write)
        early, self._early = self._early, None
        if self._early_paused and not self._client_eof:
            client.resumeProducing()  # before the write, which may pause it again
        if early:
            write(early[0] if len(early) == 1 else b"".join(early))
        if self._client_eof:
            half_close(server)
        self._watch()

    # -- idle sessions --------------------------------------------------------------------------

    def _watch(self) -> None:
        backend = self.backend
        assert backend is not None
        client_wait, server_wait = self.frontend.client_timeout, backend.terms.timeout_server
        if self._client_eof:
            self._idle_for = server_wait
        elif self._server_eof:
            self._idle_for = client_wait
        else:
            self._idle_for = min(client_wait, server_wait)
        self._quiet_parts = 0
        if self._idle is None:
            self._idle = self.frontend.wheel.timer(self._look)
        self._idle.set(self._idle_for / _IDLE_PARTS)

    def _look(self) -> None:
        """An eighth of the idle timeout has passed."""
        if self._client_lost and self._server_lost:
            return
        if self.over:
            self._abort_all()
            return
        idle = self._idle
        assert idle is not None
        moved = self.bytes_in + self.bytes_out
        if moved != self._moved:
            self._moved = moved
            self._quiet_parts = 0
        else:
            self._quiet_parts += 1
            if self._quiet_parts >= _IDLE_PARTS:
                client = self._server_eof or (
                    not self._client_eof and self._idle_for == self.frontend.client_timeout
                )
                kind = Kind.CLIENT_TIMEOUT if client else Kind.SERVER_TIMEOUT
                self._end(kind, f"silent for {self._idle_for:g} s")
                return
        idle.set(self._idle_for / _IDLE_PARTS)

    # -- closing --------------------------------------------------------------------------------

    def server_half_closed(self) -> None:
        """The server sends no more."""
        if self._server_eof:
            return
        self._server_eof = True
        self._hollow = not self._client_eof and not self.bytes_out
        if self._client_lost:
            return
        if self._client_eof:
            self._both_done()
        else:
            half_close(self.transport)
            self._watch()

    def server_lost(self, reason: Failure) -> None:
        """The server's connection is closed."""
        self._server_lost = True
        self._server_write = None
        if not self._server_eof:
            self._hollow = not self._client_eof and not self.bytes_out
        if self.over:
            pass
        elif self._early is not None:
            self._end(Kind.SERVER_GONE, "closed before the session began")
        else:
            # a reset after its FIN only answers what the client sent too late: it had said everything
            clean = self._server_eof or reason.check(ConnectionDone) is not None
            self._finish(Kind.OK if clean else Kind.SERVER_GONE, "" if clean else _words(reason))
            if not self._client_lost:
                tls = self._server is not None and self._server.spec.tls
                self._close(self.transport, clean or tls, self._client_eof)
        if self._client_lost:
            self._gone()

    def _both_done(self) -> None:
        """Both directions have ended: what is still buffered goes out, then both close."""
        if not self.over:
            self._finish(Kind.OK)
            self._close(self.transport, True, True)
            self._close(self._server_transport, True, True)

    def _close(self, transport: Any, clean: bool, eof: bool) -> None:
        """Close one side: after what is written, or at once.  ``eof``: it sends no more."""
        transport.unregisterProducer()
        if clean:
            if not eof:
                transport.resumeProducing()  # TLS waits for the peer's close
            transport.loseConnection()
            if self._idle is not None:  # it may not take what is written: then it is aborted
                self._idle.set(min(self._idle_for or _FLUSH, _FLUSH))
        else:
            transport.abortConnection()

    def _abort_all(self) -> None:
        if not self._client_lost:
            self.transport.abortConnection()
        if self._server_transport is not None and not self._server_lost:
            self._server_transport.abortConnection()

    # -- the end --------------------------------------------------------------------------------

    def hook_replied(self, reply: Reply) -> None:
        """There is no such thing as a reply in TCP: a filter that gives one refuses the session."""
        self._end(Kind.FILTER_FAILED, "a filter replied to a TCP session")

    def fail(self, error: ProxyError) -> None:
        """It cannot go on."""
        self._end(error.kind, error.detail)

    def server_gone(self, kind: Kind) -> None:
        """The server went down with ``on_down = close``, or an operator ended the session."""
        dial = self._dial
        if dial is not None and kind is Kind.SERVER_DOWN:  # nothing is lost yet: go elsewhere
            self._dial = None
            dial.cancel()
            self._another(ProxyError(kind, "went down while it was dialled"))
        else:
            self._end(kind, "")

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End it for the sake of balance: each side gets its last words, and is closed after them."""
        self._finish(Kind.REBALANCED)
        if not self._client_lost:
            if to_client:
                self.transport.write(to_client)
            self._close(self.transport, True, self._client_eof)
        if not self._server_lost:
            if to_server:
                self._server_transport.write(to_server)
            self._close(self._server_transport, True, self._server_eof)

    def shut(self) -> None:
        """The frontend stops: a session that has a server goes on, one that has none ends."""
        if self._server_transport is None:
            self._end(Kind.SHUTDOWN, "")

    def kill(self, error: ProxyError) -> None:
        """End now, last bytes included."""
        if self.over:
            self._abort_all()
        else:
            self._end(error.kind, error.detail)

    def _end(self, kind: Kind, detail: str) -> None:
        if self.over:
            return
        self._finish(kind, detail)
        self._abort_all()

    def _gone(self) -> None:
        """Both connections are closed."""
        self.frontend.clients.discard(self)
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _release(self, outcome: Outcome) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        server = lease.server
        if outcome is Outcome.OK:
            server.counters.ok += 1
        elif outcome is Outcome.FAILED:
            server.counters.failed += 1
        lease.release(outcome, self.t_connect)

    def _finish(self, kind: Kind, detail: str = "") -> None:
        """Exactly once, whatever happened."""
        assert not self.over
        self.over = True
        self.close = kind
        self.detail = detail
        backend = self.backend
        if backend is not None and self._lease is None and self._server_transport is None:
            backend.queue.leave(self)
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        if self._idle is not None:
            self._idle.clear()
        self._early = None
        self._server_write = None
        if self._tries is not None:
            self._tries.end()
        server = self._server
        if server is not None:
            server.counters.bytes_in += self.bytes_in
            server.counters.bytes_out += self.bytes_out
        frontend = self.frontend
        self.t_total = frontend.now() - self.started
        lease = self._lease
        if lease is not None:
            lease.server.sessions.discard(self)
            if backend is not None and backend.passive is not None and self.t_connect >= 0:
                lasted = frontend.now() - self._dialled - self.t_connect
                backend.passive.session_over(
                    lease.server, kind, self._hollow, self.t_connect, lasted
                )
            self._release(MEANING[kind].outcome)
        frontend.session_over(self)
        hooks = self._hooks
        for hook in hooks.finish if hooks is not None else frontend.own_hooks.finish:
            frontend.run_finish(hook, self)


class _ServerSide:
    """The protocol on the server's connection; all it knows is its session, which does not know it: no cycle."""

    __slots__ = ("client_write", "factory", "session", "transport")

    def __init__(self, session: Session) -> None:
        self.session: Any = session  # None once it is over
        self.factory: Any = None
        self.transport: Any = None
        self.client_write: Any = session.transport.write

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """See IProtocol."""
        self.session.server_connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the server."""
        self.session.bytes_out += len(data)
        self.client_write(data)

    def bulk_flow(self) -> None:
        """Our transport's call: a lot came from the server."""
        session = self.session
        if session.watched is not None:
            return
        splice_to(self.transport, session.transport, session.moved_out)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        self.session.server_half_closed()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol.  Lets go of the session: connectors of Twisted's keep us, and one another, for a while."""
        session = self.session
        self.session = self.client_write = None
        session.server_lost(reason)


classImplements(Session, IProtocol, IHalfCloseableProtocol)
classImplements(_ServerSide, IProtocol, IHalfCloseableProtocol)


def _words(reason: Failure) -> str:
    return str(reason.getErrorMessage())[:200]
