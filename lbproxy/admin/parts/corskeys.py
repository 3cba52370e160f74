"""CONTROL. API keys of CORS proxies: owners, usage, addition and revocation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import asdict
from twisted.internet.threads import deferToThreadPool

from lbproxy.admin.auth import Role
from lbproxy.admin.exposition import Family, labels
from lbproxy.admin.route import PAGE, APICall, APIError, APIRoute, Column, Panel, Part, find, paged
from lbproxy.admin.schema import COUNT, STRING, array, integer, mapping, object_, page, string
from lbproxy.admin.view import AdminView
from lbproxy.cors.keys import KeyRecord, KeyRing
from lbproxy.proxy.features.corsproxy.feature import CorsProxy
from lbproxy.proxy.features.corsproxy.keyedit import edit_keys, key_words, made_record, new_key

__all__ = ["PART"]

_NAMED = 100
"""Maximum number of keys of a frontend in the state and the metrics: the first ones of the file."""

_COUNTS = ("requests", "cached", "refused", "failed", "bytes_in", "bytes_out")
_USAGE = {
    "name": STRING,
    **dict.fromkeys((*_COUNTS, "first", "last", "running"), COUNT),
    "quotas": mapping(array(COUNT)),
}
_KEY = object_({"rules": array(STRING), **_USAGE})
_ORIGIN = object_(_USAGE)
_ADD = object_(
    {"name": string("letters, digits, ._@-", 64)},
    {
        "origins": array(string("an origin of web pages", 300)),
        "targets": array(string("HOST[:PORT][/PATH*]", 1000)),
        "methods": array(string("a method", 32)),
        "referrers": array(string("HOST[:PORT][/PATH*]", 1000)),
        "requests": string("quota, such as 1000/1h", 40),
        "bytes": string("quota, such as 1g/1d", 40),
        "concurrent": integer("concurrent calls", 0, 1_000_000),
        "expires": string("duration, such as 30d", 40),
    },
)


# -- what is shown -----------------------------------------------------------------------------


def _features(admin: AdminView) -> dict[str, CorsProxy]:
    return CorsProxy.among(admin.balancer.frontends)


def _with_keys(call: APICall) -> CorsProxy:
    name = call.path["proxy"]
    find(call.balancer.frontends, name, "frontend")
    feature = _features(call.admin).get(name)
    if feature is None or feature.file is None:
        raise APIError(409, f"frontend {name!r} has no file of keys in its configuration")
    return feature


def _records(feature: CorsProxy) -> tuple[KeyRecord, ...]:
    """Return the keys in the order of the file."""
    if feature.file is None:
        return ()
    feature.file.look()
    return feature.file.ring.records


def _key(feature: CorsProxy, record: KeyRecord) -> dict[str, Any]:
    return {"rules": key_words(record, feature.now()), **feature.usage_of_key(record)}


def _list(call: APICall) -> Any:
    feature = _with_keys(call)
    return paged(call, list(_records(feature)), lambda record: _key(feature, record))


def _origins(call: APICall) -> Any:
    name = call.path["proxy"]
    find(call.balancer.frontends, name, "frontend")
    feature = _features(call.admin).get(name)
    if feature is None:
        raise APIError(409, f"frontend {name!r} is not a CORS proxy")
    return paged(call, list(feature.origins), feature.usage_of_origin)


def _state(admin: AdminView) -> Iterator[tuple[str, Any]]:
    for name, feature in _features(admin).items():
        for record in _records(feature)[:_NAMED]:
            one = _key(feature, record)
            quotas = [f"{unit} {used}/{most}" for unit, (used, most) in one["quotas"].items()]
            yield (
                f"{name}/{record.name}",
                {"frontend": name, **one, "quotas": ", ".join(quotas)},
            )


# -- changes -----------------------------------------------------------------------------------


async def _edit(call: APICall, change: Callable[[KeyRing], KeyRing]) -> CorsProxy:
    """Change the file of keys in a thread."""
    feature = _with_keys(call)
    assert feature.file is not None
    reactor = call.admin.reactor
    path = Path(feature.file.path)
    try:
        await deferToThreadPool(reactor, reactor.getThreadPool(), edit_keys, path, change)
    except OSError as error:
        raise APIError(409, f"{path.name} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise APIError(409, str(error)) from None
    feature.file.look()
    return feature


async def _add(call: APICall) -> Any:
    feature, key, rules = _with_keys(call), new_key(), dict(call.body)
    try:
        record = made_record(rules.pop("name"), key, feature.now(), **rules)
    except ValueError as error:
        raise APIError(400, str(error)) from None
    feature = await _edit(call, lambda ring: ring.added(record))
    call.changes.append(f"key {record.name} of {call.path['proxy']} added")
    return {"key": key, **_key(feature, record)}


async def _revoke(call: APICall) -> Any:
    name = call.path["key"]
    find({one.name: one for one in _records(_with_keys(call))}, name, "key")

    def change(ring: KeyRing) -> KeyRing:
        try:
            return ring.revoked(name)
        except KeyError:
            raise ValueError(f"key {name!r} no longer exists") from None

    await _edit(call, change)
    call.changes.append(f"key {name} of {call.path['proxy']} revoked")
    return {"revoked": 1}


# -- metrics -----------------------------------------------------------------------------------


def _metrics(admin: AdminView) -> Iterator[Family]:
    features = _features(admin)
    if not features:
        return
    calls = [
        (labels(frontend=name, outcome=outcome.removeprefix("cors_")), float(count))
        for name, feature in features.items()
        for outcome, count in asdict(feature.counters).items()
    ]
    yield Family("lbproxy_corsproxy_calls", "counter", "Calls of CORS proxies, by outcome.", calls)
    by_key: list[tuple[str, float]] = []
    size: list[tuple[str, float]] = []
    for name, feature in features.items():
        for record in _records(feature)[:_NAMED]:
            usage = feature.usage_of_key(record)
            for outcome in _COUNTS[:4]:
                where = labels(frontend=name, key=record.name, outcome=outcome)
                by_key.append((where, float(usage[outcome])))
            for way in ("in", "out"):
                where = labels(frontend=name, key=record.name, direction=way)
                size.append((where, float(usage[f"bytes_{way}"])))
    yield Family(
        "lbproxy_corsproxy_key_calls",
        "counter",
        "Calls by key and outcome, of the first 100 keys of each file; kept over restarts.",
        by_key,
    )
    yield Family(
        "lbproxy_corsproxy_key_bytes",
        "counter",
        "Bytes of bodies by key and direction; kept over restarts.",
        size,
    )


_ROW = {**_USAGE, "frontend": STRING, "rules": array(STRING), "quotas": STRING}

PART = Part(
    "corskeys",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/frontends/{proxy}/keys",
            Role.READ,
            "The API keys of a CORS proxy, their rules and their usage",
            _list,
            page(_KEY),
            query=PAGE,
        ),
        APIRoute(
            "POST",
            "/api/v1/frontends/{proxy}/keys",
            Role.WRITE,
            "Add an API key to the file; only this response contains the key",
            _add,
            object_({"key": STRING, "rules": array(STRING), **_USAGE}),
            body=_ADD,
        ),
        APIRoute(
            "DELETE",
            "/api/v1/frontends/{proxy}/keys/{key}",
            Role.WRITE,
            "Revoke an API key; all processes see it within 2 seconds",
            _revoke,
            object_({"revoked": COUNT}),
        ),
        APIRoute(
            "GET",
            "/api/v1/frontends/{proxy}/origins",
            Role.READ,
            "The listed origins of a CORS proxy, with their quotas and usage",
            _origins,
            page(_ORIGIN),
            query=PAGE,
        ),
    ),
    state=_state,
    schema=mapping(object_(_ROW)),
    metrics=_metrics,
    panels=(
        Panel(
            "API keys",
            "corskeys",
            (
                Column("name", "Key"),
                Column("frontend", "Frontend"),
                Column("rules", "Rules"),
                Column("requests", "Calls", "count"),
                Column("refused", "Refused", "count"),
                Column("failed", "Failed", "count"),
                Column("running", "Running", "count"),
                Column("bytes_in", "In", "bytes"),
                Column("bytes_out", "Out", "bytes"),
                Column("quotas", "Quotas"),
                Column("last", "Last call", "time"),
            ),
        ),
    ),
)
