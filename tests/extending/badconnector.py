"""Connectors, connections and streams one of whose methods raises."""

from __future__ import annotations

from typing import Any

from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.server import H1ServerConnection


class Stream:
    """A stream to a server one of whose methods raises."""

    def __init__(self, inner: Any, method: str, error: type[BaseException]) -> None:
        self._inner, self._method, self._error = inner, method, error

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def fail(*words: Any, **named: Any) -> Any:
            found(*words, **named)
            raise self._error("on purpose")

        return fail


class Connection(Stream):
    """A connection whose streams raise, or which raises itself."""

    def open_stream(self, sink: Any) -> Any:
        if self._method == "open_stream":
            raise self._error("on purpose")
        return Stream(self._inner.open_stream(sink), self._method, self._error)


def connector(method: str, error: type[BaseException]) -> type[Connector]:
    """A connector whose ``method``, or that of its streams, raises."""

    class Failing(Connector):
        def open(self, pending: Any) -> Any:
            protocol = H1ServerConnection(self, pending)
            return dial_server(self.terms, self.server, protocol, pending.failed)

        def take(self, waiter: Any) -> Any:
            if method == "take":
                raise error("on purpose")
            found = super().take(waiter)
            return None if found is None else Connection(found, method, error)

        def dial(self, waiter: Any) -> None:
            if method == "dial":
                raise error("on purpose")
            super().dial(waiter)

        def made(self, pending: Any, connection: Any) -> None:
            super().made(pending, Connection(connection, method, error))

        def cancel(self, waiter: Any) -> None:
            super().cancel(waiter)
            if method == "cancel":
                raise error("on purpose")

        def clear(self) -> None:
            super().clear()
            if method == "clear":
                raise error("on purpose")

    return Failing
