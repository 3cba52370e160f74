"""CONTROL. The metric families of the process, of certificates and of access logs."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

from lbproxy import __version__
from lbproxy.admin.exposition import (
    Family,
    labels,
)
from lbproxy.admin.parts.process import descriptors, resident_bytes
from lbproxy.admin.view import AdminView

__all__ = ["certificate_families", "log_families", "process_families"]


def process_families(admin: AdminView) -> Iterator[Family]:
    """Return the metrics of the process and of the whole balancer."""
    total, times = admin.balancer.total, os.times()
    build = labels(version=__version__)
    yield Family(
        "lbproxy_build_info",
        "gauge",
        "Always 1; the label is the version.",
        [(build, 1)],
        ("version",),
    )
    yield _single(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process, in seconds since the epoch.",
        admin.started,
    )
    yield _single(
        "process_cpu_seconds",
        "counter",
        "CPU time of the process in seconds, user and system.",
        round(times.user + times.system, 2),
    )
    yield _single(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory of the process in bytes.",
        resident_bytes(),
    )
    yield _single("process_open_fds", "gauge", "Open file descriptors.", descriptors())
    yield _single(
        "lbproxy_connections", "gauge", "Open client connections of all frontends.", total.active
    )
    yield _single(
        "lbproxy_connections_limit",
        "gauge",
        "Limit of client connections (maxconn).",
        total.maxconn,
    )
    handshakes = admin.balancer.handshakes
    yield _single(
        "lbproxy_tls_handshakes",
        "gauge",
        "TLS handshakes with clients in progress.",
        handshakes.active,
    )
    yield _single(
        "lbproxy_tls_handshakes_waiting",
        "gauge",
        "Clients that wait to begin a TLS handshake because max_handshakes are in progress.",
        handshakes.waiting,
    )
    yield _single(
        "lbproxy_tls_handshakes_limit",
        "gauge",
        "Limit of TLS handshakes with clients at a time (max_handshakes).",
        handshakes.most,
    )
    yield _single(
        "lbproxy_reactor_lag_seconds",
        "gauge",
        "Delay of the last timer of the reactor: the longest wait of any event.",
        round(admin.lag.last, 6),
    )
    yield _single(
        "lbproxy_reactor_lag_max_seconds",
        "gauge",
        "Largest reactor lag within the last minute.",
        round(admin.lag.worst, 6),
    )
    yield _single(
        "lbproxy_worker_lag_seconds",
        "gauge",
        "Largest reactor lag of a worker process in the last second; 0 without workers.",
        round(admin.balancer.worker_lag, 6),
    )
    yield _single(
        "lbproxy_worker_lag_max_seconds",
        "gauge",
        "Largest reactor lag of a worker process within the last minute; 0 without workers.",
        round(admin.balancer.worker_lag_max, 6),
    )
    yield _single(
        "lbproxy_admin_streams",
        "gauge",
        "Open streams of the admin API (events and state).",
        admin.followers,
    )
    generations = gc.get_stats()
    yield Family(
        "python_gc_collections",
        "counter",
        "Runs of the garbage collector, by generation.",
        [(labels(generation=str(i)), one["collections"]) for i, one in enumerate(generations)],
        ("generation",),
    )


def _single(name: str, kind: Any, help: str, value: float) -> Family:
    return Family(name, kind, help, [("", value)])


def certificate_families(admin: AdminView) -> Iterator[Family]:
    """Return the expiry of certificates."""
    pairs = {pair.source: pair for pair in admin.balancer.key_pairs()}
    yield Family(
        "lbproxy_certificate_expiry_seconds",
        "gauge",
        "Expiry time of a certificate in use, in seconds since the epoch.",
        [(labels(certificate=source), pair.expires) for source, pair in pairs.items()],
        ("certificate",),
    )


def log_families(admin: AdminView) -> Iterator[Family]:
    """Return the metrics of access logs."""
    yield Family(
        "lbproxy_log_dropped_lines",
        "counter",
        "Access log lines that were lost because the destination did not take them.",
        [(labels(log=sink.path), sink.dropped) for sink in admin.balancer.log_sinks()],
        ("log",),
    )
