"""The proxies under test: the same job described to each of them, and the process that does it."""

from __future__ import annotations

import contextlib
import resource
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread

from attrs import field, frozen

from tests.bench.quota import NoQuota, Quota
from tests.support.lb_process import LBProcess
from tests.support.ports import free_port
from tests.support.process import Child, accepts, descendants, find_binary, until

__all__ = ["PROXIES", "Job", "NotMeant", "Proxy", "Unavailable", "Words"]

DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
"""The most that a process here may have; the lab raises the soft limit to it."""


class Unavailable(Exception):
    """This proxy cannot do this job here; the message says why."""


class NotMeant(Unavailable):
    """This proxy takes no part in this job, and nobody misses it."""


@frozen
class Words:
    """Configuration that one proxy needs for an extra part of a job.

    ``front``: lines of the frontend (nginx: of the server block).  ``routes``: lines of lbproxy's
    routes, or of HAProxy's frontend.  ``back``: lines of the backend (nginx: of the upstream
    block).  ``server``: the end of HAProxy's server lines; ``{n}`` is the server's number.
    ``balance``: the balancer in place of least connections.  ``sections``: further sections of
    lbproxy, or lines of nginx's http block.
    """

    front: Sequence[str] = ()
    routes: Sequence[str] = ()
    back: Sequence[str] = ()
    server: str = ""
    balance: str = ""
    sections: Sequence[str] = ()


@frozen
class Job:
    """What a proxy is to do: one listener, one backend.

    ``servers``: addresses of the backend's servers.  ``check_every``: seconds between health
    checks; 0: none.  ``routes``: number of routes ``/route/N/``, all to the same backend.
    ``mode``: ``http``, ``tcp`` or ``corsproxy``: the request names its server.
    ``workers``: processes (lbproxy, nginx) or threads (HAProxy).  ``share``: part of a core that
    each of them may use; 0: all of it.  ``admin``: lbproxy's metrics and API are on.  ``followed``:
    a dashboard follows them.  ``words``: extra configuration by proxy; other proxies are left out.
    ``prefix``: command to run the proxy under, as one process.  ``replay``: file of the requests
    that clients send.
    """

    mode: str = "http"
    servers: Sequence[str] = ()
    tls: Path | None = None
    check_every: int = 2
    routes: int = 0
    workers: int = 1
    share: float = 0
    admin: bool = False
    followed: bool = False
    words: Mapping[str, Words] = field(factory=dict)
    prefix: Sequence[str] = ()
    replay: Path | None = None
    cores: Sequence[int] = field(default=(0,))


def _installed(name: str) -> str:
    binary = find_binary(name)
    if binary is None:
        raise Unavailable(f"{name} is not installed")
    return binary


class Proxy(ABC):
    """One way to do a :class:`Job`; ``child`` while it runs.

    ``special``: it only does jobs that have words for it.
    """

    name = ""
    special = False

    def __init__(self, job: Job, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.job = job
        self.words = self._words()
        self.folder = folder
        self.port = free_port()
        self.child = self.launch()
        self._quota = self._hold() if job.share else None

    def _words(self) -> Words:
        if self.special and self.name not in self.job.words:
            raise NotMeant(self.name)
        if self.job.words and self.name not in self.job.words:
            raise Unavailable(f"{self.name} cannot do this")
        return self.job.words.get(self.name, Words())

    @abstractmethod
    def launch(self) -> Child:
        """Write the configuration, start, wait until it accepts."""

    def stop(self) -> None:
        """End it."""
        self.child.stop()
        if self._quota is not None:
            self._quota.end()

    def _hold(self) -> Quota:
        until(lambda: len(self._tasks()) == self.job.workers)
        try:
            return Quota(self._tasks(), self.job.share)
        except NoQuota as error:
            self.child.stop()
            raise Unavailable(str(error)) from error

    def _tasks(self) -> Sequence[int]:
        """What does the work."""
        return descendants(self.child.pid) or [self.child.pid]

    def _start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        child = Child(
            [*self.job.prefix, *command],
            self.folder / "output.log",
            cwd=self.folder,
            cores=self.job.cores,
            env=env,
        )
        child.wait_ready(lambda: accepts(self.port), 120)
        return child

    def _write(self, name: str, lines: Sequence[str]) -> Path:
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path


class LBProxy(Proxy):
    """lbproxy."""

    name = "lbproxy"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        job = self.job
        if job.mode == "corsproxy":
            return self._cors_proxy()
        scheme = f"tls:{self.port}" if job.tls else f"tcp:{self.port}"
        options = f" certificates={job.tls}" if job.tls else ""
        check = "http GET /healthz expect=200" if job.mode == "http" else "tcp"
        lines = [
            "[lbproxy]",
            "access_log = access.log json",
            f"workers = {job.workers}",
            *self._admin(),
            "[frontend bench]",
            f"mode = {job.mode}",
            f"listen = {scheme}:interface=127.0.0.1{options}",
            "backend = app",
            *self.words.front,
        ]
        routes = [f"path /route/{n}/* -> app" for n in range(job.routes)]
        if routes or self.words.routes:
            lines += ["routes =", *(f"    {line}" for line in (*routes, *self.words.routes))]
        lines += ["[backend app]", f"balance = {self.words.balance or 'leastconn'}"]
        if job.check_every:
            lines.append(f"check = {check} every={job.check_every}s")
        lines += [
            *self.words.back,
            "servers =",
            *(f"    s{n} {address}" for n, address in enumerate(job.servers)),
            *self.words.sections,
        ]
        text = "\n".join(lines) + "\n"
        child = LBProcess(text, self.folder, cores=job.cores, prefix=job.prefix, timeout=120).child
        if job.followed:
            self._follow()
        return child

    def _cors_proxy(self) -> Child:
        """Start a CORS proxy that everybody may use for the servers on loopback."""
        lines = [
            *("[lbproxy]", "access_log = access.log json", "guard_public = 127.0.0.0/8"),
            *("[frontend bench]", "mode = corsproxy", "open = yes"),
            f"listen = tcp:{self.port}:interface=127.0.0.1",
            f"guard_ports = {' '.join(one.rpartition(':')[2] for one in self.job.servers)}",
        ]
        text = "\n".join(lines) + "\n"
        job = self.job
        return LBProcess(text, self.folder, cores=job.cores, prefix=job.prefix, timeout=120).child

    def _admin(self) -> list[str]:
        if not (self.job.admin or self.job.followed):
            return []
        self.admin_port = free_port()
        return [f"admin = tcp:{self.admin_port}:interface=127.0.0.1"]

    def _follow(self) -> None:
        """As the dashboard does: read the stream of states until the proxy ends."""
        sock = socket.create_connection(("127.0.0.1", self.admin_port), 10)
        sock.settimeout(None)
        sock.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the admin side has no stream")
        Thread(target=_read_away, args=(sock,), daemon=True).start()


def _read_away(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


class HAProxy(Proxy):
    """HAProxy, one thread, JSON lines to a file through its standard output."""

    name = "haproxy"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        path = self._write("haproxy.cfg", [*self._common(), *self._front(), *self._back()])
        return self._start([self._binary(), "-db", "-f", str(path)])

    def _binary(self) -> str:
        return _installed("haproxy")

    def _tasks(self) -> Sequence[int]:
        """Its threads."""
        return [int(task.name) for task in Path(f"/proc/{self.child.pid}/task").iterdir()]

    def _common(self) -> list[str]:
        return [
            "global",
            f"    maxconn {(DESCRIPTORS - 200 - len(self.job.servers)) // 2}",
            f"    nbthread {self.job.workers}",
            "    log stdout format raw local0 info",
            "    ssl-default-bind-options ssl-min-ver TLSv1.2",
            "defaults",
            f"    mode {self.job.mode}",
            "    log global",
            "    timeout connect 5s",
            "    timeout client 1h",
            "    timeout server 1h",
        ]

    def _front(self) -> list[str]:
        job = self.job
        tls = f" ssl crt {job.tls}" if job.tls else ""
        lines = ["frontend bench", f"    bind 127.0.0.1:{self.port}{tls} backlog 4096"]
        times = '"client":"%ci","backend":"%b","server":"%s","bytes":%B,"close":"%ts"'
        if job.mode == "tcp":
            lines.append(f'    log-format \'{{"at":%Ts,{times},"s":%Tt}}\'')
        else:
            http = '"method":"%HM","target":"%HU","status":%ST,"s":%Ta'
            lines.append(f"    log-format '{{\"at\":%Ts,{times},{http}}}'")
            lines += ["    timeout http-request 10s", "    timeout http-keep-alive 60s"]
            lines.append("    option forwardfor")
            lines.append("    http-request set-header X-Forwarded-Proto http")
            lines.append("    http-request set-header X-Forwarded-Host %[req.hdr(host)]")
        if job.routes:
            table = [f"/route/{n}/ app" for n in range(job.routes)]
            path = self._write("routes.map", table)
            lines.append(f"    use_backend %[path,map_beg({path},app)]")
        lines += [f"    {line}" for line in (*self.words.front, *self.words.routes)]
        return [*lines, "    default_backend app"]

    def _back(self) -> list[str]:
        job = self.job
        words = self.words
        lines = ["backend app", f"    balance {words.balance or 'leastconn'}"]
        lines += [f"    {line}" for line in words.back]
        if job.check_every:
            if job.mode == "http":
                lines += ["    option httpchk GET /healthz", "    http-check expect status 200"]
            lines.append(f"    default-server check inter {job.check_every}s")
        ends = [words.server.format(n=n) for n in range(len(job.servers))]
        return [*lines, *(f"    server s{n} {a}{ends[n]}" for n, a in enumerate(job.servers))]


class Nginx(Proxy):
    """nginx, one worker, buffered JSON access log; the free version has no active checks."""

    name = "nginx"
    builtin_stream = False

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        block = self._stream() if self.job.mode == "tcp" else self._http()
        path = self._write("nginx.conf", [*self._common(), *block])
        return self._start([self._binary(), "-p", str(self.folder), "-c", str(path)])

    def _binary(self) -> str:
        return _installed("nginx")

    def _common(self) -> list[str]:
        lines = [
            "daemon off;",
            f"worker_processes {self.job.workers};",
            *(["master_process off;"] if self.job.prefix else []),
            f"worker_rlimit_nofile {DESCRIPTORS};",
        ]
        if self.job.mode == "tcp" and not self.builtin_stream:
            module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
            if not module.exists():
                raise Unavailable("nginx has no stream module (libnginx-mod-stream)")
            lines.append(f"load_module {module};")
        return [
            *lines,
            f"pid {self.folder}/nginx.pid;",
            "error_log stderr warn;",
            f"events {{ worker_connections {DESCRIPTORS - 100}; }}",
        ]

    def _servers(self) -> list[str]:
        return [f"        server {address};" for address in self.job.servers]

    def _http(self) -> list[str]:
        job, root = self.job, self.folder
        tls = " ssl" if job.tls else ""
        certificate = (
            [
                f"ssl_certificate {job.tls}; ssl_certificate_key {job.tls};",
                "ssl_session_cache shared:tls:10m;",
                "ssl_protocols TLSv1.2 TLSv1.3;",  # as the others; 1.22 has no 1.3 by default
            ]
            if job.tls
            else []
        )
        places = [f"/route/{n}/" for n in range(job.routes)] + ["/"]
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        return [
            "http {",
            *(f"    {name}_temp_path {root}/{name};" for name in names),
            '    log_format json escape=json \'{"at":$msec,"client":"$remote_addr",\'',
            '        \'"method":"$request_method","target":"$request_uri","status":$status,\'',
            '        \'"server":"$upstream_addr","bytes":$bytes_sent,"s":$request_time}\';',
            f"    access_log {root}/access.log json buffer=64k flush=1s;",
            "    client_max_body_size 0;",
            "    client_body_buffer_size 64k;",
            "    keepalive_timeout 60s;",
            "    keepalive_requests 1000000000;",
            "    upstream app {",
            f"        {self.words.balance or 'least_conn'};",
            *(f"        {line}" for line in self.words.back),
            *self._servers(),
            "        keepalive 256;",
            "        keepalive_requests 1000000000;",
            "    }",
            *(f"    {line}" for line in self.words.sections),
            "    proxy_http_version 1.1;",
            '    proxy_set_header Connection "";',
            "    proxy_set_header Host $http_host;",
            "    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            "    proxy_set_header X-Forwarded-Proto $scheme;",
            "    proxy_set_header X-Forwarded-Host $http_host;",
            "    server {",
            f"        listen 127.0.0.1:{self.port}{tls} backlog=4096;",
            *certificate,
            *(f"        {line}" for line in self.words.front),
            *(f"        location {place} {{ proxy_pass http://app; }}" for place in places),
            "    }",
            "}",
        ]

    def _stream(self) -> list[str]:
        return [
            "stream {",
            '    log_format json escape=json \'{"client":"$remote_addr","s":$session_time}\';',
            f"    access_log {self.folder}/access.log json buffer=64k flush=1s;",
            "    upstream app {",
            "        least_conn;",
            *self._servers(),
            "    }",
            "    server {",
            f"        listen 127.0.0.1:{self.port} backlog=4096;",
            "        proxy_pass app;",
            "        proxy_timeout 1h;",
            "        proxy_half_close on;",
            "    }",
            "}",
        ]


PROXIES: dict[str, type[Proxy]] = {cls.name: cls for cls in (LBProxy, HAProxy, Nginx)}
