"""DATA. The connections of :class:`~lbproxy.net.redis.RedisClient`: dialling, sentinels and login.

The protocol is txredisapi's, on lbproxy's own transports. TLS is verified as for servers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.python.failure import Failure

from lbproxy.errors import ProxyError
from lbproxy.model import Address, RedisPlace, SharedSpec, read_redis_url
from lbproxy.net.dialler import Dialler
from lbproxy.net.lookup import literal_addresses, look_up
from lbproxy.tls.parameters import TLSParameters

__all__ = ["Argument", "RedisDown", "RedisLinkOwner", "RedisLogin", "RedisRefused", "is_refusal"]

CONNECT = 2.0
"""Deadline in seconds of each of look-up, dial and login."""

Argument = str | bytes | int


class RedisDown(Exception):
    """No connection exists, or no reply arrived before the deadline."""


class RedisRefused(Exception):
    """Redis answered with an error."""


class RedisLinkOwner(Protocol):
    """The interface of the client to its connections. ``error``: why the last connection ended."""

    error: str

    def detached(self, link: Any) -> None:
        """Forget ``link``, whose connection was lost."""


class RedisLogin:
    """Opens connections to the Redis server of ``[shared]``. ``tls``: parameters of
    ``rediss://``.
    """

    def __init__(
        self,
        spec: SharedSpec,
        reactor: Any,
        dialler: Dialler,
        tls: Callable[[str], TLSParameters] | None,
    ) -> None:
        self.place: RedisPlace = read_redis_url(spec.redis)
        self._password_file = spec.password_file
        self._reactor = reactor
        self._dialler = dialler
        self._tls = tls

    async def connect(self, owner: RedisLinkOwner) -> tuple[Any, Deferred[None]]:
        """Connect and log in; return the connection and a Deferred that fires when it is lost.

        Raises :class:`RedisDown`, whose text contains no secret.
        """
        place = self.place
        if place.service:
            link, lost = await self._open_any(owner, await self._master(owner))
        else:
            link, lost = await self._open_any(owner, place.addresses[0])
        try:
            password = place.password
            if self._password_file:
                password = _read(self._password_file)
            if password:
                login = (place.username, password) if place.username else (password,)
                await self._ask(link, "AUTH", *login)
            if place.database:
                await self._ask(link, "SELECT", place.database)
            await self._ask(link, "PING")
            if lost.called:
                raise RedisDown("the connection was lost")
        except RedisRefused as error:
            link.transport.abortConnection()
            # old servers repeat the command's arguments, including the password
            raise RedisDown(f"login refused: {str(error).partition(' ')[0]}") from None
        except BaseException:
            link.transport.abortConnection()
            raise
        return link, lost

    async def _ask(self, link: Any, *words: Argument) -> Any:
        """Send a command of the login."""
        reply: Deferred[Any] = Deferred.fromCoroutine(_reply(link, words))
        try:
            return await reply.addTimeout(CONNECT, self._reactor)
        except TimeoutError:
            raise RedisDown(f"no reply in {CONNECT:g} s") from None
        except CancelledError:
            raise
        except Exception as error:
            kind = RedisRefused if is_refusal(Failure(error)) else RedisDown
            raise kind(str(error)) from None

    async def _master(self, owner: RedisLinkOwner) -> Address:
        """Return the master's address, from the first sentinel that answers."""
        why = "no sentinel answers"
        for sentinel in self.place.addresses:
            try:
                link, _ = await self._open_any(owner, sentinel)
            except RedisDown as error:
                why = f"sentinel {sentinel}: {error}"
                continue
            try:
                service = self.place.service
                found = await self._ask(link, "SENTINEL", "get-master-addr-by-name", service)
            except (RedisDown, RedisRefused) as error:
                why = f"sentinel {sentinel}: {error}"
                continue
            finally:
                link.transport.abortConnection()
            if isinstance(found, list) and len(found) == 2:
                host, port = (one.decode() for one in found)
                return Address("tcp", host, int(port))
            why = f"sentinel {sentinel} does not know the service {self.place.service!r}"
        raise RedisDown(why)

    async def _open_any(
        self, owner: RedisLinkOwner, address: Address
    ) -> tuple[Any, Deferred[None]]:
        """Connect to the first address of a name that accepts the connection."""
        literals = literal_addresses(address)
        if literals is not None:
            return await self._open(owner, address)
        asked = look_up(self._reactor, address.host).addTimeout(CONNECT, self._reactor)
        try:
            hosts = await asked
        except CancelledError:
            raise
        except Exception as error:
            raise RedisDown(f"{address.host} cannot be resolved: {error}") from None
        why = RedisDown(f"{address.host} has no address")
        for host in hosts:
            try:
                return await self._open(owner, Address("tcp", host, address.port), address.host)
            except RedisDown as error:
                why = error
        raise why

    async def _open(
        self, owner: RedisLinkOwner, address: Address, name: str = ""
    ) -> tuple[Any, Deferred[None]]:
        made: Deferred[Any] = Deferred(lambda _: dial.cancel())
        lost: Deferred[None] = Deferred(lambda _: None)
        link = _link_class()(charset=None, convertNumbers=False)
        link.callLater = self._reactor.callLater  # txredisapi would use the global reactor
        link.opened, link.closed = made, lost
        link.owner = owner
        tls = None
        if self.place.tls and self._tls is not None:
            tls = self._tls(name or address.host)
        dial = self._dialler.dial(
            address,
            link,
            lambda error: made.errback(RedisDown(_words(error, address))),
            timeout=CONNECT,
            tls=tls,
        )
        await made
        return link, lost


def _read(path: str) -> str:
    return Path(path).read_text().strip()


async def _reply(link: Any, words: Sequence[Argument]) -> Any:
    return await link.execute_command(*words)


def _words(error: ProxyError, address: Address) -> str:
    detail = error.detail or error.kind.value
    return detail if detail.startswith(str(address)) else f"{address}: {detail}"


def is_refusal(failure: Failure) -> bool:
    """Return whether Redis answered with an error."""
    from txredisapi import ResponseError

    return failure.check(ResponseError) is not None


@cache
def _link_class() -> Any:
    """Return the class of connections. txredisapi is imported only if a configuration needs it."""
    from txredisapi import RedisProtocol

    class Link(RedisProtocol):  # type: ignore[misc]
        """A connection of a :class:`RedisClient`."""

        noisy = False
        owner: Any
        opened: Any
        closed: Any

        def connectionMade(self) -> Any:
            """See Protocol."""
            super().connectionMade()
            self.opened.callback(self)

        def dataReceived(self, data: bytes, unpause: bool = False) -> None:
            """See Protocol. Data in another protocol ends the connection; it is not an error of
            this program.
            """
            try:
                super().dataReceived(data, unpause)
            except Exception:
                self.owner.error = "the server does not speak the Redis protocol"
                while self.replyQueue.waiting:
                    self.replyReceived(RedisDown(self.owner.error))
                self.transport.abortConnection()

        def connectionLost(self, reason: Any = None) -> None:
            """See Protocol. Waiting commands fail first."""
            super().connectionLost(reason)
            self.owner.detached(self)
            closed, self.closed = self.closed, None
            if closed is not None and not closed.called:
                closed.callback(None)

    return Link
