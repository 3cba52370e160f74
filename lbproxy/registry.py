"""CONTROL. Finds the class of a plugin by name, and loads configurations with it.

:mod:`lbproxy.service` and the command line call it. A name is searched among the built-in ones,
then among entry points (``lbproxy.balancers``, ``lbproxy.filters``, ``lbproxy.probes``), then among
the objects of :mod:`lbproxy.twistedplugins`. ``path/to/file.py:Name`` and ``package.module:Name``
name a class directly; for a probe also an ``async def``.

Importing this module does not import Twisted, so that commands which only read a configuration
start quickly.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbproxy import __version__
from lbproxy.config import build
from lbproxy.config.errors import ConfigError, ConfigErrors, PluginError
from lbproxy.config.model import Config, ServerSpec, Where
from lbproxy.config.plugins import Resolve
from lbproxy.entrypoints import installed
from lbproxy.features import declare_keys
from lbproxy.pluginload import import_object, load_file, member

__all__ = [
    "BUILTIN",
    "IPluginClass",
    "PluginClass",
    "UnknownPlugin",
    "known",
    "load_config",
    "parse_config",
    "parse_server_line",
    "reference",
    "reference_as_data",
    "refuse_nothing",
    "resolve",
    "resolver",
    "schema",
]

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from lbproxy.config.reference import Format
    from lbproxy.twistedplugins import IPluginClass, PluginClass


def __getattr__(name: str) -> Any:
    """Import Twisted's plugin system on first use, because reading a configuration does not need
    it.
    """
    if name in ("IPluginClass", "PluginClass"):
        from lbproxy import twistedplugins

        return getattr(twistedplugins, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _warn(text: str, **values: Any) -> None:
    from twisted.logger import Logger

    Logger(namespace=__name__).warn(text, **values)


BUILTIN: dict[str, dict[str, str]] = {
    "balancer": {
        "roundrobin": "lbproxy.balance.roundrobin:RoundRobin",
        "leastconn": "lbproxy.balance.leastconn:LeastConn",
        "p2c": "lbproxy.balance.p2c:PowerOfTwo",
        "random": "lbproxy.balance.random_:Random",
        "first": "lbproxy.balance.first:First",
        "hash": "lbproxy.balance.hash_:Hash",
        "ewma": "lbproxy.balance.ewma:Ewma",
    },
    "sticky": {
        "cookie": "lbproxy.balance.stickycookie:CookieSticky",
        "prefix": "lbproxy.balance.stickycookie:PrefixSticky",
        "learn": "lbproxy.balance.stickycookie:LearnSticky",
        "source": "lbproxy.balance.sticky:SourceSticky",
        "header": "lbproxy.balance.sticky:HeaderSticky",
        "sni": "lbproxy.balance.sticky:SNISticky",
    },
    "filter": {
        "set-header": "lbproxy.http.headerfilter:SetHeader",
        "add-header": "lbproxy.http.headerfilter:AddHeader",
        "remove-header": "lbproxy.http.headerfilter:RemoveHeader",
        "rewrite": "lbproxy.http.rewrite:Rewrite",
        "redirect": "lbproxy.http.redirect:Redirect",
        "reply": "lbproxy.http.reply:ReplyFilter",
    },
    "probe": {
        "tcp": "lbproxy.probes.tcp:TcpProbe",
        "http": "lbproxy.probes.http:HttpProbe",
        "tls": "lbproxy.probes.tls:TlsProbe",
        "pgsql": "lbproxy.probes.pgsql:PgsqlProbe",
        "mysql": "lbproxy.probes.mysql:MysqlProbe",
        "redis": "lbproxy.probes.redis:RedisProbe",
        "memcached": "lbproxy.probes.memcached:MemcachedProbe",
        "exec": "lbproxy.probes.exec_:ExecProbe",
        "smtp": "lbproxy.probes.smtp:SmtpProbe",
        "amqp": "lbproxy.probes.amqp:AmqpProbe",
        "mqtt": "lbproxy.probes.mqtt:MqttProbe",
        "nats": "lbproxy.probes.nats:NatsProbe",
    },
}
"""kind -> name -> ``module:Class``, imported when first used."""

_GROUP = {"sticky": "lbproxy.stickiness"}
"""Entry point groups that are not ``lbproxy.KINDs``."""

_METHOD = {"balancer": "pick", "sticky": "belongs", "probe": "check"}
"""The method that a class of each kind needs; every method of a filter is optional."""


class UnknownPlugin(LookupError):
    """No balancer, filter or probe has this name; ``known`` has the existing names."""

    def __init__(self, kind: str, name: str, names: tuple[str, ...]) -> None:
        super().__init__(f"unknown {kind} {name!r}")
        self.known = names


@lru_cache(maxsize=8)
def _entry_points(kind: str) -> dict[str, EntryPoint]:
    """Return the entry points of one kind. One with a built-in name is ignored with a warning."""
    found: dict[str, EntryPoint] = {}
    for point in installed(_GROUP.get(kind, f"lbproxy.{kind}s")):
        if point.name in BUILTIN[kind]:
            _warn(
                "{kind} {name!r} of {value} is not used: there is a built-in one of this name",
                kind=kind, name=point.name, value=point.value,
            )  # fmt: skip
        else:
            found.setdefault(point.name, point)
    return found


def _twisted_plugins(kind: str) -> dict[str, str]:
    from lbproxy.twistedplugins import targets

    return targets(kind)


def known(kind: str) -> tuple[str, ...]:
    """Return the names of one kind: built-in names first, then names of plugins in order."""
    others = {*_entry_points(kind), *_twisted_plugins(kind)} - set(BUILTIN[kind])
    return (*BUILTIN[kind], *sorted(others))


def resolve(kind: str, name: str, base_dir: str = ".") -> Any:
    """Return the class (or for "predicate" the function) ``name`` of kind "balancer", "filter" or
    "probe".

    A file's path is relative to ``base_dir``. Raises :class:`UnknownPlugin`, or
    :class:`lbproxy.config.errors.PluginError` for one that cannot be loaded.
    """
    return _checked(kind, name, _find(kind, name, base_dir))


def _find(kind: str, name: str, base_dir: str) -> Any:
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        return member(load_file(Path(base_dir, path)), attribute, name)
    if colon:
        return import_object(name)
    if kind == "predicate":
        raise PluginError(f"{name!r} is not FILE.py:FUNCTION or MODULE:FUNCTION")
    points = _entry_points(kind)
    if name in BUILTIN[kind]:
        return import_object(BUILTIN[kind][name])
    if name in points:
        return import_object(points[name].value)
    target = _twisted_plugins(kind).get(name)
    if target is not None:
        return import_object(target)
    raise UnknownPlugin(kind, name, known(kind))


def _checked(kind: str, name: str, found: Any) -> Any:
    if kind == "predicate":
        if not callable(found):
            raise PluginError(f"{name!r} is not a function")
        return found
    if kind == "probe" and inspect.iscoroutinefunction(found):
        from lbproxy.probes.function import function_probe

        try:
            return function_probe(found, name)
        except ValueError as error:
            raise PluginError(str(error)) from None
    if not isinstance(found, type):
        what = "neither a class nor an async function" if kind == "probe" else "not a class"
        raise PluginError(f"{name!r} is {what}")
    method = _METHOD.get(kind)
    if method and not callable(getattr(found, method, None)):
        raise PluginError(f"{name!r} is not a {kind}: it has no method {method!r}")
    missing = _unwritten(kind, found)
    if missing:
        raise PluginError(f"{name!r} does not say how: it needs a method {missing}")
    return found


def _unwritten(kind: str, found: Any) -> str:
    """Return the abstract method that a subclass does not implement, or ""."""
    if kind == "balancer":
        from lbproxy.balance.base import Balancer

        return "'pick'" if found.pick is Balancer.pick else ""
    if kind == "sticky":
        from lbproxy.balance.sticky import Sticky, TableSticky

        if not issubclass(found, Sticky):
            raise PluginError(f"{found.__name__!r} does not extend lbproxy.balance.sticky.Sticky")
        if found.belongs is Sticky.belongs:
            return "'belongs'"
        keyed = issubclass(found, TableSticky) and found.belongs is TableSticky.belongs
        return "'key'" if keyed and found.key is TableSticky.key else ""
    if kind == "probe":
        from lbproxy.probes.base import Probe

        base = issubclass(found, Probe) and found.check is Probe.check
        return "'talk' or 'check'" if base and found.talk is Probe.talk else ""
    return ""


def resolver(base_dir: str = ".") -> Resolve:
    """Return :func:`resolve` for the folder of one configuration."""

    def resolve_here(kind: str, name: str) -> Any:
        return resolve(kind, name, base_dir)

    return resolve_here


def load_config(
    path: str | os.PathLike[str],
    *,
    env: Mapping[str, str] | None = None,
    files: build.Files = build.DISK,
) -> Config:
    """Return the configuration in a file.

    Raises :class:`lbproxy.config.errors.ConfigErrors` with all errors.
    """
    declare_keys()
    folder = str(Path(path).absolute().parent)
    return build.load(path, resolve=resolver(folder), env=env, files=files)


def parse_config(
    text: str,
    file: str = "<text>",
    base_dir: str = ".",
    *,
    env: Mapping[str, str] | None = None,
    files: build.Files = build.DISK,
) -> Config:
    """Return the configuration in a text. Relative paths start at ``base_dir``.

    Raises like :func:`load_config`.
    """
    declare_keys()
    return build.parse(text, file, base_dir, resolve=resolver(base_dir), env=env, files=files)


def refuse_nothing(config: Config) -> Config:
    """Return ``config`` if it has a frontend.

    Raises ConfigErrors otherwise, because an empty or half-written file is a mistake.
    """
    if not config.frontends:
        message = "serves nothing: there is no [frontend NAME]"
        raise ConfigErrors([ConfigError(Where(config.file), "", "", message)])
    return config


def parse_server_line(line: str, config: Config) -> ServerSpec:
    """Return the server for a line as in ``servers``, checked against the running ``config``.
    Raises ConfigErrors.
    """
    folder = "." if config.file == "<text>" else str(Path(config.file).absolute().parent)
    where = Where("<server>")
    spec = build.parse_server(line, base_dir=folder, where=where)
    names = tuple(one.name for one in config.certificates)
    errors = []
    if spec.certificate and spec.certificate not in names:
        message = f"there is no certificate {spec.certificate!r}"
        errors.append(ConfigError(where, "", "servers", message, spec.certificate, names))
    if spec.ca and not Path(spec.ca).exists():
        message = f"ca: no such file: {spec.ca}"
        errors.append(ConfigError(where, "", "servers", message, spec.ca))
    if errors:
        raise ConfigErrors(errors)
    return spec


def reference(form: Format = "rst") -> str:
    """Return the configuration reference with every installed plugin that can be loaded."""
    from lbproxy.config.reference import render

    return render(form, _loadable())


def reference_as_data() -> dict[str, Any]:
    """Return the same as plain JSON types."""
    from lbproxy.config.schema import reference_data

    plugins = _loadable()
    return reference_data(__version__, plugins)


def schema() -> dict[str, Any]:
    """Return a JSON Schema of a configuration, see :func:`lbproxy.config.schema.config_schema`."""
    from lbproxy.config.schema import config_schema

    declare_keys()
    return config_schema(__version__)


def _loadable() -> dict[str, list[Any]]:
    """Return every plugin by its kind. Those that cannot be loaded are logged."""
    declare_keys()
    plugins: dict[str, list[Any]] = {}
    for kind in BUILTIN:
        plugins[kind] = []
        for name in known(kind):
            try:
                plugins[kind].append(resolve(kind, name))
            except PluginError as error:
                _warn(
                    "{kind} {name!r} is not in the reference: {error}",
                    kind=kind,
                    name=name,
                    error=error,
                )
    return plugins
