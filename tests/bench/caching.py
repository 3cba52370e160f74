"""What the cache scenarios tell each proxy, and what browsers ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.bench.proxies import Proxy, Unavailable, Words
from tests.support.process import Child, find_binary

__all__ = ["MEMORY", "SMALL", "Varnish", "disk", "popular", "targets"]


def _nginx(size: str) -> Words:
    """nginx keeps responses in files; the kernel keeps them in memory."""
    return Words(
        front=["proxy_cache main;"],
        sections=[
            f"proxy_cache_path cache levels=1:2 keys_zone=main:64m max_size={size}"
            " use_temp_path=off;",
            "sendfile on;",
            "tcp_nopush on;",
            "open_file_cache max=100000 inactive=60s;",
        ],
    )


def _lbproxy(*keys: str) -> Words:
    return Words(front=["cache = main"], sections=["[cache main]", *keys])


MEMORY = {
    "lbproxy": _lbproxy("memory = 256m"),
    "nginx": _nginx("4g"),
    "varnish": Words(sections=["malloc,256m"]),
}
"""Room for everything in memory."""


def disk(memory: str) -> dict[str, Words]:
    """Room for everything on disk, and for ``memory`` in lbproxy's memory."""
    return {
        "lbproxy": _lbproxy(f"memory = {memory}", "max_object = 16m", "disk = cache/ 4g"),
        "nginx": _nginx("4g"),
        "varnish": Words(sections=["file,objects.bin,1g"]),
    }


SMALL = {
    "lbproxy": _lbproxy("memory = 16m"),
    "nginx": _nginx("16m"),
    "varnish": Words(sections=["malloc,16m"]),
}
"""Room for a tenth of what :func:`popular` asks for; nginx goes beyond it for a while."""


def targets(size: str, count: int) -> Iterator[bytes]:
    """Yield ``count`` targets of one size (``1k``, ``64k`` or ``1m``), again and again."""
    while True:
        for number in range(count):
            yield b"/cached/%b/%d.css" % (size.encode(), number)


def popular(count: int = 10_000) -> Iterator[bytes]:
    """Yield targets without end, by Zipf's law with the exponent 0.9.

    Of 100 objects 90 have 1 KiB, 9 have 64 KiB, and one has 1 MiB.
    """
    chance = Random(0)
    numbers = list(range(count))
    chance.shuffle(numbers)  # the size says nothing of how popular an object is
    weights = [rank**-0.9 for rank in range(1, count + 1)]
    while True:
        for number in chance.choices(numbers, weights, k=1000):
            kind = number % 100
            size = b"1m" if kind == 0 else b"64k" if kind < 10 else b"1k"
            yield b"/cached/%b/%d.css" % (size, number)


class Varnish(Proxy):
    """Varnish without an access log, which another process would write."""

    name = "varnish"
    special = True

    def launch(self) -> Child:
        """See :class:`Proxy`."""
        binary = find_binary("varnishd")
        if binary is None:
            raise Unavailable("varnishd is not installed")
        names = [f"s{number}" for number in range(len(self.job.servers))]
        lines = ["vcl 4.1;", "import directors;"]
        for name, server in zip(names, self.job.servers, strict=True):
            host, _, port = server.rpartition(":")
            lines.append(f'backend {name} {{ .host = "{host}"; .port = "{port}"; }}')
        lines += ["sub vcl_init {", "    new app = directors.round_robin();"]
        lines += [f"    app.add_backend({name});" for name in names]
        # its own rules would send every request with a cookie to a server
        lines += ["}", "sub vcl_recv {", "    set req.backend_hint = app.backend();"]
        lines += ['    if (req.method == "GET") { return (hash); }', "}"]
        vcl = self._write("bench.vcl", lines)
        state = Path(self.folder, "state")
        options = ["-F", "-j", "none", "-n", str(state), "-f", str(vcl)]
        options += ["-a", f"127.0.0.1:{self.port}", "-s", *self.words.sections]
        return self._start([binary, *options])
