"""DATA. A client of Redis: one connection that is made again when it is lost.

Commands are pipelined in one order.  Each has a deadline, and fails at once while there is no
connection: nothing waits for a server that is away.  The protocol is txredisapi's, on lbproxy's own
transports, so TLS is verified as towards servers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import ProxyError
from lbproxy.model import Address, RedisPlace, SharedSpec, read_redis_url
from lbproxy.net.dialler import Dialler
from lbproxy.net.lookup import literal_addresses, look_up
from lbproxy.tls.parameters import TLSParameters

__all__ = ["RedisClient", "RedisCounts", "RedisDown", "RedisRefused", "RedisScript"]

_log = Logger()

CONNECT = 2.0
"""Deadline in seconds of a look-up, a dial and the login, each."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts to connect: doubled each time, plus or minus a fifth."""

STALLED = 1.0
"""Seconds without a reply, at least, after which a connection is given up."""

IDLE = 1.0
"""Seconds after which an idle connection is tested by a PING."""

MOST_WAITING = 1000
"""Commands that wait for a reply; further ones fail at once."""

_STEADY = 1.0  # seconds that a connection must have lasted, so that the pause begins anew
_MOVED = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH")  # another server may serve

Argument = str | bytes | int


class RedisDown(Exception):
    """There is no connection, or no reply before the deadline."""


class RedisRefused(Exception):
    """Redis answered with an error."""


@frozen
class RedisScript:
    """A Lua script, sent once and then run by its digest.  ``name``: its first line, a comment."""

    text: str
    sha: str = field(init=False, repr=False)

    @sha.default
    def _digest(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @property
    def name(self) -> str:
        """The words of the first line."""
        return self.text.partition("\n")[0].removeprefix("--").strip()


@define
class RedisCounts:
    """Counters of a client.  ``seconds``: of all commands that were answered, together."""

    commands: int = 0
    failures: int = 0
    connects: int = 0
    seconds: float = 0.0


@define(eq=False)
class _Command:
    """A command that waits for its reply; ``result`` is None once its deadline has passed."""

    since: float
    result: Deferred[Any] | None


class RedisClient:
    """``up``: whether there is a connection.  ``error``: why there is none, without secrets.

    ``watchers`` are called with ``up`` when it changes.  ``tls``: for ``rediss://``.
    """

    def __init__(
        self,
        spec: SharedSpec,
        reactor: Any,
        dialler: Dialler,
        random: Random,
        tls: Callable[[str], TLSParameters] | None = None,
    ) -> None:
        self.place: RedisPlace = read_redis_url(spec.redis)
        self.timeout = spec.timeout
        self.up = False
        self.error = "not connected yet"
        self.counts = RedisCounts()
        self.watchers: list[Callable[[bool], None]] = []
        self._password_file = spec.password_file
        self._reactor = reactor
        self._dialler = dialler
        self._random = random
        self._tls = tls
        self._link: Any = None
        self._waiting: deque[_Command] = deque()
        self._running: Deferred[Any] | None = None
        self._timer: Any = None
        self._ping: Any = None

    # -- commands -------------------------------------------------------------------------------

    def call(self, *words: Argument) -> Deferred[Any]:
        """Send a command; fires with the reply: bytes, int, None or a list of these.

        Fails with :class:`RedisDown` or :class:`RedisRefused`, after ``timeout`` at the latest.
        """
        if not self.up:
            return self._failed(RedisDown(self.error))
        if len(self._waiting) >= MOST_WAITING:
            return self._failed(RedisDown(f"{MOST_WAITING} commands wait already"))
        return self._send(self._link, words)

    def run(
        self, script: RedisScript, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Deferred[Any]:
        """Run a script; see :meth:`call`."""
        return ensureDeferred(self._run(script, keys, arguments))

    async def _run(
        self, script: RedisScript, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Any:
        rest = (len(keys), *keys, *arguments)
        try:
            return await self.call("EVALSHA", script.sha, *rest)
        except RedisRefused as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self.call("EVAL", script.text, *rest)

    def _failed(self, error: Exception) -> Deferred[Any]:
        self.counts.failures += 1
        return fail(error)

    def _send(self, link: Any, words: Sequence[Argument]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()  # one that is cancelled ignores the reply
        command = _Command(self._reactor.seconds(), result)
        self._waiting.append(command)
        self.counts.commands += 1
        reply: Deferred[Any] = link.execute_command(*words)
        reply.addBoth(self._replied, command)
        self._arm()
        return result

    def _replied(self, reply: Any, command: _Command) -> None:
        if self._waiting and self._waiting[0] is command:
            self._waiting.popleft()
        result, command.result = command.result, None
        self._arm()
        refused = isinstance(reply, Failure) and _is_refusal(reply)
        if refused and _is_elsewhere(str(reply.value)):
            self._abort(str(reply.value))
        if result is None:
            return
        if not isinstance(reply, Failure):
            self.counts.seconds += self._reactor.seconds() - command.since
            # a status is text where hiredis is missing
            result.callback(reply.encode() if isinstance(reply, str) else reply)
            return
        self.counts.failures += 1
        kind = RedisRefused if refused else RedisDown
        result.errback(kind(str(reply.value)))

    # -- deadlines ------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Wake up for the oldest command, or for a PING."""
        if self._link is None:
            return
        wait = max(0.0, self._until_due()) if self._waiting else IDLE
        if self._timer is None:
            self._timer = self._reactor.callLater(wait, self._due)
        elif self._timer.getTime() > self._reactor.seconds() + wait:
            self._timer.reset(wait)

    def _until_due(self) -> float:
        age = float(self._reactor.seconds()) - self._waiting[0].since
        fresh = any(one.result is not None for one in self._waiting)
        return (self.timeout if fresh else self._patience) - age

    @property
    def _patience(self) -> float:
        return max(STALLED, 4 * self.timeout)

    def _due(self) -> None:
        self._timer = None
        if self._link is None:
            return
        now = self._reactor.seconds()
        if not self._waiting:
            if self.up:
                self.call("PING").addErrback(lambda _: None)
            self._arm()
            return
        for command in list(self._waiting):
            if now - command.since < self.timeout:
                break
            result, command.result = command.result, None
            if result is not None:
                self.counts.failures += 1
                result.errback(RedisDown(f"no reply in {self.timeout * 1000:.0f} ms"))
        if self._waiting and now - self._waiting[0].since >= self._patience:
            self._abort(f"no reply in {self._patience:g} s")
            return
        self._arm()

    def _abort(self, why: str) -> None:
        self.error = why
        link = self._link
        if link is not None and link.transport is not None:
            link.transport.abortConnection()

    # -- the connection -------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and connect again whenever the connection is lost."""
        if self._running is None:
            self._running = ensureDeferred(self._keep_connected())
            self._running.addErrback(self._broken)

    def stop(self) -> None:
        """Close the connection; commands that wait fail."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._abort("stopped")

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("shared store: connecting failed", failure)

    async def _keep_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            since = self._reactor.seconds()
            try:
                lost = await self._connect()
                since = self._reactor.seconds()
                self._turn(True)
                await lost
            except CancelledError:
                raise
            except Exception as error:
                self.error = str(error) or type(error).__name__
            finally:
                self._turn(False)
            if self._reactor.seconds() - since >= _STEADY:
                pause = FIRST_PAUSE
            await deferLater(self._reactor, pause * self._random.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _turn(self, up: bool) -> None:
        if self.up == up:
            return
        self.up = up
        if up:
            self.error = ""
            self.counts.connects += 1
        elif not self.error:
            self.error = "the connection was lost"
        for watcher in list(self.watchers):
            watcher(up)

    async def _connect(self) -> Deferred[None]:
        """Connect and log in; return what fires when the connection is lost."""
        place = self.place
        if place.service:
            link, lost = await self._open_any(await self._master())
        else:
            link, lost = await self._open_any(place.addresses[0])
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
            # old servers repeat the words of a command, the password too
            raise RedisDown(f"login refused: {str(error).partition(' ')[0]}") from None
        except BaseException:
            link.transport.abortConnection()
            raise
        self._link = link
        self._arm()
        return lost

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
            kind = RedisRefused if _is_refusal(Failure(error)) else RedisDown
            raise kind(str(error)) from None

    async def _master(self) -> Address:
        """Return the address of the master that the first sentinel to answer names."""
        why = "no sentinel answers"
        for sentinel in self.place.addresses:
            try:
                link, _ = await self._open_any(sentinel)
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

    async def _open_any(self, address: Address) -> tuple[Any, Deferred[None]]:
        """Connect to the first address of a name that accepts."""
        literals = literal_addresses(address)
        if literals is not None:
            return await self._open(address)
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
                return await self._open(Address("tcp", host, address.port), address.host)
            except RedisDown as error:
                why = error
        raise why

    async def _open(self, address: Address, name: str = "") -> tuple[Any, Deferred[None]]:
        made: Deferred[Any] = Deferred(lambda _: dial.cancel())
        lost: Deferred[None] = Deferred(lambda _: None)
        link = _link_class()(charset=None, convertNumbers=False)
        link.callLater = self._reactor.callLater  # it would use the global reactor
        link.opened, link.closed = made, lost
        link.owner = self
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

    def detached(self, link: Any) -> None:
        """Forget ``link``, which has no connection any more; its protocol calls this."""
        if self._link is link:
            self._link = None
            self._waiting.clear()


def _read(path: str) -> str:
    return Path(path).read_text().strip()


async def _reply(link: Any, words: Sequence[Argument]) -> Any:
    return await link.execute_command(*words)


def _words(error: ProxyError, address: Address) -> str:
    return f"{address}: {error.detail or error.kind.value}"


def _is_elsewhere(error: str) -> bool:
    """Whether another server may serve what this one has refused."""
    if "running script" in error:  # Redis below 7 puts the error of a script's command behind
        return any(f" -{word} " in error for word in _MOVED)
    return error.partition(" ")[0] in _MOVED


def _is_refusal(failure: Failure) -> bool:
    """Whether Redis has answered, with an error."""
    from txredisapi import ResponseError

    return failure.check(ResponseError) is not None


@cache
def _link_class() -> Any:
    """The protocol; txredisapi is imported when a configuration needs it."""
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
            """See Protocol: a server that speaks something else is no error of this program."""
            try:
                super().dataReceived(data, unpause)
            except Exception:
                self.owner.error = "the server does not speak the protocol of Redis"
                while self.replyQueue.waiting:
                    self.replyReceived(RedisDown(self.owner.error))
                self.transport.abortConnection()

        def connectionLost(self, reason: Any = None) -> None:
            """See Protocol: the commands that wait fail first."""
            super().connectionLost(reason)
            self.owner.detached(self)
            closed, self.closed = self.closed, None
            if closed is not None and not closed.called:
                closed.callback(None)

    return Link
