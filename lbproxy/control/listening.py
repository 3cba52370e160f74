"""CONTROL. The bound addresses of frontends: all of them or none.

:mod:`lbproxy.control.compile` makes a :class:`Listener` for each line of ``listen``; :mod:`lbproxy.service` binds
them, and closes them when it stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.config.model import Address, ListenSpec
from lbproxy.errors import ListenError
from lbproxy.net.endpoints import Bound, Network
from lbproxy.net.stock import listen_endpoint
from lbproxy.observe.events import EventKind, Events
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.frontend import Frontend

__all__ = ["Listener", "bind", "unbind"]

_log = Logger()


class Listener:
    """One bound address of a frontend; ``events`` hears when it is bound and closed."""

    def __init__(
        self, frontend: Frontend, spec: ListenSpec, factory: ProxyFactory, events: Events
    ) -> None:
        self.frontend = frontend
        self.spec = spec
        self.factory = factory
        self.events = events
        self.bound: Bound | None = None
        self.binding: Deferred[Any] | None = None  # an endpoint of Twisted's that takes its time

    @property
    def address(self) -> Address | None:
        """Where it really listens; None before it is bound."""
        return self.bound.address if self.bound is not None else None


def bind(listeners: Iterable[Listener], network: Network, reactor: Any) -> None:
    """Bind those that are not bound yet.  ListenError: what was bound here is closed again."""
    fresh: list[Listener] = []
    for listener in listeners:
        if listener.bound is not None or listener.binding is not None:
            continue
        fresh.append(listener)
        try:
            _bind(listener, network, reactor)
        except ListenError:
            unbind(fresh)
            raise


def unbind(listeners: Iterable[Listener]) -> list[Deferred[Any]]:
    """Accept no more; connections live on.  Each Deferred fires when a socket is closed."""
    closing = []
    for listener in listeners:
        binding, listener.binding = listener.binding, None
        if binding is not None:
            binding.cancel()
        bound, listener.bound = listener.bound, None
        if bound is not None:
            _tell(EventKind.LISTENER_CLOSED, listener, bound, "closed")
            closing.append(maybeDeferred(bound.close))
    return closing


def _bind(listener: Listener, network: Network, reactor: Any) -> None:
    spec = listener.spec
    if spec.address is None:
        _bind_endpoint(listener, reactor)
        return
    bound = network.listen(spec.address, listener.factory, backlog=spec.backlog, mode=spec.mode)
    _bound(listener, bound)


def _bind_endpoint(listener: Listener, reactor: Any) -> None:
    """One of Twisted's: most answer at once, and a refusal is then raised like any other."""
    refused: list[Failure] = []

    def bound(port: Bound) -> None:
        if listener.binding is None:
            port.close()  # we have stopped meanwhile
        else:
            _bound(listener, port)

    def failed(failure: Failure) -> None:
        if listener.binding is not None:
            listener.binding = None
            refused.append(failure)

    def too_late(_: Any) -> None:
        for failure in refused:
            _log.error(
                "frontend {name}: {reason}",
                name=listener.frontend.name,
                reason=failure.getErrorMessage(),
            )

    binding = listen_endpoint(reactor, listener.spec.endpoint, listener.factory)
    listener.binding = binding
    binding.addCallbacks(bound, failed)
    if refused:
        refused[0].raiseException()
    binding.addCallback(too_late)


def _bound(listener: Listener, bound: Bound) -> None:
    listener.binding = None
    listener.bound = bound
    _log.info(
        "frontend {name} ({mode}) listens on {address}{tls}",
        name=listener.frontend.name,
        mode=listener.frontend.mode,
        address=str(bound.address),
        tls=" with TLS" if listener.spec.tls else "",
    )
    _tell(EventKind.LISTENER_BOUND, listener, bound, "listens on")


def _tell(kind: EventKind, listener: Listener, bound: Bound, does: str) -> None:
    name, address = listener.frontend.name, str(bound.address)
    listener.events.add(
        kind, name, f"frontend {name} {does} {address}", frontend=name, address=address
    )
