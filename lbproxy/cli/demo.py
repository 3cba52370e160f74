"""CONTROL. ``lbproxy demo``: a complete installation in one process, for a first try.

Three HTTP origins (one of them slow) and two TCP origins run behind an HTTP, an HTTPS and a TCP
frontend. A small control address stops and starts the origins and makes them fail, to show the
reaction of lbproxy.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, cast

from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent, globalLogBeginner
from twisted.web.server import Site
from twisted.web.static import Data

from lbproxy.cli.demopage import demo_page
from lbproxy.cli.demoservers import DemoAnswer, DemoControl, DemoEcho, Origin
from lbproxy.net.dispatch import dispatch_directly
from lbproxy.net.steady import keep_steady
from lbproxy.service import LoadBalancer
from lbproxy.tls.certificates import self_signed

__all__ = ["CONFIG", "Demo", "command", "run_demo"]

_log = Logger()

CONFIG = """\
[lbproxy]
access_log = {log} json
admin = tcp:{admin}:interface=127.0.0.1
{public}
[alerts]

[cache pages]
ttl = default 10s
prefetch = yes

[limit reports]
rate = 3/10s

[ban rude]
after = 30/10s
on = 4xx
time = 10s..1m
action = reject

[frontend web]
mode = http
listen =
    tcp:{http}:interface=127.0.0.1
    tls:{https}:interface=127.0.0.1 certificates={certificate}
routes =
    path /slow/*          -> slow
    path /cached/*        -> slow cache=pages
    path /limited/*       -> app limits=reports
    path /checked/*       -> app challenge=on
    path /old             -> redirect 302 /new
    path /teapot          -> reply 418 "short and stout"
    default               -> app
bans = rude
filters =
    set-header response X-Served-By {{server}}

{cors}[frontend chat]
mode = tcp
listen = tcp:{tcp}:interface=127.0.0.1
backend = echo

[backend app]
balance = roundrobin
check = http GET /healthz expect=200 every=500ms timeout=2s rise=2 fall=2
servers =
    alpha 127.0.0.1:{alpha}
    beta 127.0.0.1:{beta}
    slow 127.0.0.1:{slow} backup

[backend slow]
servers =
    slow 127.0.0.1:{slow}

[backend echo]
balance = leastconn
check = tcp every=500ms timeout=2s
servers =
    one 127.0.0.1:{one}
    two 127.0.0.1:{two}
"""

CORS = """\
[frontend cors]
mode = corsproxy
listen = tcp:{cors}:interface=127.0.0.1
origins = http://127.0.0.1:{page}
guard_ports = {alpha} 80
cache = pages

"""
"""The CORS proxy of the demo, which needs the extra ``guard``."""

_PAGE = "http://127.0.0.1:{page}/     a page that calls another origin, with and without a proxy"
_NO_PAGE = "not available: the proxy needs the extra guard, `pip install lbproxy[guard]`"

_TOUR = """
lbproxy demo: everything below runs in this one process (stop it with Ctrl-C)

  HTTP   http://127.0.0.1:{http}/     answered in turn by origins alpha and beta
  HTTPS  https://127.0.0.1:{https}/    the same, with a certificate made just now
  TCP    127.0.0.1:{tcp}              a line echo, two origins, least connections
  CORS   {page_words}
  admin  http://127.0.0.1:{admin}/     the dashboard; or `{command} top --admin 127.0.0.1:{admin}`
  log    {log}
  config {config}   (`{command} check` and `{command} explain` work on it)

Try, in another terminal:

  curl http://127.0.0.1:{http}/                       # "server": alpha, then beta, then alpha ...
  curl -k https://127.0.0.1:{https}/                  # the same over TLS
  curl -i http://127.0.0.1:{http}/old                 # a redirect made by a route
  curl http://127.0.0.1:{http}/slow/report            # an origin that takes half a second
  curl -i http://127.0.0.1:{http}/cached/report       # once as slow, then 10 seconds from the cache
  {command} cache why http://127.0.0.1:{http}/cached/report --admin 127.0.0.1:{admin}
  {command} cache purge http://127.0.0.1:{http}/cached/report --admin 127.0.0.1:{admin}
  curl -i http://127.0.0.1:{http}/cached/page         # its Link names a style sheet: prefetched
  {command} cache list --admin 127.0.0.1:{admin}        # the page, and the style sheet
  curl -i http://127.0.0.1:{http}/limited/report      # 429 from the fourth on, within 10 seconds
  curl -i http://127.0.0.1:{http}/checked/report      # 403; a browser does a short calculation
  {command} bans add 127.0.0.1 --time 10s --admin 127.0.0.1:{admin}   # 403 for ten seconds
  {command} bans why 127.0.0.1 --admin 127.0.0.1:{admin}
  {command} why 127.0.0.1 --admin 127.0.0.1:{admin}     # the requests that were refused, and why
  curl -X POST --data-binary @/etc/hostname http://127.0.0.1:{http}/   # a body goes through too
  bash -c 'exec 3<>/dev/tcp/127.0.0.1/{tcp}; echo hello >&3; head -n 1 <&3'    # "one: hello"

Then break something:

  curl -X POST http://127.0.0.1:{control}/stop/beta    # beta refuses connections: no request fails
  curl -X POST http://127.0.0.1:{control}/fail/alpha   # alpha fails its check: the backup answers
  curl -X POST http://127.0.0.1:{control}/start/alpha  # and back again; the same for start/beta

What lbproxy notices is printed here:
"""


class _Tracking:
    """A factory around another one that records the open connections, so that a stop can abort
    them.
    """

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.live: set[Any] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._factory, name)

    def buildProtocol(self, addr: Any) -> Any:
        """See IProtocolFactory."""
        protocol = self._factory.buildProtocol(addr)
        made, lost = protocol.makeConnection, protocol.connectionLost
        mine: set[Any] = set()

        def make_connection(transport: Any) -> None:
            mine.add(transport)
            self.live.add(transport)
            made(transport)

        def connection_lost(reason: Any) -> None:
            self.live.difference_update(mine)
            lost(reason)

        protocol.makeConnection = make_connection
        protocol.connectionLost = connection_lost
        return protocol


class Demo:
    """The demo's origins and its load balancer. ``ports``: by name."""

    def __init__(self, reactor: Any, folder: Path, first_port: int) -> None:
        self.reactor = reactor
        self.folder = folder
        names = (
            "http",
            "https",
            "tcp",
            "control",
            "alpha",
            "beta",
            "slow",
            "one",
            "two",
            "admin",
            "cors",
            "page",
        )
        self.ports = dict(zip(names, free_ports(first_port, len(names)), strict=True))
        self.origins = {name: Origin(name, self.ports[name]) for name in names[4:9]}
        self.origins["slow"].delay = 0.5
        for name in ("alpha", "beta", "slow"):
            origin = self.origins[name]
            origin.factory = _Tracking(Site(DemoAnswer(origin, reactor)))
        for name in ("one", "two"):
            factory: Any = Factory.forProtocol(DemoEcho)
            factory.origin_name = name.encode()
            self.origins[name].factory = _Tracking(factory)
        self.config = folder / "lb.ini"
        self.log = folder / "access.log"
        self.balancer: LoadBalancer | None = None
        self._has_guard = find_spec("ada_url") is not None

    def start(self) -> None:
        """Start the origins, then the load balancer."""
        certificate, key = self_signed(["localhost", "127.0.0.1"])
        pem = self.folder / "demo.pem"
        pem.write_bytes(certificate + key)
        pem.chmod(0o600)
        self.config.write_text(self._text(pem))
        for origin in self.origins.values():
            origin.start(self.reactor)
        control = Site(DemoControl(self.origins, self.reactor))
        self.reactor.listenTCP(self.ports["control"], control, interface="127.0.0.1")
        if self._has_guard:
            self._serve_page()
        self.balancer = LoadBalancer.from_config(self.config, reactor=self.reactor)
        self.balancer.startService()

    def _serve_page(self) -> None:
        """Serve the page that calls the CORS proxy."""
        api, proxy = (f"http://127.0.0.1:{self.ports[name]}" for name in ("alpha", "cors"))
        page = Data(demo_page(f"{api}/", proxy), "text/html; charset=utf-8")
        page.isLeaf = True
        self.reactor.listenTCP(self.ports["page"], Site(page), interface="127.0.0.1")

    def _text(self, certificate: Path) -> str:
        """Return the configuration. Without the extra ``guard`` it contains no CORS proxy."""
        words = {
            **self.ports,
            "cors": CORS.format(**self.ports) if self._has_guard else "",
            "public": "guard_public = 127.0.0.1\n" if self._has_guard else "",
        }
        return CONFIG.format(log=self.log, certificate=certificate, **words)

    def tour(self) -> str:
        """Return the text with things to try."""
        page = (_PAGE if self._has_guard else _NO_PAGE).format(**self.ports)
        return _TOUR.format(
            log=self.log, config=self.config, page_words=page, command=command(), **self.ports
        )

    def stop(self) -> Any:
        """Stop everything. Return a Deferred or None."""
        for origin in self.origins.values():
            origin.stop()
        return self.balancer.stopService() if self.balancer is not None else None


def command() -> str:
    """Return the command line of this program: its name if the shell finds it, otherwise a path."""
    if which("lbproxy"):
        return "lbproxy"
    own = sys.argv[0]
    return own if Path(own).name == "lbproxy" else f"{sys.executable} -m lbproxy"


def free_ports(first: int, count: int) -> list[int]:
    """Return ``count`` unused ports of 127.0.0.1, from ``first`` up, or any free ones if it is
    0.
    """
    if first == 0:
        with socket.create_server(("127.0.0.1", 0)) as any_port:
            first = min(any_port.getsockname()[1], 65535 - 10 * count)
    found: list[int] = []
    port = first
    while len(found) < count and port < 65536:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                pass
            else:
                found.append(port)
        port += 1
    if len(found) < count:
        raise OSError(f"no {count} free ports from {first} up")
    return found


def _print_event(event: LogEvent) -> None:
    """Print an event of lbproxy on one line; omit the messages of Twisted."""
    if str(event.get("log_namespace", "")).startswith("lbproxy") or "log_failure" in event:
        clock = time.strftime("%H:%M:%S", time.localtime(event["log_time"]))
        print(f"  {clock}  {formatEvent(event)}", flush=True)
        if "log_failure" in event:
            print(event["log_failure"].getTraceback(), flush=True)


def run_demo(port: int) -> int:
    """Run until interrupted. Return the exit status."""
    from twisted.internet import reactor

    keep_steady(reactor)
    dispatch_directly(reactor)
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, _print_event)], redirectStandardIO=False)
    with tempfile.TemporaryDirectory(prefix="lbproxy-demo-") as folder:
        try:
            demo = Demo(reactor, Path(folder), port)
            demo.start()
        except OSError as error:
            print(f"lbproxy demo: {error}", file=sys.stderr)
            return 1
        print(demo.tour(), flush=True)
        reactor.addSystemEventTrigger("before", "shutdown", demo.stop)
        reactor.run()
    return 0
