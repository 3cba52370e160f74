"""CONTROL. Tracks: their counts by key, and changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import PAGE, APICall, APIRoute, Column, Panel, Part, find, paged
from lbproxy.admin.schema import (
    COUNT,
    NUMBER,
    STRING,
    array,
    integer,
    mapping,
    object_,
    page,
    string,
)
from lbproxy.admin.view import AdminView
from lbproxy.proxy.features.tracking.feature import Tracking
from lbproxy.proxy.features.tracking.track import Track
from lbproxy.proxy.slices import in_slices

__all__ = ["PART"]

_MOST = 1_000_000_000_000
_TRACK = object_({"name": STRING, "key": STRING, "count": STRING, "window": NUMBER, "keys": COUNT})
_ROW = object_({"key": STRING, "count": NUMBER})
_KEY = string("the key: an address, or the text that 'key' gives", 1000)


def _features(admin: AdminView) -> list[Tracking]:
    return list(Tracking.among(admin.balancer.frontends).values())


def _tracks(admin: AdminView) -> dict[str, Track]:
    return {name: track for one in _features(admin) for name, track in one.tracks.items()}


def _named(admin: AdminView, name: str) -> set[str]:
    """Return the keys whose names are stored: up to 1,000 of each process."""
    return {key for one in _features(admin) if name in one.tracks for key in one.known_keys(name)}


def _known(admin: AdminView, name: str) -> set[str]:
    """Return the keys whose names are stored and whose count is not zero."""
    track = _tracks(admin)[name]
    return {key for key in _named(admin, name) if track.count(key)}


async def _counts(admin: AdminView, name: str) -> dict[str, float]:
    """Return the counts of the keys whose names are stored. Reads them in slices."""
    track, found = _tracks(admin)[name], {}

    def steps() -> Iterator[None]:
        for key in _named(admin, name):
            count = track.count(key)
            if count:
                found[key] = count
            yield

    await in_slices(admin.reactor, steps())
    return found


def _facts(admin: AdminView) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "name": name,
            "key": track.spec.key,
            "count": track.spec.count,
            "window": track.spec.window,
            "keys": len(_known(admin, name)),
        }
        for name, track in _tracks(admin).items()
    }


def _every(call: APICall) -> Any:
    return list(_facts(call.admin).values())


def _one(call: APICall) -> Track:
    found: Track = find(_tracks(call.admin), call.path["track"], "track")
    return found


def _row(track: Track, key: str) -> dict[str, Any]:
    return {"key": track.key.shown(key), "count": track.count(key)}


async def _rows(call: APICall) -> Any:
    """Return the keys with the highest counts first, or the requested one."""
    track = _one(call)
    if call.query.get("key"):
        keys = [track.written(call.query["key"])]
    else:
        known = await _counts(call.admin, track.spec.name)
        keys = sorted(known, key=lambda key: (-known[key], key))
    return paged(call, keys, lambda key: _row(track, key))


def _set(call: APICall) -> Any:
    track = _one(call)
    key = track.written(call.body["key"])
    track.set(key, float(call.body["count"]))
    call.changes.append(f"track {track.spec.name}: {track.key.shown(key)} is {call.body['count']}")
    return _row(track, key)


async def _clear(call: APICall) -> Any:
    track = _one(call)
    keys = await _counts(call.admin, track.spec.name)

    def steps() -> Iterator[None]:
        for key in keys:
            track.set(key, 0.0)
            yield

    await in_slices(call.admin.reactor, steps())
    call.changes.append(f"track {track.spec.name}: {len(keys)} keys cleared")
    return {"cleared": len(keys)}


PART = Part(
    "tracks",
    routes=(
        APIRoute(
            "GET", "/api/v1/tracks", Role.READ, "Every track and its keys", _every, array(_TRACK)
        ),
        APIRoute(
            "GET",
            "/api/v1/tracks/{track}",
            Role.READ,
            "The most recently counted keys of a track, the highest count first",
            _rows,
            page(_ROW),
            query={"key": string("only this key: an address, or the text of the key"), **PAGE},
        ),
        APIRoute(
            "POST",
            "/api/v1/tracks/{track}/set",
            Role.WRITE,
            "Set the count of a key, for a window that starts now; 0 deletes it",
            _set,
            _ROW,
            body=object_({"key": _KEY, "count": integer("the count", 0, _MOST)}),
        ),
        APIRoute(
            "POST",
            "/api/v1/tracks/{track}/clear",
            Role.WRITE,
            "Delete the counts of all shown keys",
            _clear,
            object_({"cleared": COUNT}),
        ),
    ),
    state=_facts,
    schema=mapping(_TRACK),
    panels=(
        Panel(
            "Tracks",
            "tracks",
            (
                Column("name", "Track"),
                Column("count", "Counts"),
                Column("key", "Key"),
                Column("window", "Window", "seconds"),
                Column("keys", "Keys", "count"),
            ),
        ),
    ),
)
