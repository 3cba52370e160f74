"""CONTROL. Metrics as text: the Prometheus format and OpenMetrics, written from plain numbers at
each scrape.

https://prometheus.io/docs/instrumenting/exposition_formats/,
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from attrs import frozen

from lbproxy.observe.metrics import Histogram

__all__ = ["OPENMETRICS", "PROMETHEUS", "Family", "accepts_openmetrics", "labels", "render"]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_CHUNK = 2000  # samples written in one turn of the reactor

Sample = tuple[str, int | float | Histogram]
"""The labels, as :func:`labels` writes them, and the value."""


@frozen
class Family:
    """One metric.

    ``name`` has its unit and no ``_total``. ``help``: one line. ``samples`` are taken once.
    ``labels``: the names of their labels, for the documentation.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Iterable[Sample]
    labels: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Return the name that queries use; a counter's ends in ``_total``."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def labels(**values: str) -> str:
    """Return the labels as ``{name="value",...}``."""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in values.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def accepts_openmetrics(accept: str) -> bool:
    """Return whether an ``Accept`` header requests OpenMetrics, as Prometheus does."""
    for part in accept.split(","):
        media, *parameters = (word.strip() for word in part.split(";"))
        if media.lower() == "application/openmetrics-text":
            return "q=0" not in parameters
    return False


def render(families: Iterable[Family], *, openmetrics: bool) -> Iterator[bytes]:
    """Yield the text in pieces of a bounded number of lines."""
    for family in families:
        name = family.name if openmetrics else family.shown
        help = _escape(family.help) if openmetrics else family.help.replace("\\", r"\\")
        text = f"# HELP {name} {help}\n# TYPE {name} {family.kind}\n"
        samples = iter(family.samples)
        while batch := list(islice(samples, _CHUNK)):
            yield (text + _lines(family, batch)).encode()
            text = ""
        if text:
            yield text.encode()
    if openmetrics:
        yield b"# EOF\n"


def _lines(family: Family, batch: list[Sample]) -> str:
    name = family.shown
    if family.kind != "histogram":
        return "".join([f"{name}{labels} {value}\n" for labels, value in batch])
    return "".join(
        _histogram(name, labels, value) for labels, value in batch if isinstance(value, Histogram)
    )


def _histogram(name: str, labels: str, histogram: Histogram) -> str:
    head = f"{name}_bucket{{{labels[1:-1]},le=" if labels else f"{name}_bucket{{le="
    lines = []
    count = 0
    for bound, count in histogram.cumulative():
        le = "+Inf" if bound == float("inf") else repr(float(bound))
        lines.append(f'{head}"{le}"}} {count}\n')
    lines.append(f"{name}_count{labels} {count}\n{name}_sum{labels} {histogram.total}\n")
    return "".join(lines)
