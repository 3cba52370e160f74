"""The proxies under siege, with usual timeouts: lbproxy, and HAProxy and nginx if installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.siege.attacks import Ports
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import Child, accepts, find_binary

__all__ = ["PLACES", "Place", "start"]

MAXCONN = 4000

LBPROXY = """\
[lbproxy]
access_log = access.log json
maxconn = {maxconn}
admin = tcp:{admin}:interface=127.0.0.1
{tokens}

[frontend web]
listen =
    tcp:{http}:interface=127.0.0.1
    tls:{tls}:interface=127.0.0.1 certificates={pem}
    tcp:{proxied}:interface=127.0.0.1 accept_proxy=127.0.0.0/8
{routes}
backend = app

[backend app]
servers =
    a {a}
    b {b}
"""

HAPROXY = """\
global
    maxconn {maxconn}
    log stdout format raw local0 info
    ssl-default-bind-options ssl-min-ver TLSv1.2
    nbthread 1
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 60s
frontend web
    bind 127.0.0.1:{http}
    bind 127.0.0.1:{tls} ssl crt {pem}
    bind 127.0.0.1:{proxied} accept-proxy
    default_backend app
backend app
    balance leastconn
    server a {a}
    server b {b}
"""

NGINX = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log access.log;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    client_max_body_size 0;
    client_header_timeout 10s;
    upstream app {{ least_conn; keepalive 64; server {a}; server {b}; }}
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{tls} ssl;
        listen 127.0.0.1:{proxied} proxy_protocol;
        ssl_certificate {pem}; ssl_certificate_key {pem};
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
    }}
}}
"""


class Place:
    """A running proxy: ``child``, ``ports``."""

    def __init__(self, name: str, child: Child, ports: Ports) -> None:
        self.name = name
        self.child = child
        self.ports = ports

    def rss(self) -> float:
        """Resident memory in MB."""
        return self.child.rss_bytes() / 1024**2

    def stop(self) -> None:
        """End it."""
        self.child.stop()


def start(
    name: str,
    folder: Path,
    origins: Sequence[str],
    pem: Path,
    *,
    tokens: bool = False,
    cores: Sequence[int] = (),
) -> Place | None:
    """Start a proxy; None if it is not installed. ``tokens``: its API needs one."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    http, tls, proxied, admin = free_ports(4)
    ports = Ports(http, tls, proxied, admin)
    values = {
        "http": http, "tls": tls, "proxied": proxied, "admin": admin, "pem": pem,
        "a": origins[0], "b": origins[1], "maxconn": MAXCONN,
    }  # fmt: skip
    if name == "lbproxy":
        return Place(name, _lbproxy(folder, values, tokens, cores), ports)
    binary = find_binary(name)
    if binary is None:
        return None
    text = {"haproxy": HAPROXY, "nginx": NGINX}[name].format(**values)
    (folder / "proxy.conf").write_text(text)
    command = [binary, "-db", "-f", "proxy.conf"]
    if name == "nginx":
        command = [binary, "-p", str(folder), "-c", str(folder / "proxy.conf")]
    child = Child(command, folder / "output.log", cwd=folder, cores=cores)
    child.wait_ready(lambda: accepts(http) and accepts(tls))
    return Place(name, child, ports)


def _lbproxy(folder: Path, values: dict[str, object], tokens: bool, cores: Sequence[int]) -> Child:
    cookies = "\n".join(f"    cookie c{n} never -> app" for n in range(10))
    more = {"routes": f"routes =\n{cookies}", "tokens": ""}
    if tokens:
        file = folder / "tokens"
        file.write_text("write siege a-token-that-nobody-knows\n")
        file.chmod(0o600)
        more["tokens"] = "admin_tokens = tokens"
    return LBProcess(LBPROXY.format(**values, **more), folder, cores=cores, forked=True).child


PLACES = ("lbproxy", "haproxy", "nginx")
