"""CONTROL. The bound addresses of frontends: all of them or none.

:mod:`lbproxy.generation.assemble` creates a :class:`Listener` for each line of ``listen``.
:mod:`lbproxy.service` binds them, and closes them when it stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.config.model import Address, FrontendSpec, ListenSpec
from lbproxy.errors import ListenError
from lbproxy.net.endpoints import Binder, Bound
from lbproxy.net.stockport import listen_endpoint
from lbproxy.observe.events import EventKind, Events
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.frontend import Frontend

__all__ = ["Listener", "bind", "unbind"]

_log = Logger()


class Listener:
    """One address, which several generations may use. ``events`` gets an event when it is bound or
    closed.

    ``owner``: the frontend with the line. A listener can be bound before :meth:`serve`, so that a
    reload that cannot bind has changed nothing.
    """

    frontend: Frontend
    factory: ProxyFactory

    def __init__(self, owner: FrontendSpec, spec: ListenSpec, events: Events) -> None:
        self.owner = owner
        self.spec = spec
        self.events = events
        self.bound: Bound | None = None
        self.binding: Deferred[Any] | None = None  # a Twisted endpoint that binds asynchronously
        self._given: IProtocolFactory = _Nobody()

    @property
    def address(self) -> Address | None:
        """The actual address; None before it is bound."""
        return self.bound.address if self.bound is not None else None

    def serve(self, frontend: Frontend, spec: ListenSpec, factory: ProxyFactory) -> None:
        """Pass accepted connections to ``factory`` of ``frontend``. A bound socket stays bound."""
        before, self.spec = self.spec, spec
        self.owner = frontend.spec
        self.frontend = frontend
        self.factory = factory
        bound = self.bound
        if bound is None:
            if self.binding is None:
                self._given = factory
            return
        backlog = spec.backlog if spec.backlog != before.backlog else 0
        mode = spec.mode if spec.mode != before.mode else None
        if factory is not self._given or backlog or mode is not None:
            self._given = factory
            bound.serve(factory, backlog=backlog, mode=mode)

    def bind(self, binder: Binder, reactor: Any) -> None:
        """Listen now, or soon for a Twisted endpoint. Raises ListenError."""
        spec = self.spec
        if spec.address is None:
            self._bind_endpoint(reactor)
            return
        self._bound(binder.listen(spec.address, self._given, backlog=spec.backlog, mode=spec.mode))

    def _bind_endpoint(self, reactor: Any) -> None:
        """Bind a Twisted endpoint. Most bind at once, and an error is then raised like any
        other.
        """
        refused: list[Failure] = []

        def bound(port: Bound) -> None:
            if self.binding is None:
                port.close()  # stopped in the meantime
            else:
                self._bound(port)

        def failed(failure: Failure) -> None:
            if self.binding is not None:
                self.binding = None
                refused.append(failure)

        def too_late(_: Any) -> None:
            for failure in refused:
                _log.error(
                    "frontend {name}: {reason}",
                    name=self.owner.name,
                    reason=failure.getErrorMessage(),
                )

        binding = listen_endpoint(reactor, self.spec.endpoint, self._given)
        self.binding = binding
        binding.addCallbacks(bound, failed)
        if refused:
            refused[0].raiseException()
        binding.addCallback(too_late)

    def _bound(self, bound: Bound) -> None:
        """Finish binding; if there was a reload meanwhile, serve the new configuration."""
        self.binding = None
        self.bound = bound
        wanted = getattr(self, "factory", self._given)
        if wanted is not self._given:
            self._given = wanted
            bound.serve(wanted)
        _log.info(
            "frontend {name} ({mode}) listens on {address}{tls}",
            name=self.owner.name,
            mode=self.owner.mode,
            address=str(bound.address),
            tls=" with TLS" if self.spec.tls else "",
        )
        _tell(EventKind.LISTENER_BOUND, self, bound, "listens on")


def bind(listeners: Iterable[Listener], binder: Binder, reactor: Any) -> None:
    """Bind unbound listeners. After ListenError, those bound by this call are closed again."""
    fresh: list[Listener] = []
    for listener in listeners:
        if listener.bound is not None or listener.binding is not None:
            continue
        fresh.append(listener)
        try:
            listener.bind(binder, reactor)
        except ListenError:
            unbind(fresh)
            raise


def unbind(listeners: Iterable[Listener]) -> list[Deferred[Any]]:
    """Stop accepting; accepted connections continue. Each Deferred fires when a socket is
    closed.
    """
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


def _tell(kind: EventKind, listener: Listener, bound: Bound, does: str) -> None:
    name, address = listener.owner.name, str(bound.address)
    listener.events.add(
        kind, name, f"frontend {name} {does} {address}", frontend=name, address=address
    )


class _Nobody(Factory):
    """Refuses all connections between binding and serving."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> None:
        """See IProtocolFactory."""
