"""The bench's results as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.measure import Result, Summary

__all__ = ["header", "table"]

_ROW = "{:<22} {:<11} {:>11} {:>24} {:>7} {:>9} {:>9} {:>8} {:>6}"


def header() -> str:
    """The column names."""
    names = ("scenario", "proxy", "rate /s", "measured", "spread", "p50 us", "p99 us", "RSS MB")
    return _ROW.format(*names, "ratio")


def table(result: Result) -> str:
    """A scenario's rows, and what was missing."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    for summary in result.summaries:
        yield _row(result, summary)
        if summary.errors:
            yield f"    {summary.proxy}: {summary.errors} errors"
        if summary.late_us:
            late = f"{summary.late_us:,.0f} us"
            yield f"    {summary.proxy}: 99% of requests sent within {late} of due"
    if result.note:
        yield f"    {result.scenario}: {result.note}"
    for line in result.missing:
        yield f"    {result.scenario}: without {line.strip()}"


def _row(result: Result, s: Summary) -> str:
    ratio = f"{result.ratio:.2f}" if s.proxy == "lbproxy" and result.ratio else ""
    return _ROW.format(
        result.scenario,
        s.proxy,
        f"{s.rate:,.1f}" if s.rate < 100 else f"{s.rate:,.0f}",
        f"{s.figure:,.1f} {result.measure_unit}",
        f"{s.spread:.0%}",
        f"{s.p50_us:,.0f}" if s.p50_us else "-",
        f"{s.p99_us:,.0f}" if s.p99_us else "-",
        f"{s.peak_rss_bytes / 1e6:,.1f}",
        ratio,
    )
