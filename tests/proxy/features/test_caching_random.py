"""Random traffic through the cache against a reference model of what each client may get.

The origin numbers the versions of its pages, and the ETag of each response says which page, in
which language, for which user and of which version it is. The model knows until when each version
was current, and so whether a client may still see it.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from attrs import define, field

from lbproxy.cache.purge import Purge
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.client import PendingResponse
from lbproxy.testing.origin import Answer, Request
from tests.support.purging import purged

TEXT = """
[cache main]
memory = {memory}
max_object = 100k
grace = {grace}s
wait = {wait}s
waiters = {waiters}
client_no_cache = {no_cache}
cookies = key lang
[frontend web]
listen = tcp:80
cache = main
backend = app
[backend app]
servers = a 10.0.0.1:80
retries = 0
timeout_response = 20s
"""
LIFE, SWR, SLOW = 30, 5, 3.0
CONTROL = {
    "pub": f"public, max-age={LIFE}",
    "own": f"max-age={LIFE}",
    "swr": f"public, max-age={LIFE}, stale-while-revalidate={SWR}",
    "ask": "public, no-cache",
    "old": "public, max-age=0, must-revalidate",
    "priv": f"private, max-age={LIFE}",
    "none": "no-store",
    "big": f"public, max-age={LIFE}",
}
SHARED = frozenset({"pub", "swr", "ask", "old", "big"})
STRICT = frozenset({"ask", "old", "priv", "none"})
SIZES = (0, 1, 1000, 65_536, 90_000)


def whole(tag: str) -> bytes:
    """The body of a response with this ETag."""
    size = 150_000 if tag.startswith("big") else SIZES[sum(tag.encode()) % len(SIZES)]
    text = tag.encode() + b"\n"
    return (text * (size // len(text) + 1))[:size]


@define(eq=False)
class Asked:
    """A request that is under way: what its response must be."""

    pending: PendingResponse
    kind: str
    method: str
    language: str
    user: str
    began: float
    demands: bool
    oldest: int  # version that it must have at least
    known: str  # ETag of If-None-Match
    paused: bool = False


@define(eq=False)
class World:
    """The origin, the clients and the model."""

    random: Random
    lb: LoadBalancerFixture
    grace: float
    version: int = 1
    ended: dict[int, float] = field(factory=dict)
    asked: list[Asked] = field(factory=list)
    seen: list[str] = field(factory=list)
    floors: dict[str, int] = field(factory=dict)  # by kind: the oldest after the last purge

    @property
    def now(self) -> float:
        """Virtual time."""
        now: float = self.lb.reactor.seconds()
        return now

    # -- the origin

    def handle(self, request: Request) -> Any:
        """One answer, well or badly."""
        pick = self.random
        kind = request.path.split("/")[1]
        after = pick.choice([0.0, 0.0, 0.5, SLOW])
        if request.method == "POST":
            self.bump()
            return Answer(204, b"", after=after)
        chance = pick.random()
        if chance < 0.04:
            return Answer(503, b"bad", after=after)
        tag = self.tag(kind, request.header("Accept-Language"), user_of(request), self.version)
        if chance < 0.06:
            return Answer(raw=b"", close=True, after=after)
        head = {"Cache-Control": CONTROL[kind], "ETag": f'"{tag}"', "Vary": "Accept-Language"}
        head["Surrogate-Key"] = kind
        if request.header("If-None-Match") == f'"{tag}"':
            return Answer(304, b"", head, after=after)
        body = whole(tag)
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode()
        start = b"HTTP/1.1 200 OK\r\n" + lines
        if chance < 0.2:
            start = b"HTTP/1.1 103 Early Hints\r\nLink: </%s>\r\n\r\n" % tag.encode() + start
        if request.method == "HEAD":
            return Answer(raw=start + b"Content-Length: %d\r\n\r\n" % len(body), after=after)
        cut = 0.25 < chance < 0.3 and body
        if pick.random() < 0.5:
            sent = body[: len(body) // 2] if cut else body
            raw = start + b"Content-Length: %d\r\n\r\n" % len(body) + sent
        else:
            half = len(body) // 2
            chunks = [body[:half], body[half:]] if half else [body]
            coded = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks if one)
            raw = start + b"Transfer-Encoding: chunked\r\n\r\n" + coded
            raw += b"" if cut else b"0\r\n\r\n"
        return Answer(raw=raw, close=bool(cut), after=after)

    def tag(self, kind: str, language: str, user: str, version: int) -> str:
        """The ETag of a response."""
        return f"{kind}-{language}-{'' if kind in SHARED else user}-{version}"

    def bump(self) -> None:
        """A new version of everything."""
        self.ended[self.version] = self.now
        self.version += 1

    # -- steps

    def ask(self) -> None:
        """One client begins a request."""
        pick = self.random
        kind = pick.choice(list(CONTROL))
        language = pick.choice(["en", "de"])
        headers = {"Accept-Language": language}
        user = ""
        chance = pick.random()
        if chance < 0.15:
            user = headers["Cookie"] = pick.choice(["sid=1", "sid=2"])
        elif chance < 0.3:
            user = headers["Cookie"] = pick.choice(["lang=x", "lang=y"])
        elif chance < 0.4:
            user = headers["Authorization"] = pick.choice(["Basic YQ==", "Basic Yg=="])
        demands = pick.random() < 0.1
        if demands:
            headers["Cache-Control"] = "no-cache"
        method = "HEAD" if pick.random() < 0.1 else "GET"
        known = pick.choice(self.seen) if self.seen and pick.random() < 0.15 else ""
        if known:
            headers["If-None-Match"] = f'"{known}"'
        elif pick.random() < 0.2:
            headers["Range"] = pick.choice(["bytes=0-9", "bytes=-5", "bytes=100-2000,5-10"])
        pending = self.lb.begin(method, f"http://h/{kind}/a", headers=headers)
        self.asked.append(
            Asked(
                pending,
                kind,
                method,
                language,
                user,
                self.now,
                demands,
                self.floors.get(kind, 1),
                known,
            )
        )

    def step(self) -> None:
        """One random step."""
        pick = self.random
        what = pick.random()
        waiting = self.asked
        if what < 0.55:
            for _ in range(pick.choice([1, 1, 3])):
                self.ask()
        elif what < 0.75:
            self.lb.advance(pick.choice([0.1, 1.0, 4.0, 20.0, 40.0]))
        elif what < 0.81:
            self.bump()
        elif what < 0.86 and waiting:
            gone = waiting.pop(pick.randrange(len(waiting)))
            gone.pending.client.abort()
        elif what < 0.91 and waiting:
            one = pick.choice(waiting)
            one.paused = not one.paused
            (one.pending.client.pause if one.paused else one.pending.client.resume)()
        elif what < 0.94:
            self.purge()
        elif what < 0.96:
            purged(self.lb.service.caches["main"], Purge("prefix", b"http://h/"), soft=True)
        elif what < 0.97:
            self.lb.request("POST", "http://h/none/a", body=b"x")
        else:
            text = settings(pick, self.grace)
            assert self.lb.service.reload(text).ok
        self.look()

    def purge(self) -> None:
        """Change the pages, and purge those of one kind or all: nobody gets an old one."""
        self.bump()
        kind = self.random.choice(list(CONTROL))
        one = Purge("url", b"http://h/%b/a" % kind.encode()), [kind]
        prefix = Purge("prefix", b"http://h/%b/" % kind.encode()), [kind]
        tag = Purge("tag", kind.encode()), [kind]
        every = list(CONTROL)
        wanted, kinds = self.random.choice(
            [one, prefix, tag, (Purge("host", b"h"), every), (Purge("all"), every)]
        )
        purged(self.lb.service.caches["main"], wanted)
        self.floors.update(dict.fromkeys(kinds, self.version))

    # -- the model

    def look(self) -> None:
        """Compare every response that is complete."""
        for one in list(self.asked):
            response = one.pending.response
            if response is not None or one.pending.failed:
                self.asked.remove(one)
            if response is not None:
                self.judge(one, response)
                one.pending.client.close()

    def judge(self, one: Asked, response: Any) -> None:
        """Whether ``one`` may get ``response``."""
        tag = response.header("ETag").strip('"')
        if response.status >= 500 or response.status == 416:
            return
        assert response.status in (200, 206, 304), response
        kind, language, user, number = tag.split("-")
        version = int(number)
        wanted = ["" if kind in SHARED else one.user]
        if one.user.startswith("Basic"):
            wanted.append("")  # stored for somebody without Authorization (RFC 9111 3.5)
        assert (kind, language) == (one.kind, one.language) and user in wanted, (one, response)
        if one.method == "GET" or response.status == 304:
            self.judge_body(one, response, tag)
        assert version >= one.oldest, (one, response.headers)
        fresh = 0.0 if kind in STRICT or one.demands else LIFE + (SWR if kind == "swr" else 0.0)
        stale = 0.0 if kind in ("old", "ask") else self.grace + (LIFE if one.demands else 0)
        failed = "status 503" in response.header("Cache-Status") or "server_gone" in (
            response.header("Cache-Status")
        )
        allowed = fresh + (stale if failed else 0.0) + (2 * SLOW + 0.1 if fresh else 0.0)
        until = self.ended.get(version, float("inf"))
        assert until >= one.began - allowed, (one, response.headers, until, self.now)
        if one.method == "GET" and response.status == 200:
            self.seen.append(tag)
        for interim in response.interim:
            assert one.pending.response is response, interim

    def judge_body(self, one: Asked, response: Any, tag: str) -> None:
        """Whether every byte is that of the page."""
        body = whole(tag)
        if response.status == 304:
            assert one.known == tag
        elif response.status == 200:
            assert response.body == body
        elif response.header("Content-Range"):
            span = response.header("Content-Range").removeprefix("bytes ").partition("/")[0]
            first, last = map(int, span.split("-"))
            assert response.body == body[first : last + 1]
            assert first <= last < len(body)
        else:
            assert body[5:11] in response.body

    def finish(self) -> None:
        """Nothing waits, and nothing is left."""
        for one in self.asked:
            one.pending.client.resume()
        for _ in range(20):
            self.lb.advance(10)
            self.look()
        assert not self.asked, "a client waits for ever"
        cache = self.lb.service.caches["main"]
        assert not cache._running and not cache.fetches
        assert cache.memory.reserved == 0
        assert cache.memory.bytes <= cache.memory.limit
        assert cache.memory.bytes == sum(entry.bytes for entry in cache.memory)
        backend = self.lb.backend("app")
        assert sum(server.active for server in backend.group.servers.values()) == 0


def user_of(request: Request) -> str:
    """The user that the origin sees."""
    return request.header("Cookie") or request.header("Authorization")


def settings(pick: Random, grace: float) -> str:
    """A configuration."""
    return TEXT.format(
        memory=pick.choice(["256k", "1m", "8m"]),
        grace=grace,
        wait=pick.choice([1, 30]),
        waiters=pick.choice([1, 100]),
        no_cache=pick.choice(["revalidate", "obey"]),
    )


@pytest.mark.parametrize("seed", range(25))
def test_random_traffic(seed: int) -> None:
    pick = Random(seed)
    grace = pick.choice([0, 60])
    with LB.from_config(settings(pick, grace)) as lb:
        world = World(pick, lb, grace)
        lb.origin("a", "10.0.0.1:80", world.handle)
        for _ in range(120):
            world.step()
        world.finish()
