"""The journeys of docs/architecture.rst, walked: the modules of lbproxy that run.

``python -m tests.support.journeys`` prints them as the page has them, with the number of modules.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from textwrap import fill
from types import FrameType
from typing import Any

import pytest

import lbproxy
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.testing.origin import Answer
from tests.support.ports import free_ports
from tests.workers.test_master import Scene as MasterScene
from tests.workers.test_worker import Scene as WorkerScene

__all__ = ["Journey", "gathered", "named", "text", "trace", "walk"]

PACKAGE = Path(lbproxy.__file__).parent
TRAFFIC = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers = a 10.0.0.1:80
[frontend db]
mode = tcp
listen = tcp:81
backend = pg
[backend pg]
servers = p 10.0.0.3:80
"""
LOG = "[lbproxy]\naccess_log = log json\n"
CHECKED = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
check = tcp every=10s rise=1 fall=1
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
"""
DRAINED = """
[lbproxy]
workers = 2
transport = twisted
[frontend web]
listen = tcp:8080
backend = app
[backend app]
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
"""
QUERIES = {"cache/givenurl", "inventory", "net/halfclose"}
"""Modules that the harness itself calls, which is no part of a journey."""
GATHERED = ("proxy/features/", "config/sections/", "config/lines/")
"""Packages that a long journey names in place of their modules."""

Journey = tuple[str, list[str]]
"""A title, and modules below lbproxy/ in the order of first entry."""


def trace(call: Callable[[], object], inside: str = "") -> list[str]:
    """Return the modules whose functions ``call`` runs, in the order of first entry.

    ``inside``: only of functions below one of this module. The harness itself is left out.
    """
    seen: dict[str, None] = {}
    depth = 0

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal depth
        name = _module(frame)
        if event not in ("call", "return") or not name:
            return
        if name == inside:
            depth += 1 if event == "call" else -1
        if event == "return" or (inside and not depth) or name.startswith("testing/"):
            return
        if name not in QUERIES or not _module(frame.f_back).startswith("testing/"):
            seen.setdefault(name)

    collecting, before = gc.isenabled(), sys.getprofile()
    gc.disable()  # finalisers of other tests are no part of the journey
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()
    return list(seen)


def _module(frame: FrameType | None) -> str:
    """Return the module of a frame below lbproxy/, or nothing."""
    name = frame.f_code.co_filename if frame is not None else ""
    if not name.startswith(f"{PACKAGE}/"):
        return ""
    return name.removeprefix(f"{PACKAGE}/").removesuffix(".py").removesuffix("/__init__")


def _moments(advance: Callable[[float], object], seconds: float, through: str) -> list[str]:
    """Return the modules of those hundredths of a second in which ``through`` runs."""
    seen: dict[str, None] = {}
    for _ in range(round(seconds * 100)):
        found = trace(lambda: advance(0.01))
        if through in found:
            seen.update(dict.fromkeys(found))
    return list(seen)


def _traffic() -> Iterator[Journey]:
    with LB.from_config(TRAFFIC) as lb:
        lb.origin("a", "10.0.0.1:80", lambda _: Answer(body=b"ok", after=0.2))
        lb.tcp_origin("p", "10.0.0.3:80", "echo")
        made: list[Any] = []
        for _ in range(2):  # the second time: what is made once is no part of it
            found = trace(lambda: made.append(lb.connect("db")))
        yield "TCP connection", found
        for _ in range(2):
            found = trace(lambda: made[-1].send(b"x"))
        yield "TCP bytes", found
        client = lb.connect("web")
        for _ in range(3):
            found = trace(lambda: made.append(lb.begin("GET", "http://h/", via=client)))
            back = trace(lambda: lb.advance(0.25))
            assert made[-1].wait().body == b"ok"
        yield "Request", found
        yield "Response", back


def _configuration() -> Iterator[Journey]:
    for _ in range(2):
        found = trace(lambda: parse_config(CHECKED))
    yield "Line of the configuration", found


def _control() -> Iterator[Journey]:
    with LB.from_config(CHECKED) as lb:
        origin = lb.origin("a", "10.0.0.1:80")
        lb.origin("b", "10.0.0.2:80")
        lb.advance(25)
        for weight in (2, 3):
            config = parse_config(CHECKED.replace("2:80", f"2:80 weight={weight}"))
            found = trace(lambda config=config: lb.service.reload(config))  # type: ignore[misc]
        yield "Reload, once the configuration is read", found
        lb.advance(25)
        origin.stop()
        assert lb.server("app", "a").healthy
        yield "Result of a check", _moments(lb.advance, 11, "checks/checker")
        assert not lb.server("app", "a").healthy


def _drain() -> Iterator[Journey]:
    with pytest.MonkeyPatch.context() as patch:
        # the master binds a real socket, the worker adopts one in memory
        (port,) = free_ports(1)
        listen = f"tcp:{port}:interface=127.0.0.1"
        scene = MasterScene(DRAINED.replace("tcp:8080", listen), patch)
        worker = WorkerScene()
        try:
            scene.serve()
            worker.begin(text=DRAINED)
            found = trace(lambda: scene.master.drain("app", "a"))
            found += _moments(scene.reactor.advance, 0.5, "workers/serverstate")
            sent = [one for one in scene.read(scene.live[0]) if one["type"] == "state"]
            assert sent and worker.worker.balancer is not None
            for one in sent:
                one.pop("fds"), one.pop("type")
                found += trace(lambda one=one: worker.tell("state", **one))  # type: ignore[misc]
            assert worker.worker.balancer.backends["app"].group.servers["a"].admin.value == "drain"
        finally:
            worker.tell("stop")
            worker.close()
            scene.close()
    yield "Drain with workers", list(dict.fromkeys(found))


def _record() -> Iterator[Journey]:
    with LB.from_config(LOG + TRAFFIC) as lb:
        lb.origin("a", "10.0.0.1:80")
        client = lb.connect("web")
        for _ in range(3):
            found = trace(lambda: lb.get("http://h/", via=client), inside="logs/sink")
    yield "Record of the access log", found


def walk() -> Iterator[Journey]:
    """Walk every journey that runs; a counter of a feature is only declared."""
    for part in (_traffic, _configuration, _control, _drain, _record):
        yield from part()


def gathered(names: Iterable[str]) -> list[str]:
    """Return ``names`` with each package of GATHERED in place of its modules, if it has several."""
    names = list(names)
    many = {package for package in GATHERED if sum(name.startswith(package) for name in names) > 2}
    found = (next((p for p in many if name.startswith(p)), name) for name in names)
    return list(dict.fromkeys(found))


def text(names: Iterable[str]) -> str:
    """Return the entry of the page: a name without a folder is in that of the name before."""
    folder, words = "", []
    for name in gathered(names):
        base, _, short = name.rstrip("/").rpartition("/")
        if not base:
            words.append(
                f"``{short}.py``" if (PACKAGE / f"{short}.py").is_file() else f"``{short}/``"
            )
        elif base == folder and not name.endswith("/"):
            words.append(f"``{short}``")
        else:
            words.append(f"``{name}``")
        folder = base
    indent = "    "
    return fill(", ".join(words) + ".", 100, initial_indent=indent, subsequent_indent=indent)


def named(entry: str) -> list[str]:
    """Return the modules of an entry, as :func:`text` writes them."""
    folder, found = "", []
    for word in re.findall(r"``([\w/.]+)``", entry):
        if word.endswith(".py"):
            found.append(word.removesuffix(".py"))
            folder = ""
        elif "/" in word:
            found.append(word)
            folder = word.rstrip("/").rpartition("/")[0]
        else:
            found.append(f"{folder}/{word}")
    return found


if __name__ == "__main__":
    for title, names in walk():
        print(f"{title}: {len(names)}\n{text(names)}")
