"""CONTROL. Finds configurations that ``check`` can judge without importing Twisted.

``lbproxy check`` makes every object of a configuration, because some mistakes appear only then: a
certificate that cannot be read, a filter that refuses its options.  Most of its time is the import
of Twisted and OpenSSL, though.  A configuration is settled if it uses only keys that reading
checks completely, and if the objects without Twisted (routers, balancers, built-in filters, probes)
can be made.  Everything else needs the assembly, so a new key is never checked too little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from lbproxy.decide.path import DryBackend, DryFrontend, dry_env
from lbproxy.http.conditional import make_filter
from lbproxy.http.filter import compile_phases
from lbproxy.logs.trouble import trouble_with
from lbproxy.model import (
    BackendSpec,
    Config,
    FrontendSpec,
    LogSpec,
    PluginSpec,
)

__all__ = ["is_settled"]

Judge = Callable[[Any], bool]

_COMPLETE = frozenset(
    (
        *("backend", "bool", "choice", "duration", "flag", "hidden", "int", "name", "percent"),
        *("rate", "size", "size_or_none", "string", "target", "workers"),
        *("list:choice", "list:client", "list:method", "list:network", "list:retry"),
    )
)
"""Kinds of values of which reading finds every mistake."""

_PROBES = ("lbproxy.probes.http", "lbproxy.probes.tcp")


def is_settled(config: Config) -> bool:
    """Return whether nothing can be wrong with ``config``, which was read without error."""
    if not _fits(config, _CONFIG):
        return False
    logs: list[LogSpec | None] = [config.settings.access_log, *config.settings.more_logs]
    try:
        for frontend in config.frontends:
            _try_filters(frontend)
            DryFrontend(frontend)
            logs += [frontend.access_log, *frontend.more_logs]
        for backend in config.backends:
            _try_filters(backend)
            DryBackend(backend)
            if backend.check is not None:
                probe = backend.check.probe
                probe.cls(probe.options, dry_env(backend.name))
    except Exception:  # the assembly finds it again, and words it
        return False
    return not any(trouble_with(log.path) for log in logs if log is not None)


def _try_filters(spec: FrontendSpec | BackendSpec) -> None:
    for plugin in spec.filters:
        compile_phases([make_filter(plugin, dry_env(spec.name))])


def _fits(spec: Any, special: Mapping[str, Judge]) -> bool:
    """Return whether every key of ``spec`` is as by default, or complete, or ``special`` allows it.

    Keys that features add to the class of :mod:`lbproxy.model` must have their defaults.
    """
    own = next(base for base in type(spec).__mro__ if base.__module__.startswith("lbproxy.model"))
    for one in attrs.fields(type(spec)):
        value = getattr(spec, one.name)
        if value == one.default or one.name == "where":
            continue
        judge = special.get(one.name)
        if judge is not None:
            if not judge(value):
                return False
        elif not hasattr(own, one.name) or one.metadata.get("kind") not in _COMPLETE:
            return False
    return True


def _each(special: Mapping[str, Judge]) -> Judge:
    return lambda values: all(_fits(value, special) for value in values)


def _no(value: Any) -> bool:
    return False


def _built_in(*modules: str) -> Judge:
    return lambda plugin: (
        isinstance(plugin, PluginSpec) and plugin.cls.__module__.startswith(modules)
    )


def _log(log: LogSpec | None) -> bool:
    return log is None or not log.conditions


_FILTER = _built_in("lbproxy.http.")
_CHECK = {"probe": _built_in(*_PROBES), "tls": _no}
_SERVER = {"tls": _no, "check_address": lambda address: True}
_LISTEN = {"tls": _no, "endpoint": lambda text: text.startswith(("tcp:", "unix:"))}
_ADMIN = _LISTEN
_SETTINGS: dict[str, Judge] = {
    "access_log": _log,
    "more_logs": lambda logs: all(map(_log, logs)),
    "admin": _each(_ADMIN),
    "guard_public": _no,
    "transport": _no,
    "state": lambda path: True,
}
_FRONTEND: dict[str, Judge] = {
    "listen": _each(_LISTEN),
    "routes": lambda routes: True,
    "filters": lambda filters: all(map(_FILTER, filters)),
    "access_log": _log,
    "more_logs": lambda logs: all(map(_log, logs)),
}
_BACKEND: dict[str, Judge] = {
    "balance": _built_in("lbproxy.balance."),
    "servers": _each(_SERVER),
    "filters": lambda filters: all(map(_FILTER, filters)),
    "check": lambda check: _fits(check, _CHECK),
    "passive": lambda passive: True,
    "guard": _no,
}
_CONFIG: dict[str, Judge] = {
    "settings": lambda settings: _fits(settings, _SETTINGS),
    "frontends": _each(_FRONTEND),
    "backends": _each(_BACKEND),
    "file": lambda name: True,
    "sources": lambda names: True,
    "places": lambda places: True,
}
