"""CONTROL. The access logs of a configuration: their outputs, shared by path, and their writers."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from lbproxy.config.model import Config, FrontendSpec, LogSpec
from lbproxy.generation.assembly import Assembly
from lbproxy.logs.selection import selection
from lbproxy.logs.several import SeveralLogs, parts_of
from lbproxy.logs.sink import LogSink, LogWriter
from lbproxy.logs.syslog import SyslogSink
from lbproxy.logs.trouble import trouble_with
from lbproxy.observe.accesslog import compile_format
from lbproxy.proxy.frontend import Frontend

__all__ = ["LogAssembly", "logs_of"]


class LogAssembly:
    """Adds the outputs of an assembly to its plan, and returns the writers of frontends."""

    def __init__(self, run: Assembly) -> None:
        self._run = run

    def writer(self, spec: FrontendSpec, old: Frontend | None) -> Any:
        """Return the writer of a frontend's records: None, one log, or several logs."""
        before: dict[LogSpec, Any] = {}
        if old is not None:
            before = dict(
                zip(logs_of(old.spec, self._run.old.config), parts_of(old.write_log), strict=False)
            )
        logs = logs_of(spec, self._run.config)
        parts = tuple(self._write_log(log, spec, before.get(log)) for log in logs)
        if old is not None and parts_of(old.write_log) == parts:
            return old.write_log
        return SeveralLogs(parts) if len(parts) > 1 else next(iter(parts), None)

    def _sink(self, log: LogSpec, spec: FrontendSpec) -> LogSink:
        sink = self._run.plan.sinks.get(log.path)
        if sink is not None:
            return sink
        sink = self._run.old.sinks.get(log.path)
        if sink is None or not _same_target(sink.spec, log):
            sink = self._new_sink(log, spec)
        self._run.plan.sinks[log.path] = sink
        return sink

    def _new_sink(self, log: LogSpec, spec: FrontendSpec) -> LogSink:
        if self._run.ground.sinks is not None:
            return self._run.ground.sinks(log, self._run.ground.reactor)
        trouble = trouble_with(log.path)
        if trouble:
            self._run.problem(log.where, f"frontend {spec.name}", "access_log", ValueError(trouble))
        kind = SyslogSink if log.path.startswith("syslog:") else LogSink
        return kind(log, self._run.ground.reactor)

    def _write_log(self, log: LogSpec, spec: FrontendSpec, old: Any) -> Any:
        """Write one log. ``old``: the writer of the same log in the present generation, or None."""
        sink = self._sink(log, spec)
        located = _is_located(self._run.config)
        if (
            old is not None
            and self._run.old.sinks.get(log.path) is sink
            and _is_located(self._run.old.config) is located
        ):
            return old
        write_log = LogWriter(compile_format(log.format, spec.protocol, located), sink).write
        wanted = selection(log, self._run.ground.random.random)
        if wanted is None:
            return write_log

        def write_some(record: Any) -> None:
            if wanted(record):
                write_log(record)

        return write_some


def logs_of(spec: FrontendSpec, config: Config) -> list[LogSpec]:
    """Return the access logs of a frontend; those of ``[lbproxy]`` if it has none of its own."""
    settings = config.settings
    first = spec.access_log if spec.access_log is not None else settings.access_log
    logs = (first, *(spec.more_logs or settings.more_logs))
    return [log for log in logs if log.path not in ("", "off")]


def _is_located(config: Config | None) -> bool:
    """Return whether JSON lines have the client's country and network."""
    return config is not None and bool(config.settings.geoip)


def _same_target(old: LogSpec, new: LogSpec) -> bool:
    """Return whether two logs have the same output, regardless of their lines."""
    alike = evolve(
        old,
        format=new.format,
        sample=new.sample,
        min_time=new.min_time,
        skip_empty=new.skip_empty,
        request_ids=new.request_ids,
        conditions=new.conditions,
    )
    return bool(alike == new)
