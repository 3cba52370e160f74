"""The short way of limits decides as the long way does: limits of all kinds, reloads, nodes, bans,
and a table of eight cells.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import asdict

import lbproxy.limits.cells as cells_module
from lbproxy.proxy.features.limiting.feature import Limiting
from lbproxy.testing import LB
from lbproxy.testing.redis import FakeRedis
from tests.proxy.test_limiting import BACKEND
from tests.proxy.test_limiting_desk import long_way

KEYS = (
    "prefix = 24 48",
    "key = {client_ip}",
    "key = {client_ip} {header:X}",
    "key = {query:key}",
    "key = {header:X} {query:key}",
    "key = {cookie:s}",
    "key = {path}",
    "key = {host}",
    "key_function = keys.py:tenant",
)
CODE = """
def tenant(traffic):
    value = traffic.request.header(b"X")
    if value == b"boom":
        raise ValueError("no key")
    return {b"1": "one", b"2": None, b"number": 7}.get(value, value)
"""
ACTIONS = ("reject", "reject", "log", "ban rude", "tarpit 2s", "delay")
PATHS = ("/", "/a", "/a/r", "/free", "/?key=1", "/a?key=2", "/?key=1&key=2", "/?key=%31", "/?key=",
         "/a/../..", "/?key=" + "&key=".join(map(str, range(12))))  # fmt: skip
HEADERS = ((), ("X: 1",), ("X: 2",), ("X: 1", "X: 2"), ("X: \xe9",), ("X:",), ("X: boom",),
           ("X: number",), ("X: " + "y" * 80,), ("Cookie: s=1",), ("Cookie: s=1; s=2",),
           ("Cookie: s=1", "Cookie: s=3"))  # fmt: skip
IPS = ("10.1.0.1", "10.1.0.2", "10.1.1.1", "2001:db8::1", "2001:db8:0:1::2", "::ffff:10.1.0.1",
       "fe80::1%eth0")  # fmt: skip


def section(random: Random, name: str) -> str:
    """One ``[limit NAME]``."""
    at_once = random.random() < 0.1
    lines = [f"[limit {name}]", random.choice(KEYS)]
    action, window = random.choice(ACTIONS), random.random() < 0.15
    if at_once:
        lines.append(f"concurrent = {random.randint(1, 3)}")
    else:
        burst = random.choice(("", f" burst={random.randint(1, 4)}"))
        lines.append(f"rate = {random.randint(1, 5)}/{random.randint(1, 4)}s{burst}")
        lines += ["method = window"] if window else []
        lines += ["unit = errors"] if random.random() < 0.1 else []
    lines.append("action = reject" if action == "delay" and (at_once or window)
                 else f"action = {action}")  # fmt: skip
    further = ("headers = yes", "empty = limit", "on_error = closed", "nodes = no")
    return "\n".join(lines + [line for line in further if random.random() < 0.25])


def configurations(random: Random, shared: bool) -> tuple[str, str]:
    """A configuration, and another one for a reload."""
    names = [f"l{number}" for number in range(random.randint(1, 4))]
    when = ("", "", "", " if path /a*", " if not path /a*")
    uses = "".join(f"    {name}{random.choice(when)}\n" for name in names)
    route = random.choice(("", f" limits={random.choice(names)}"))
    free = random.choice(("", "    path /free -> app limits=none\n"))
    rest = (
        "\n[ban rude]\nafter = 3/10s\ntime = 5s\non = 4xx\n"
        f"[frontend web]\nlisten = tcp:80\nbans = rude\nlimits =\n{uses}"
        f"routes =\n    path /a/r -> app{route}\n{free}    default -> app\n{BACKEND}"
    )
    if shared:
        rest += "[shared]\nredis = redis://10.9.9.9/0\n"
    first = "\n".join(section(random, name) for name in names)
    other = first.replace("rate = 1/", "rate = 2/").replace("rate = 3/", "rate = 1/")
    if random.random() < 0.4:
        other = "\n".join(section(random, name) for name in names)
    return first + rest, other + rest


def seen(texts: tuple[str, str], asked: list[Any], shared: bool) -> list[Any]:
    """The responses to ``asked``, with a reload in the middle, and what is shown and shared."""
    with LB.from_config(texts[0]) as lb:
        redis = FakeRedis(lb.reactor, "10.9.9.9:6379")
        if shared:
            redis.start()
            lb.advance(1)
        lb.origin("a", "10.0.0.1:80")
        found: list[Any] = []
        for number, (path, headers, ip, pause) in enumerate(asked):
            if number == len(asked) // 2:
                assert lb.service.reload(texts[1]).ok
            client = lb.connect("web", client=ip)
            lines = [f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]
            client.send("\r\n".join(lines).encode("latin-1"))
            lb.advance(pause)
            head = client.received.partition(b"\r\n\r\n")[0]
            found.append([one for one in head.split(b"\r\n") if b"X-Request-Id" not in one])
        lb.advance(0.5)
        frontend = lb.service.frontend("web")
        feature = Limiting.of(frontend)
        assert feature is not None
        stored = {key: repr(one.value) for key, one in redis.data.items() if b"limit" in key}
        return [found, feature.gauges(), asdict(frontend.counts["limits"]), stored]


@pytest.mark.parametrize("seed", range(24))
def test_both_ways_decide_alike(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    random = Random(seed)
    if seed % 2:
        monkeypatch.setattr(cells_module, "KEYS", 4)  # one set: keys displace one another
    shared = seed % 3 == 0
    texts = configurations(random, shared)
    pauses = (0.0, 0.0, 0.0, 0.1, 0.7, 3.0, 70.0)
    asked = [
        (random.choice(PATHS), random.choice(HEADERS), random.choice(IPS), random.choice(pauses))
        for _ in range(random.randint(5, 40))
    ]
    short = seen(texts, asked, shared)
    with pytest.MonkeyPatch.context() as patch:
        long_way(patch)
        assert seen(texts, asked, shared) == short
