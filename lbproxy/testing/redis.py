"""DATA. A fake Redis on a :class:`~lbproxy.testing.memory.MemoryReactor`, on the virtual clock.

It implements the commands and scripts that lbproxy uses. The first line of a script names the
Python function that runs in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from math import ceil, floor
from typing import Any

from attrs import define, field
from twisted.internet.protocol import Factory, Protocol

from lbproxy.limits.window import SLICES
from lbproxy.nodes.scripts import WRONG
from lbproxy.testing.memory import MemoryReactor
from lbproxy.testing.rediscache import CacheScripts

__all__ = ["FakeRedis", "RedisReplyError"]

_WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
_EPOCH = 1_700_000_000.0  # offset of its clock from the reactor's


class RedisReplyError(Exception):
    """An error reply."""


@define
class _Value:
    """A value. ``until``: the time at which the key expires, 0 for never."""

    value: Any
    until: float = 0.0


@define(eq=False)
class FakeRedis(CacheScripts):
    """A server at ``address`` ("10.0.0.1:6379").

    ``data`` survives :meth:`stop`, and :meth:`lose` deletes it. ``password``: required by AUTH.
    ``hung``: read commands without answering. ``seen``: the commands, as lists of bytes.
    ``errors``: replies to commands by name, in place of their effect. ``master``: the address that
    it reports as a sentinel. ``run_id``: changes with a restart and with :meth:`lose`.
    """

    reactor: MemoryReactor
    address: str = "10.0.0.1:6379"
    password: str = ""
    hung: bool = False
    data: dict[bytes, _Value] = field(factory=dict)
    seen: list[list[bytes]] = field(factory=list)
    errors: dict[str, str] = field(factory=dict)
    master: str = ""
    run_id: str = "a"
    _scripts: dict[bytes, str] = field(factory=dict)
    _links: list[_Link] = field(factory=list)
    _port: Any = None
    _entries: int = 0

    def start(self) -> None:
        """Start listening. Has no effect on a running server."""
        if self._port is None:
            host, _, port = self.address.rpartition(":")
            factory = Factory.forProtocol(lambda: _Link(self))
            factory.noisy = False
            self._port = self.reactor.listenTCP(int(port), factory, interface=host)
        self.reactor.pump()

    def stop(self) -> None:
        """Close all connections and refuse new ones."""
        if self._port is not None:
            self._port.stopListening()
            self._port = None
        for link in list(self._links):
            link.transport.abortConnection()
        self.reactor.pump()

    def lose(self) -> None:
        """Delete all data and scripts, as a restart without persistence does."""
        self.data.clear()
        self._scripts.clear()
        self.run_id += "a"

    def now(self) -> float:
        """Return the time of the server: seconds since 1970."""
        return float(self.reactor.seconds()) + _EPOCH

    # -- commands -------------------------------------------------------------------------------

    def run(self, link: _Link, words: list[bytes]) -> Any:
        """Return the reply to a command. Raises RedisReplyError."""
        self.seen.append(words)
        name = words[0].decode().upper()
        if name in self.errors:
            raise RedisReplyError(self.errors[name])
        if name == "AUTH":
            link.trusted = bool(self.password) and words[-1].decode() == self.password
            if not link.trusted:
                raise RedisReplyError("WRONGPASS invalid username-password pair")
            return "OK"
        if self.password and not link.trusted:
            raise RedisReplyError("NOAUTH Authentication required.")
        command: Callable[..., Any] | None = getattr(self, f"_do_{name.lower()}", None)
        if command is None:
            raise RedisReplyError(f"ERR unknown command '{name}'")
        return command(*words[1:])

    def _do_ping(self) -> Any:
        return "PONG"

    def _do_sentinel(self, *words: bytes) -> Any:
        return [one.encode() for one in self.master.rsplit(":", 1)] if self.master else None

    def _do_select(self, number: bytes) -> Any:
        return "OK"

    def _do_info(self, *sections: bytes) -> Any:
        return f"# Server\r\nredis_version:7.0.0\r\nrun_id:{self.run_id}\r\n".encode()

    def _do_hdel(self, key: bytes, *fields: bytes) -> Any:
        found = self._live(key)
        return 0 if found is None else sum(found.value.pop(one, None) is not None for one in fields)

    def _do_get(self, key: bytes) -> Any:
        found = self._live(key)
        if found is not None and not isinstance(found.value, bytes):
            raise RedisReplyError(_WRONGTYPE)
        return None if found is None else found.value

    def _do_set(self, key: bytes, value: bytes, *expiry: bytes) -> Any:
        self._set(key, value, int(expiry[1]) / 1000 if expiry else 0.0)
        return "OK"

    def _do_del(self, *keys: bytes) -> Any:
        return sum(self.data.pop(key, None) is not None for key in keys)

    def _do_eval(self, script: bytes, *rest: bytes) -> Any:
        self._scripts[sha1(script, usedforsecurity=False).hexdigest().encode()] = script.decode()
        return self._script(script.decode(), *rest)

    def _do_evalsha(self, sha: bytes, *rest: bytes) -> Any:
        if sha not in self._scripts:
            raise RedisReplyError("NOSCRIPT No matching script. Please use EVAL.")
        return self._script(self._scripts[sha], *rest)

    def _do_xadd(self, key: bytes, *words: bytes) -> Any:
        found = self._live(key) or self._set(key, [], 0.0)
        self._entries += 1
        number = b"%d-%d" % (int(self.now() * 1000), self._entries)
        at = words.index(b"*")
        found.value.append((number, list(words[at + 1 :])))
        if words[0] == b"MAXLEN":
            del found.value[: -int(words[at - 1])]
        return number

    def _do_xread(self, *words: bytes) -> Any:
        most, key, after = int(words[1]), words[3], words[4]
        found = self._live(key)
        rows = [] if found is None else [row for row in found.value if _id(row[0]) > _id(after)]
        return [[key, [list(row) for row in rows[:most]]]] if rows else None

    def _do_xrevrange(self, key: bytes, *words: bytes) -> Any:
        found = self._live(key)
        rows = [] if found is None else found.value[::-1]
        if words[0] != b"+":
            rows = [row for row in rows if _id(row[0]) <= _id(words[0])]
        return [list(row) for row in rows[: int(words[-1])]]

    # -- scripts --------------------------------------------------------------------------------

    def _script(self, text: str, count: bytes, *rest: bytes) -> Any:
        name = text.partition("\n")[0].removeprefix("-- ")
        keys, arguments = rest[: int(count)], rest[int(count) :]
        script: Callable[..., Any] = getattr(self, f"_run_{name}")
        return script(keys, arguments)

    def _run_buckets(self, keys: tuple[bytes, ...], costs: tuple[bytes, ...]) -> Any:
        now = self.now()

        def one(at: int) -> int:
            full = max(now, float(self._do_get(keys[at]) or 0)) + float(costs[at])
            if float(costs[at]) > 0:
                self._set(keys[at], b"%.6f" % full, full - now)
            return floor((full - now) * 1e6 + 0.5)

        return _each(one, keys)

    def _run_windows(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        def one(at: int) -> list[Any]:
            key = keys[at]
            length, amount = float(words[3 * at]), float(words[3 * at + 1])
            index = floor(self.now() / length)
            if words[3 * at + 2] == b"1":
                self.data.pop(key, None)
            if amount:
                found = self._hash(key)
                found[index] = found.get(index, 0.0) + amount
                self._set(key, found, length * SLICES)
            counts = self._hash(key)
            fresh = {slice: one for slice, one in counts.items() if index - slice < SLICES}
            row: list[Any] = []
            for slice, count in fresh.items():
                row += (max(0, index - slice), repr(count).encode())
            return row

        return _each(one, keys)

    def _run_places(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        node, process, lease = words[0], words[1], float(words[2])

        def one(at: int) -> int:
            held, own = self._hash(keys[at]), int(words[3 + at])
            held.pop((node, process), None)
            if own:
                held[node, process] = own, self.now() + lease
                self._set(keys[at], held, lease)
            live = {who: count for who, (count, ends) in held.items() if ends > self.now()}
            return sum(count for (name, _), count in live.items() if name != node)

        return _each(one, keys)

    def _run_take(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        each, burst, cost = map(float, words)
        now = self.now()
        full = max(now, float(self._do_get(keys[0]) or 0)) + cost * each
        wait = full - burst * each - now
        if wait > 1e-6:
            return ceil(wait * 1e6)
        self._set(keys[0], b"%.6f" % full, full - now)
        return 0

    def _run_lease(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        holder = self._do_get(keys[0])
        if holder not in (None, words[0]):
            return 0
        self._set(keys[0], words[0], int(words[1]) / 1000)
        return 1

    def _run_release(self, keys: tuple[bytes, ...], words: tuple[bytes, ...]) -> Any:
        if self._do_get(keys[0]) == words[0]:
            del self.data[keys[0]]
        return 0

    # -- data -----------------------------------------------------------------------------------

    def _live(self, key: bytes) -> _Value | None:
        found = self.data.get(key)
        if found is not None and found.until and found.until <= self.now():
            del self.data[key]
            return None
        return found

    def _hash(self, key: bytes) -> dict[Any, Any]:
        found = self._live(key)
        if found is not None and not isinstance(found.value, dict):
            raise RedisReplyError(_WRONGTYPE)
        return {} if found is None else found.value

    def _set(self, key: bytes, value: Any, seconds: float) -> _Value:
        made = self.data[key] = _Value(value, self.now() + seconds if seconds else 0.0)
        return made


class _Link(Protocol):
    """One connection: arrays of bulk strings in, replies out (RESP 2)."""

    def __init__(self, server: FakeRedis) -> None:
        self.transport: Any
        self.server = server
        self.trusted = False
        self._buffer = b""

    def connectionMade(self) -> None:
        """See Protocol."""
        self.server._links.append(self)

    def connectionLost(self, reason: Any = None) -> None:
        """See Protocol."""
        self.server._links.remove(self)

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self._buffer += data
        while not self.server.hung:
            words, length = _command(self._buffer)
            if not length:
                return
            self._buffer = self._buffer[length:]
            try:
                reply = _encoded(self.server.run(self, words))
            except RedisReplyError as error:
                reply = f"-{error}\r\n".encode()
            self.transport.write(reply)


def _each(run: Callable[[int], Any], keys: tuple[bytes, ...]) -> list[Any]:
    """Return the result for each key, -1 for a key that fails."""
    out: list[Any] = []
    for at in range(len(keys)):
        try:
            out.append(run(at))
        except (RedisReplyError, ValueError):
            out.append(WRONG)
    return out


def _command(data: bytes) -> tuple[list[bytes], int]:
    """Return the first command in ``data`` and its length; 0 if it is not complete."""
    end = data.find(b"\r\n")
    if end < 0:
        return [], 0
    words: list[bytes] = []
    at = end + 2
    for _ in range(int(data[1:end])):
        end = data.find(b"\r\n", at)
        if end < 0:
            return [], 0
        size = int(data[at + 1 : end])
        at = end + 2
        if len(data) < at + size + 2:
            return [], 0
        words.append(data[at : at + size])
        at += size + 2
    return words, at


def _encoded(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, str):
        return f"+{reply}\r\n".encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n%s" % (len(reply), b"".join(_encoded(one) for one in reply))


def _id(number: bytes) -> tuple[int, int]:
    first, _, second = number.partition(b"-")
    return int(first), int(second or b"0")
