"""DATA. A Redis client with one connection, which is reopened when it is lost.

Commands are pipelined in one order. Each has a deadline, and fails at once while no connection
exists, so that no command waits for an absent server. ``redislink.py`` opens the connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from random import Random
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.model import SharedSpec
from lbproxy.net.dialler import Dialler
from lbproxy.net.redislink import Argument, RedisDown, RedisLogin, RedisRefused, is_refusal
from lbproxy.tls.parameters import TLSParameters

__all__ = ["RedisClient", "RedisCounts", "RedisDown", "RedisRefused", "RedisScript"]

_log = Logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts to connect, doubled each time, plus or minus a fifth."""

STALLED = 1.0
"""Minimum time in seconds without a reply after which a connection is closed."""

IDLE = 1.0
"""Seconds after which an idle connection is tested by a PING."""

MOST_WAITING = 1000
"""Maximum number of commands that wait for a reply; further ones fail at once."""

# seconds; absorbs the rounding of floats, so that a timer that fires slightly early is not set
# again
_EARLY = 1e-6
# minimum life of a connection in seconds after which the pause starts from its minimum
_STEADY = 1.0
_MOVED = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH")  # another server may accept the command


@frozen
class RedisScript:
    """A Lua script, which is sent once and then run by its digest. ``name``: its first line, a
    comment.
    """

    text: str
    sha: str = field(init=False, repr=False)

    @sha.default
    def _digest(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @property
    def name(self) -> str:
        """The text of the first line."""
        return self.text.partition("\n")[0].removeprefix("--").strip()


@define
class RedisCounts:
    """Counters of a client. ``seconds``: total time of all commands that were answered."""

    commands: int = 0
    failures: int = 0
    connects: int = 0
    seconds: float = 0.0


@define(eq=False)
class _Command:
    """A command that waits for its reply. ``result`` is None once its deadline has passed."""

    since: float
    result: Deferred[Any] | None


class RedisClient:
    """A Redis client. ``up``: whether it is connected. ``error``: why it is not connected, without
    secrets.

    ``watchers`` are called with ``up`` when it changes. ``tls``: parameters for ``rediss://``.
    """

    def __init__(
        self,
        spec: SharedSpec,
        reactor: Any,
        dialler: Dialler,
        random: Random,
        tls: Callable[[str], TLSParameters] | None = None,
    ) -> None:
        self._login = RedisLogin(spec, reactor, dialler, tls)
        self.place = self._login.place
        self.timeout = spec.timeout
        self.up = False
        self.error = "not connected yet"
        self.counts = RedisCounts()
        self.watchers: list[Callable[[bool], None]] = []
        self._reactor = reactor
        self._random = random
        self._link: Any = None
        self._waiting: deque[_Command] = deque()
        self._running: Deferred[Any] | None = None
        self._timer: Any = None
        self._ping: Any = None

    # -- commands -------------------------------------------------------------------------------

    def call(self, *words: Argument) -> Deferred[Any]:
        """Send a command. The Deferred fires with the reply: bytes, int, None or a list of these.

        It fails with :class:`RedisDown` or :class:`RedisRefused`, after ``timeout`` at the latest.
        """
        if not self.up:
            return self._failed(RedisDown(self.error))
        if len(self._waiting) >= MOST_WAITING:
            return self._failed(RedisDown(f"{MOST_WAITING} commands are waiting already"))
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
        result: Deferred[Any] = Deferred()  # a cancelled command ignores the reply
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
        refused = isinstance(reply, Failure) and is_refusal(reply)
        if refused and _is_elsewhere(str(reply.value)):
            self._abort(str(reply.value))
        if result is None:
            return
        if not isinstance(reply, Failure):
            self.counts.seconds += self._reactor.seconds() - command.since
            # a status is text if hiredis is not installed
            result.callback(reply.encode() if isinstance(reply, str) else reply)
            return
        self.counts.failures += 1
        kind = RedisRefused if refused else RedisDown
        result.errback(kind(str(reply.value)))

    # -- deadlines ------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set the timer for the oldest command, or for a PING."""
        if self._link is None:
            return
        wait = max(0.0, self._until_due()) if self._waiting else IDLE
        if self._timer is None:
            self._timer = self._reactor.callLater(wait, self._due)
        elif self._timer.getTime() > self._reactor.seconds() + wait:
            self._timer.reset(wait)

    def _until_due(self) -> float:
        """Return the seconds until a command fails or the connection is closed."""
        due = self._waiting[0].since + self._patience
        fresh = next((one.since for one in self._waiting if one.result is not None), due)
        return min(due, fresh + self.timeout) - float(self._reactor.seconds())

    @property
    def _patience(self) -> float:
        return max(STALLED, 4 * self.timeout)

    def _due(self) -> None:
        self._timer = None
        if self._link is None:
            return
        now = self._reactor.seconds() + _EARLY
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
        """Connect, and reconnect whenever the connection is lost."""
        if self._running is None:
            self._running = ensureDeferred(self._keep_connected())
            self._running.addErrback(self._broken)

    def stop(self) -> None:
        """Close the connection. Waiting commands fail."""
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
                self._link, lost = await self._login.connect(self)
                self._arm()
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

    def detached(self, link: Any) -> None:
        """Forget ``link``, which is disconnected. Its protocol calls this."""
        if self._link is link:
            self._link = None
            self._waiting.clear()


def _is_elsewhere(error: str) -> bool:
    """Return whether another server may accept a command that this one has refused."""
    # Redis below 7 puts the error of a script's command after a prefix
    if "running script" in error:
        return any(f" -{word} " in error for word in _MOVED)
    return error.partition(" ")[0] in _MOVED
