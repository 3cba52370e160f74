"""CONTROL. One worker process: a load balancer that does as the master says.

Started by :mod:`lbproxy.workers.master` as ``python -m lbproxy.workers``.  It accepts, balances and logs; checks, the
admin side and the watching of files are the master's.  It ends, gracefully, when it is told to or when the master is
gone.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from attrs import evolve
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from lbproxy.balance.server import AdminState, State
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.share import share_of
from lbproxy.errors import ListenError
from lbproxy.model import Address, Config
from lbproxy.net.endpoints import Network
from lbproxy.net.fast import choose_network
from lbproxy.observe.offenders import Suspects
from lbproxy.process import replication
from lbproxy.process.gc import Heap
from lbproxy.registry import parse_config, parse_server_line
from lbproxy.service import LoadBalancer
from lbproxy.workers.aggregate import collect, take_records
from lbproxy.workers.channel import Channel
from lbproxy.workers.records import Records
from lbproxy.workers.rpc import SessionQuery
from lbproxy.workers.shared import ADDRESSES, EVERY, AddressPeers, Board, BoardClaims, exchange
from lbproxy.workers.sockets import WorkerBinder

__all__ = ["Worker", "worker_config"]

_log = Logger()

_COUNT_EVERY = 1.0  # seconds between two reports of counters
_HALF_MINUTE = 30.0
_MANY = 500  # servers: with more, the board is looked at less often


def worker_config(config: Config, workers: int, secret: str = "") -> Config:
    """Return what one of ``workers`` serves of ``config`` (:mod:`lbproxy.config.share`).

    ``secret``: for a configuration that has none; workers that made up their own would not know one another's cookies.
    """
    part = share_of(config, workers)
    return evolve(part, settings=evolve(part.settings, secret=part.settings.secret or secret))


class RefusedError(Exception):
    """A configuration that the master serves cannot be served here."""


class Worker:
    """``sock``: our end of the channel.  ``ended`` is called when all is over."""

    def __init__(self, reactor: Any, sock: socket.socket, ended: Callable[[], None]) -> None:
        self.reactor = reactor
        self.balancer: LoadBalancer | None = None
        self._binder: WorkerBinder | None = None
        self._sockets: list[tuple[Address, socket.socket]] = []
        self._board: Board | None = None
        self._claims: BoardClaims | None = None
        self._addresses: Board | None = None
        self._bonds = replication.BondsTold()
        self._heap = Heap(reactor)
        self._slot = self._workers = 0
        self._places: dict[str, int] = {}
        self._calls: list[Any] = []
        self._ended = ended
        self._stopping = False
        self.channel = Channel(reactor, sock, self._told, self._orphaned)
        self._records = Records(self.channel.send)

    # -- what the master says -------------------------------------------------------------------

    def _told(self, message: dict[str, Any], fds: list[int]) -> None:
        """``fds``: a handler takes out those that it keeps."""
        try:
            handler = getattr(self, f"do_{message['do']}", None)
            if handler is not None and not self._stopping:
                handler(message, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def do_socket(self, message: dict[str, Any], fds: list[int]) -> None:
        """A listening socket, for the configuration that follows."""
        sock = socket.socket(fileno=fds[0])
        fds.pop(0)
        self._sockets.append((Address(**message["address"]), sock))

    def do_begin(self, message: dict[str, Any], fds: list[int]) -> None:
        """Who we are, and what to serve.  Whatever goes wrong, the master hears of it, and we end."""
        try:
            self._begin(message, fds)
        except Exception as error:
            self._failed(error)
            self.stop()

    def _begin(self, message: dict[str, Any], fds: list[int]) -> None:
        self._slot, self._workers = message["slot"], message["workers"]
        self._board = Board(fds[0], self._workers)
        fds.pop(0)
        self._addresses = Board(fds[0], self._workers, ADDRESSES)
        fds.pop(0)
        self._claims = BoardClaims(self._board, self._slot, self._places)
        config = self._config(message)
        inner = choose_network(config.settings.transport, self.reactor)
        self._binder = WorkerBinder(inner.binder)
        network = Network(self._binder, inner.dialler)
        self.balancer = LoadBalancer(config, reactor=self.reactor, network=network)
        self.balancer.processes = self._workers
        self._join(message)
        self._give()
        self.balancer.privilegedStartService()
        self.balancer.startService()
        self._sync(message)
        self._binder.discard()
        self._measure(message)
        self._look()
        self._count()
        self._later(_HALF_MINUTE, self._turn)
        self._heap.changed()
        self.channel.send({"say": "ready"})

    def do_reload(self, message: dict[str, Any], fds: list[int]) -> None:
        """Another configuration, which the master has found good; if it is not so here, it has us begin anew."""
        try:
            self._reload(message)
        except Exception as error:
            self._failed(error)

    def _reload(self, message: dict[str, Any]) -> None:
        balancer, binder = self.balancer, self._binder
        if balancer is None or binder is None:
            return
        self._give()
        try:
            report = balancer.reload(self._config(message))
        finally:
            binder.discard()
        self._join(message)
        self._measure(message)
        if not report.ok:
            raise RefusedError("; ".join(report.errors))
        self._heap.changed()
        self._sync(message)
        self.channel.send({"say": "ready"})

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ConfigErrors | ListenError | RefusedError):
            why = str(error)
        else:
            _log.failure("begin or reload")
            why = f"{type(error).__name__}: {error}"
        self.channel.send({"say": "failed", "why": why})

    def do_state(self, message: dict[str, Any], fds: list[int]) -> None:
        """Servers as the master has them."""
        if self.balancer is not None:
            self._sync(message)

    def do_kill(self, message: dict[str, Any], fds: list[int]) -> None:
        """End the sessions of a server."""
        if self.balancer is not None:
            with suppress(KeyError):
                self.balancer.kill_sessions(message["backend"], message["server"])

    def do_operate(self, message: dict[str, Any], fds: list[int]) -> None:
        """Run an operation of a feature."""
        if self.balancer is not None:
            with suppress(KeyError, ValueError):
                self.balancer.operate(**message["what"])

    def do_rebalance(self, message: dict[str, Any], fds: list[int]) -> None:
        """Move long-lived sessions of a backend."""
        if self.balancer is not None:
            with suppress(KeyError, ValueError):
                self.balancer.rebalance(message["backend"])

    def do_bonds(self, message: dict[str, Any], fds: list[int]) -> None:
        """What a worker's sticky tables have learnt."""
        if self.balancer is not None:
            replication.learn(self.balancer.backends, message["bonds"])

    def do_tail(self, message: dict[str, Any], fds: list[int]) -> None:
        """Somebody follows the access log of these frontends."""
        if self.balancer is not None:
            self._records.want(message["frontends"], self.balancer.frontends)

    def do_sessions(self, message: dict[str, Any], fds: list[int]) -> None:
        """What runs here."""
        found: list[dict[str, Any]] = []
        if self.balancer is not None:
            of: SessionQuery = message["of"]
            with suppress(KeyError):
                found = [attrs.asdict(one) for one in self.balancer.sessions(**of)]
        self._answer(message, found)

    def do_end_session(self, message: dict[str, Any], fds: list[int]) -> None:
        """One of them."""
        balancer = self.balancer
        self._answer(message, balancer is not None and balancer.kill_session(message["id"]))

    def _answer(self, message: dict[str, Any], answer: Any) -> None:
        self.channel.send({"say": "answer", "number": message["number"], "answer": answer})

    def do_clear_sticky(self, message: dict[str, Any], fds: list[int]) -> None:
        """Forget which clients belong to a server, or to any."""
        if self.balancer is not None:
            with suppress(KeyError):
                self.balancer.clear_sticky(message["backend"], message["server"])

    def do_reopen(self, message: dict[str, Any], fds: list[int]) -> None:
        """Log files were rotated."""
        if self.balancer is not None:
            self.balancer.reopen_logs()

    def do_hand_over(self, message: dict[str, Any], fds: list[int]) -> None:
        """Another program serves on our sockets."""
        if self.balancer is not None:
            self.balancer.hand_over()

    def do_stop(self, message: dict[str, Any], fds: list[int]) -> None:
        """Finish what runs, and end."""
        self.stop()

    def _orphaned(self) -> None:
        """Perhaps found out by a line of the log, in the middle of a start."""
        _log.warn("the master is gone: stopping")
        self.reactor.callLater(0, self.stop)

    # -- doing it -------------------------------------------------------------------------------

    def _config(self, message: dict[str, Any]) -> Config:
        config = parse_config(message["text"], message["file"], message["folder"])
        return worker_config(config, self._workers, message["secret"])

    def _give(self) -> None:
        assert self._binder is not None
        for address, sock in self._sockets:
            self._binder.give(address, sock)
        self._sockets.clear()

    def _join(self, message: dict[str, Any]) -> None:
        """Limits per address and sticky tables are those of all workers."""
        balancer, board = self.balancer, self._addresses
        assert balancer is not None and board is not None
        secret = bytes.fromhex(message["secret"])
        for name, frontend in balancer.frontends.items():
            if frontend.spec.maxconn_per_ip and not frontend.limits.joined:
                frontend.limits.join(AddressPeers(board, self._slot, name, secret))
        self._bonds.listen(balancer.backends)
        self._records.attach(balancer.frontends)

    def _measure(self, message: dict[str, Any]) -> None:
        """Somebody may look at times, or for addresses that attack: keep them."""
        if self.balancer is not None:
            for frontend in self.balancer.frontends.values():
                if not message["suspect"]:
                    frontend.suspects = None
                elif frontend.suspects is None:
                    frontend.suspects = Suspects()
        if message["measure"] and self.balancer is not None:
            for frontend in self.balancer.frontends.values():
                frontend.counters.measure()
            for backend in self.balancer.backends.values():
                backend.counters.measure()

    def _sync(self, message: dict[str, Any]) -> None:
        """Make the servers of the backends in ``message`` what the master has."""
        balancer = self.balancer
        assert balancer is not None
        if message["places"] is not None:
            self._places.clear()  # whoever is gone must not write to a place that is another's by now
            self._places.update(message["places"])
        for name, servers in message["state"].items():
            backend = balancer.backends.get(name)
            if backend is None:
                continue
            group = backend.group
            with group.changes():
                for gone in group.servers.keys() - {one["name"] for one in servers}:
                    backend.remove(gone)
                for wanted in servers:
                    try:
                        self._one(backend, wanted)
                    except (ConfigErrors, ValueError) as error:
                        _log.warn("server {name}: {error}", name=wanted["name"], error=error)
                    except Exception:  # the others must not suffer
                        _log.failure("server {name}", name=wanted["name"])
            balancer.generation.sync(name)

    def _one(self, backend: Any, wanted: dict[str, Any]) -> None:
        balancer = self.balancer
        assert balancer is not None
        group, name = backend.group, wanted["name"]
        server = group.servers.get(name)
        if server is not None and str(server.spec.target) != wanted["address"]:
            backend.remove(name)
            server = None
        if server is None:
            spec = parse_server_line(wanted["line"], balancer.config)
            server = backend.add(spec, wanted["origin"])
        if server.full_weight != wanted["weight"]:
            group.set_weight(name, wanted["weight"])
        if server.maxconn != wanted["maxconn"]:
            group.set_maxconn(name, wanted["maxconn"])
        if server.admin.value != wanted["admin"]:
            backend.set_admin(name, AdminState(wanted["admin"]))
        if server.healthy is not wanted["healthy"]:
            group.set_health(server, wanted["healthy"], wanted["note"])
        if server.leaving is not wanted["leaving"]:
            group.set_leaving(server, wanted["leaving"])
        if server.agent.value != wanted["agent"]:
            group.set_agent(server, State(wanted["agent"]), wanted["agent_note"])
        group.set_agent_share(server, wanted["agent_share"])

    def _look(self) -> None:
        """What the others hold."""
        self._later(EVERY * max(1.0, len(self._places) / _MANY), self._look)
        balancer, board = self.balancer, self._board
        assert balancer is not None and board is not None
        groups = [backend.group for backend in balancer.backends.values()]
        for group in groups:
            group.claims = self._claims
        exchange(board, self._slot, self._places, groups)
        if not self.channel.behind:
            self._bonds.send(
                balancer.backends, lambda told: self.channel.send({"say": "bonds", "bonds": told})
            )

    def _count(self) -> None:
        self._later(_COUNT_EVERY, self._count)
        if not self.channel.behind:
            self._report()
            self._records.turn()

    def _report(self) -> None:
        balancer = self.balancer
        if balancer is not None:
            found = {"counts": collect(balancer), "records": take_records(balancer)}
            self.channel.send({"say": "counts", **found})

    def _turn(self) -> None:
        self._later(_HALF_MINUTE, self._turn)
        if self.balancer is not None:
            for frontend in self.balancer.frontends.values():
                if frontend.suspects is not None:
                    frontend.suspects.turn()

    def _later(self, pause: float, call: Callable[[], None]) -> None:
        self._calls = [one for one in self._calls if one.active()]
        self._calls.append(self.reactor.callLater(pause, call))

    # -- the end --------------------------------------------------------------------------------

    def stop(self) -> None:
        """Gracefully; harmless the second time."""
        if self._stopping:
            return
        self._stopping = True
        if self.balancer is None:
            self._end()
            return
        stopped = maybeDeferred(self.balancer.stopService)
        stopped.addErrback(lambda failure: _log.failure("the end", failure))
        stopped.addCallback(lambda _: self._end())

    def _end(self) -> None:
        try:
            self._heap.stop()
            for call in self._calls:
                if call.active():
                    call.cancel()
            self._report()
            for _, sock in self._sockets:
                sock.close()
            if self._binder is not None:
                self._binder.discard()
        except Exception:
            _log.failure("the last report")
        finally:
            self._ended()


def ignore_signals() -> None:
    """Ctrl-C and hang-ups go to the whole group: what they mean is the master's to say."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
