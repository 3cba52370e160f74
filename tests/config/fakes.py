"""Stand-ins for balancers, filters and probes, and ways to parse with them."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lbproxy.balance.sticky import SourceSticky
from lbproxy.balance.stickycookie import CookieSticky
from lbproxy.config.build import Files, parse
from lbproxy.config.errors import ConfigError, ConfigErrors, PluginError
from lbproxy.config.model import Config, option


@frozen
class NoOptions:
    """Nothing."""


class FakePlugin:
    """Keeps what it is given."""

    Options: Any = NoOptions
    needs: frozenset[str] = frozenset()

    def __init__(self, options: Any, env: Any) -> None:
        self.options = options


class RoundRobin(FakePlugin):
    name = "roundrobin"


class LeastConn(FakePlugin):
    name = "leastconn"


@frozen
class HashOptions:
    what: str = option(
        "choice", "source", choices=("source", "header"), doc="hashed", positional=True
    )
    key: str = option("string", "", doc="name", positional=True)
    bound: float = option("float", 0.0, min=0.0, max=100.0, doc="bounded load")
    sticky: bool = option("flag", False, doc="a flag")

    def __attrs_post_init__(self) -> None:
        if self.what == "header" and not self.key:
            raise ValueError("hash header needs a name")


class Hash(FakePlugin):
    name = "hash"
    Options = HashOptions

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"request" if self.options.what == "header" else "source"})


class Explosive(FakePlugin):
    name = "explosive"

    def __init__(self, options: Any, env: Any) -> None:
        raise RuntimeError("boom")


@frozen
class SetHeaderOptions:
    message: str = option("choice", choices=("request", "response"), doc="which", positional=True)
    header: str = option("string", doc="name", positional=True)
    value: str = option("string", "", doc="value", positional=True)


class SetHeader(FakePlugin):
    name = "set-header"
    Options = SetHeaderOptions
    modes = frozenset({"http"})


@frozen
class TagOptions:
    words: tuple[str, ...] = option("string", (), doc="words", positional="rest")
    level: int = option("int", 1, min=0, max=9, doc="level")
    nets: tuple[Any, ...] = option("list:network", (), doc="networks")
    names: tuple[str, ...] = option("list:string", (), doc="names")
    wait: float = option("duration", 1.0, min=0.0, max=10.0, doc="wait")
    loud: bool = option("flag", False, doc="loud")
    keep: bool = option("flag", True, doc="keep")


class Tag(FakePlugin):
    name = "tag"
    Options = TagOptions
    modes = frozenset({"tcp", "http"})


@frozen
class RedirectOptions:
    status: str = option("choice", choices=("301", "302"), doc="status", positional=True)
    target: str = option("string", doc="target", positional=True)


class Modeless(FakePlugin):
    name = "modeless"

    @property
    def modes(self) -> frozenset[str]:
        raise KeyError("modes")


class Redirect(FakePlugin):
    name = "redirect"
    Options = RedirectOptions
    modes = frozenset({"http"})


@frozen
class HttpProbeOptions:
    method: str = option("string", "GET", doc="method", positional=True)
    path: str = option("string", "/", doc="path", positional=True)
    expect: int = option("int", 200, min=100, max=599, doc="status")


class HttpProbe(FakePlugin):
    name = "http"
    Options = HttpProbeOptions


class TcpProbe(FakePlugin):
    name = "tcp"


TABLE: dict[str, dict[str, Any]] = {
    "balancer": {cls.name: cls for cls in (RoundRobin, LeastConn, Hash, Explosive)},
    "sticky": {"source": SourceSticky, "cookie": CookieSticky},
    "filter": {cls.name: cls for cls in (SetHeader, Tag, Redirect, Modeless)},
    "probe": {cls.name: cls for cls in (HttpProbe, TcpProbe)},
}


class Unknown(LookupError):
    known: tuple[str, ...] = ()


def resolve(kind: str, name: str) -> Any:
    if name == "broken":
        raise PluginError("file.py:3: ZeroDivisionError: division by zero")
    try:
        return TABLE[kind][name]
    except KeyError:
        error = Unknown(name)
        error.known = tuple(TABLE[kind])
        raise error from None


def files(contents: dict[str, str] | None = None, exists: Any = lambda path: True) -> Files:
    """A file system in a dict."""
    from fnmatch import fnmatch

    held = contents or {}

    def read(path: str) -> str:
        if path not in held:
            raise FileNotFoundError(2, "No such file or directory")
        return held[path]

    return Files(read=read, glob=lambda p: sorted(k for k in held if fnmatch(k, p)), exists=exists)


def build(text: str, **more: Any) -> Config:
    """The configuration in ``text``; every file exists."""
    more.setdefault("files", files())
    more.setdefault("env", {})
    return parse(
        text, more.pop("file", "lb.ini"), more.pop("base_dir", "/etc/lb"), resolve=resolve, **more
    )


def mistakes(text: str, **more: Any) -> tuple[ConfigError, ...]:
    """The errors of ``text``; empty when there are none."""
    try:
        build(text, **more)
    except ConfigErrors as errors:
        return errors.errors
    return ()


MINIMAL = """\
[frontend web]
listen = tcp:8080
backend = app

[backend app]
servers = a 10.0.0.1:80
"""
