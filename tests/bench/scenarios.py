"""The table of scenarios: what the proxy is told to do, what load it gets, what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain

from attrs import frozen

from tests.bench.caching import MEMORY, SMALL, disk, popular, targets
from tests.bench.lab import Lab
from tests.bench.limiting import KEYS, LIMITED, listed
from tests.bench.load import Load
from tests.bench.load_http import bulk, fetch_each, handshakes, upload, wrk
from tests.bench.load_idle import idle
from tests.bench.load_paced import paced
from tests.bench.load_tools import pgbench, redis
from tests.bench.proxies import Job, Proxy, Words

__all__ = ["SCENARIOS", "Scenario"]


@frozen
class Scenario:
    """``load`` gets the running proxy and a number of seconds; ``unit`` is what it does many of.

    ``measure``: ``cpu``: CPU microseconds of the proxy for each unit; ``value``: what the load
    reports.  ``fresh``: a new proxy process for every run.  ``note``: printed below the table.
    ``prepare`` gets the proxy before all load.
    """

    name: str
    job: Callable[[Lab], Job]
    load: Callable[[Proxy, float], Load]
    unit: str = "request"
    measure: str = "cpu"
    measure_unit: str = "us/request"
    fresh: bool = False
    note: str = ""
    prepare: Callable[[Proxy], None] | None = None


def _http(lab: Lab, **options: object) -> Job:
    return Job(servers=lab.origins, cores=lab.proxy_cores, **options)  # type: ignore[arg-type]


def _mix(lab: Lab) -> Job:
    return _http(lab, replay=lab.browser_mix)


def _tls(lab: Lab) -> Job:
    return _http(lab, tls=lab.certificate)


def _workers(count: int, lab: Lab, share: float = 0) -> Job:
    cores = sorted({*lab.proxy_cores, *lab.load_cores})[:count]
    return Job(servers=lab.origins, workers=count, cores=cores, share=share)


def _many(count: int, lab: Lab) -> Job:
    servers = [lab.origins[n % 2] for n in range(count)]
    return Job(servers=servers, cores=lab.proxy_cores, check_every=max(2, count // 50))


def _tcp(lab: Lab) -> Job:
    return Job(mode="tcp", servers=lab.redis, cores=lab.proxy_cores)


def _tcp_http(lab: Lab) -> Job:
    return Job(mode="tcp", servers=lab.origins, cores=lab.proxy_cores)


def _tcp_sink(lab: Lab) -> Job:
    return Job(mode="tcp", servers=lab.sink, cores=lab.proxy_cores)


def _tcp_postgres(lab: Lab) -> Job:
    return Job(mode="tcp", servers=lab.postgres, cores=lab.proxy_cores)


def _on_port(load: Callable[..., Load], **options: object) -> Callable[[Proxy, float], Load]:
    return lambda proxy, seconds: load(proxy.port, seconds, **options)


def _replay(load: Callable[..., Load], **options: object) -> Callable[[Proxy, float], Load]:
    """Requests of browsers, which differ from each other."""
    return lambda proxy, seconds: load(proxy.port, seconds, replay=proxy.job.replay, **options)


_CORS = {
    "lbproxy": Words(),
    "cors-anywhere": Words(),
    "nginx": Words(
        front=(
            "rewrite ^ /small;",
            *(
                f"add_header {name} {value};"
                for name, value in (
                    ("Access-Control-Allow-Origin", "https://app.example.com"),
                    ("Access-Control-Expose-Headers", "content-length,x-final-url"),
                    ("Vary", "Origin"),
                    ("X-Final-URL", "http://127.0.0.1/small"),
                    ("Content-Security-Policy", "sandbox"),
                    ("X-Content-Type-Options", "nosniff"),
                )
            ),
        )
    ),
}
"""nginx is told the target and adds the same headers; it judges nothing."""


def _cors(lab: Lab) -> Job:
    return _http(lab, mode="corsproxy", words=_CORS)


def _cors_load(proxy: Proxy, seconds: float) -> Load:
    """Requests that name one of the servers, in the form that all CORS proxies know."""
    return wrk(proxy.port, seconds, path=f"/http://{proxy.job.servers[0]}/small")


def _stored(size: str, count: int, words: Mapping[str, Words], lab: Lab) -> Job:
    """Browsers ask for ``count`` objects again and again."""
    return _http(
        lab, words=words, replay=lab.replay(f"stored-{size}-{count}", targets(size, count))
    )


def _popular(words: Mapping[str, Words], lab: Lab) -> Job:
    return _http(lab, words=words, replay=lab.replay("popular", popular()))


def _hits(size: str, count: int, memory: str) -> tuple[Scenario, Scenario]:
    """Hits from memory, and from disk with ``memory``, which only has room for bodies that come in
    and for few of four times as many objects.
    """
    from_memory, from_disk = (size, count, MEMORY), (size, 4 * count, disk(memory))
    return (
        Scenario(f"cache-hit-{size}", partial(_stored, *from_memory), _replay(wrk), prepare=_store),
        Scenario(f"cache-disk-{size}", partial(_stored, *from_disk), _replay(wrk), prepare=_store),
    )


def _store(proxy: Proxy) -> None:
    """Request everything twice: a file is verified when it is first used."""
    assert proxy.job.replay is not None
    for _ in range(2):
        fetch_each(proxy.port, proxy.job.replay)


def _limited(keys: int) -> Scenario:
    """Each request has one of so many keys; a large table is filled before."""
    name = f"{keys:,}".replace(",000", "k").replace("kk", "m")

    def fill(proxy: Proxy) -> None:
        wrk(proxy.port, 30, replay=proxy.job.replay, keys=keys)

    return Scenario(
        f"limit-{name}",
        lambda lab: _http(lab, words=LIMITED, replay=lab.browser_mix),
        _replay(wrk, keys=keys),
        prepare=fill if keys == KEYS else None,
    )


def _listed(lab: Lab) -> Job:
    return _http(lab, words=listed(lab.folder), replay=lab.browser_mix)


def _idle(proxy: Proxy, seconds: float) -> Load:
    return idle(proxy.port, proxy.child.rss_bytes)


def _held(name: str, job: Callable[[Lab], Job]) -> Scenario:
    return Scenario(
        name,
        job,
        _idle,
        unit="connection",
        measure="value",
        measure_unit="bytes/connection",
        fresh=True,
    )


def _rr(connections: int) -> Scenario:
    return Scenario(
        f"tcp-rr-{connections}",
        _tcp,
        _on_port(redis, connections=connections),
        unit="round trip",
        measure_unit="us/round trip",
    )


_SAME = "all requests have the same head: a memo can win this"

_ALL = (
    Scenario("http-browser", _mix, _replay(wrk)),
    Scenario("http-browser-4000", _mix, _replay(paced)),
    Scenario("http-get", _http, _on_port(wrk), note=_SAME),
    Scenario("http-get-metrics", partial(_http, admin=True), _on_port(wrk)),
    Scenario("http-get-dashboard", partial(_http, followed=True), _on_port(wrk)),
    Scenario("workers-1", partial(_workers, 1), _on_port(wrk)),
    Scenario("workers-2", partial(_workers, 2), _on_port(wrk)),
    Scenario("workers-1-quarter", partial(_workers, 1, share=0.25), _on_port(wrk)),
    Scenario("workers-2-quarter", partial(_workers, 2, share=0.25), _on_port(wrk)),
    Scenario("http-get-64k", _http, _on_port(wrk, path="/64k")),
    Scenario("http-post-16k", _http, _on_port(wrk, path="/sink", method="POST", size=16384)),
    *chain(_hits("1k", 1000, "1m"), _hits("64k", 100, "4m"), _hits("1m", 16, "16m")),
    Scenario("cache-miss-1k", partial(_stored, "1k", 1000, MEMORY), _replay(wrk, unique=True)),
    Scenario("cache-zipf", partial(_popular, disk("16m")), _replay(wrk), prepare=_store),
    Scenario("cache-zipf-bounded", partial(_popular, SMALL), _replay(wrk)),
    Scenario("cors-proxy", _cors, _cors_load),
    *map(_limited, (1, 10_000, KEYS)),
    Scenario("list-1m", _listed, _replay(wrk)),
    Scenario("http-close", _http, _on_port(wrk, close=True)),
    _rr(1),
    _rr(50),
    _rr(1000),
    Scenario(
        "tcp-connect",
        _tcp,
        _on_port(redis, reconnect=True),
        unit="connection",
        measure_unit="us/connection",
    ),
    Scenario("tcp-bulk", _tcp_http, _on_port(bulk), unit="GB", measure_unit="us/GB"),
    Scenario("tcp-bulk-up", _tcp_sink, _on_port(upload), unit="GB", measure_unit="us/GB"),
    Scenario("tls-keepalive", _tls, _on_port(wrk, tls=True)),
    Scenario(
        "tls-handshake-full",
        _tls,
        _on_port(handshakes, resumed=False),
        unit="handshake",
        measure_unit="us/handshake",
    ),
    Scenario(
        "tls-handshake-resumed",
        _tls,
        _on_port(handshakes, resumed=True),
        unit="handshake",
        measure_unit="us/handshake",
    ),
    _held("idle-10k", _http),
    _held("idle-tcp-10k", _tcp_http),
    Scenario(
        "pgbench",
        _tcp_postgres,
        _on_port(pgbench),
        unit="transaction",
        measure_unit="us/transaction",
    ),
    Scenario(
        "redis-benchmark",
        _tcp,
        _on_port(redis, test="get", pipeline=16, size=1024),
        unit="command",
        measure_unit="us/command",
    ),
    Scenario("backend-1000", partial(_many, 1000), _on_port(wrk)),
    Scenario("backend-10000", partial(_many, 10_000), _on_port(wrk)),
    Scenario(
        "routes-1000", lambda lab: _http(lab, routes=1000), _on_port(wrk, path="/route/999/x")
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
"""By name, in the order they are run."""
