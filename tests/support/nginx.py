"""nginx as an HTTP origin: static files, a huge sparse one, an upload sink, its name in
``X-Origin``.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from tests.support.ports import free_ports
from tests.support.process import Child, accepts

__all__ = ["NginxOrigin"]

GIGABYTE = 1024**3

CONFIG = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {root}/nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections 16384; }}
http {{
    log_format plain '$request_method $request_uri $status $request_length';
    access_log {access_log};
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    sendfile on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    # answers to a browser: ETag, request id, cookies, type, length and status vary
    map $request_id $mix_cookie {{
        ~^[0-4] "seen=$request_id; Path=/; HttpOnly; SameSite=Lax";
    }}
    map $request_id $mix_caching {{
        ~^[0-7] "private, max-age=60";
        default "max-age=31536000, immutable";
    }}
    map $http_if_none_match $mix_known {{ ~[0-5]\"$ 1; default 0; }}
    map $request_id $mix_body {{
        {bodies}
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {tls}
        add_header X-Origin {name} always;
        root {root}/files;
        location = /healthz {{ return 200 "ok\\n"; }}
        location = /small {{ return 200 "{small}"; }}
        location = /hello {{ return 200 "hello from {name}\\n"; }}
        location = /upload {{
            # the body is read to its end, then an answer comes from the inner location
            client_body_buffer_size 64k;
            proxy_pass http://127.0.0.1:{port}/received;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Length $http_content_length;
        }}
        location = /received {{ return 200 "$http_x_length\\n"; }}
        location = /redirect {{ return 302 http://$http_host/hello; }}
        location = /headers {{ return 200 "$http_host|$http_x_forwarded_for|$http_via\\n"; }}
        location /assets/ {{
            types {{
                text/html html; text/css css; text/javascript js; image/webp webp;
                font/woff2 woff2; application/json json;
            }}
            add_header ETag '"$request_id"' always;
            add_header X-Request-Id $request_id always;
            add_header Cache-Control $mix_caching always;
            add_header Set-Cookie $mix_cookie;
            if ($mix_known) {{ return 304; }}
            return 200 $mix_body;
        }}
        location /route/ {{ return 200 "{small}"; }}
        location /cached/ {{
            add_header Cache-Control "public, max-age=86400" always;
            location /cached/1k/ {{ try_files /1k =404; }}
            location /cached/64k/ {{ try_files /64k =404; }}
            location /cached/1m/ {{ try_files /1m =404; }}
        }}
        location = /sink {{ return 200 "ok\n"; }}
        location /status/ {{ return 503 "no\\n"; }}
    }}
    {servers}
}}
"""


class NginxOrigin:
    """One nginx on free ports of 127.0.0.1, its files in ``folder``.

    Paths: ``/healthz``, ``/small`` and ``/route/...`` (120 bytes), ``/assets/...`` (answers vary),
    ``/hello``, ``/64k``, ``/1m``, ``/1g`` (sparse), ``/cached/1k/...``, ``/cached/64k/...`` and
    ``/cached/1m/...`` (a cache may store them), ``POST /upload`` (answers the body's length),
    ``POST /sink`` (reads it away), ``/redirect``, ``/headers``, ``/status/503``. ``certificate`` is
    a PEM file with key and chain; with it ``tls_port`` is served too.
    """

    def __init__(
        self,
        binary: str,
        folder: Path,
        name: str = "a",
        *,
        certificate: Path | None = None,
        access_log: bool = False,
        servers: str = "",
        cores: tuple[int, ...] = (),
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.name = name
        self.cores = cores
        self.port, self.tls_port = free_ports(2)
        self.log = folder / "requests.log"
        self.child: Child | None = None
        _files(folder / "files")
        tls = ""
        if certificate is not None:
            tls = (
                f"listen 127.0.0.1:{self.tls_port} ssl backlog=4096; "
                f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
            )
        text = CONFIG.format(
            root=folder,
            descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            user="user root;" if os.geteuid() == 0 else "",
            port=self.port,
            tls=tls,
            name=name,
            small="x" * 119 + "\\n",
            bodies="\n        ".join(f"~{n:x}$ '{'x' * (100 + 120 * n)}';" for n in range(16)),
            access_log=f"{self.log} plain" if access_log else "off",
            servers=servers,
        )
        self.config = folder / "nginx.conf"
        self.config.write_text(text)

    @property
    def address(self) -> str:
        """``host:port`` without TLS."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://{self.address}"

    def start(self) -> NginxOrigin:
        """Start (again) on the same ports and wait until it accepts."""
        command = [self.binary, "-p", str(self.folder), "-c", str(self.config)]
        self.child = Child(command, self.folder / "output.log", cores=self.cores)
        self.child.wait_ready(lambda: accepts(self.port))
        return self

    def stop(self) -> None:
        """End it; ports stay reserved for :meth:`start` by luck only."""
        if self.child is not None:
            self.child.stop()
            self.child = None


def _files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1k").write_bytes(bytes(range(256)) * 4)
    (folder / "64k").write_bytes(bytes(range(256)) * 256)
    (folder / "1m").write_bytes(bytes(range(256)) * 4096)
    with (folder / "1g").open("wb") as sparse:
        sparse.truncate(GIGABYTE)
