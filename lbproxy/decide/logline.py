"""CONTROL. A line of an access log as the request that it was, for ``lbproxy replay``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from lbproxy.http.message import text_of

__all__ = ["LoggedRequest", "read_line"]

_COMBINED = re.compile(
    r'(?P<ip>\S+) \S+ \S+ \[[^\]]*\] "(?P<method>[!-~]+) (?P<target>\S+) [^"]*"'
    r" (?P<status>\d{1,3}) \S+"
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?'
)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")

_loads: Callable[[str], Any]
try:
    from orjson import loads as _loads
except ImportError:
    _loads = json.loads


@frozen
class LoggedRequest:
    """One line of a log.  ``port``: that the client aimed at, 0 if the log does not say.  Empty is
    unknown.

    ``backend``: that the log says, for comparison; "" when it does not.
    """

    mode: str = "http"
    frontend: str = ""
    port: int = 0
    tls: bool = False
    method: str = ""
    host: str = ""
    target: str = ""
    peer_ip: str = ""
    client_ip: str = ""
    agent: str = ""
    referer: str = ""
    sni: str = ""
    alpn: str = ""
    backend: str = field(default="", eq=False)

    @property
    def text(self) -> str:
        """For people: printable, whatever the client has sent."""
        if self.mode == "tcp":
            text = f"TCP {self.port or self.frontend}{f' sni {self.sni}' if self.sni else ''}"
        else:
            text = f"{self.method} {self.host}{self.target}"
        return "".join(c if c.isprintable() else "?" for c in text[:200])


def read_line(line: str, host: str = "localhost", frontend: str = "") -> LoggedRequest | None:
    """A line of our JSON log, or of the common or combined format; None when it is none, or was no
    request.

    ``host`` and ``frontend`` are for lines that do not tell them.
    """
    if line.startswith("{"):
        return _json_line(line, host, frontend)
    found = _COMBINED.match(line)
    if found is None:
        return None
    target, referer, agent = (
        _unescaped(text or "") for text in found.group("target", "referer", "agent")
    )
    return LoggedRequest(
        frontend=frontend, method=found["method"], host=host, target=target, peer_ip=found["ip"],
        client_ip=found["ip"], agent=_text(agent), referer=_text(referer),
    )  # fmt: skip


def _unescaped(text: str) -> str:
    """Return ``text`` with the bytes that stand in it as ``\\xHH``."""
    found = _ESCAPE.sub(lambda one: chr(int(one[1], 16)), text)
    try:
        return text_of(found.encode("latin-1"))
    except UnicodeEncodeError:
        return found


def _text(value: str) -> str:
    return "" if value == "-" else value


def _json_line(line: str, host: str, frontend: str) -> LoggedRequest | None:
    try:
        facts = _loads(line)
        port = int(facts.get("local_port") or 0)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None

    def get(name: str, otherwise: str = "") -> str:
        return str(facts.get(name) or otherwise)

    mode = get("mode")
    if mode not in ("http", "tcp"):
        return None
    refused = facts.get("header_ms", 0) is None  # its head was incomplete or invalid
    if mode == "http" and (refused or not facts.get("method")):
        return None
    return LoggedRequest(
        mode=mode, frontend=get("frontend", frontend), port=port, tls=bool(get("tls_version")),
        method=get("method"), host=get("host", host), target=get("target"),
        peer_ip=get("peer_ip", get("client_ip")), client_ip=get("client_ip"),
        agent=get("user_agent"), referer=get("referer"), sni=get("sni"), alpn=get("alpn"),
        backend=get("backend"),
    )  # fmt: skip
