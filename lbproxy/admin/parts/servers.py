"""CONTROL. Servers: their state, and run-time changes by operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from difflib import get_close_matches
from typing import Any

from attrs import asdict
from twisted.logger import Logger

from lbproxy.admin.auth import Role
from lbproxy.admin.route import PAGE, APICall, APIError, APIRoute, Column, Panel, Part, find, paged
from lbproxy.admin.schema import (
    BOOLEAN,
    COUNT,
    NUMBER,
    SCALAR,
    STRING,
    array,
    enum,
    integer,
    mapping,
    object_,
    page,
    string,
)
from lbproxy.admin.view import AdminView
from lbproxy.balance.server import AdminState, State
from lbproxy.config.build import parse_server
from lbproxy.config.errors import ConfigErrors
from lbproxy.model import Where
from lbproxy.observe.snapshot import server_snapshot

__all__ = ["IN_STATE", "PART"]

IN_STATE = 1000
"""Maximum number of servers of one backend in the state. Those of a larger one are read in
pages.
"""

_log = Logger()

_STATES = tuple(state.value for state in State)
_SERVER = object_(
    {
        "name": STRING,
        "backend": STRING,
        "state": enum("state for traffic", *_STATES),
        "admin": enum("state set by the operator", *(state.value for state in AdminState)),
        "healthy": BOOLEAN,
        "note": STRING,
        "weight": COUNT,
        "share": {**NUMBER, "description": "part of the weight in use: slow start, agent"},
        "backup": BOOLEAN,
        "active": COUNT,
        "maxconn": COUNT,
        "idle": COUNT,
        "address": STRING,
        "origin": STRING,
        "addresses": array(STRING),
        "unusable": array(STRING),
        "picked": COUNT,
        "ok": COUNT,
        "failed": COUNT,
        "retried": COUNT,
        "connects": COUNT,
        "connect_errors": COUNT,
        "reused": COUNT,
        "bytes_in": COUNT,
        "bytes_out": COUNT,
        "probes_ok": COUNT,
        "probes_failed": COUNT,
        "downs": COUNT,
    },
    {"since_s": NUMBER},
)
_SERVER["additionalProperties"] = SCALAR  # fields of features
_CHANGE = object_(
    {},
    {
        "weight": integer("share of the traffic; 0: no new traffic", 0, 1_000_000),
        "maxconn": integer(
            "maximum number of concurrent requests or connections; 0: no limit", 0, 10_000_000
        ),
        "admin": enum(
            "ready: health decides; drain: running work may finish; maint: no checks either",
            *(state.value for state in AdminState),
        ),
    },
)
_ADD = object_(
    {"server": string("a line as in `servers`: c 10.0.0.3:8000 weight=2", 4000)},
)
_DRAIN = object_(
    {
        "backend": STRING,
        "server": STRING,
        "state": STRING,
        "sessions": COUNT,
        "stickies": {"type": ["integer", "null"]},
        "since_s": NUMBER,
        "done": BOOLEAN,
    }
)
_WAIT = object_(
    {}, {"timeout_s": integer("maximum wait in seconds", 0, 86_400)}, doc="maximum wait in seconds"
)


def row(backend: Any, server: Any) -> dict[str, Any]:
    """Return a server as shown in the state, except for the time in its state."""
    found = server_snapshot(server)
    found["backend"] = backend.name
    found["admin"] = server.admin.value
    found["healthy"] = server.healthy
    found["origin"] = server.origin
    found["address"] = str(server.spec.target)
    found["idle"] = server.connector.idle
    return found


def _full(backend: Any, server: Any) -> dict[str, Any]:
    since = max(0.0, backend.wheel.now() - server.since)
    return {**row(backend, server), "since_s": round(since, 3)}


def _state(admin: AdminView) -> Iterator[tuple[str, Any]]:
    for backend in tuple(admin.balancer.backends.values()):
        if len(backend.group.servers) > IN_STATE:
            continue
        for server in tuple(backend.group.servers.values()):
            yield f"{backend.name}/{server.name}", row(backend, server)


def _pick(call: APICall) -> tuple[Any, Any]:
    """Return the backend and the server in the path."""
    backend = find(call.balancer.backends, call.path["backend"], "backend")
    name = call.path["server"]
    server = backend.group.servers.get(name)
    if server is None:
        near = [
            f"{backend.name}/{one}"
            for one in get_close_matches(name[:100], backend.group.servers, 3, 0.4)
        ]
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise APIError(404, f"backend {backend.name!r} has no server {name[:100]!r}{hint}", near)
    return backend, server


def _list(call: APICall) -> Any:
    wanted, state = call.query.get("backend"), call.query.get("state")
    backends = call.balancer.backends
    owners = list(backends.values()) if wanted is None else [find(backends, wanted, "backend")]
    found = [
        (backend, server)
        for backend in owners
        for server in backend.group.servers.values()
        if state is None or server.state.value == state
    ]
    return paged(call, found, lambda item: _full(*item))


def _one(call: APICall) -> Any:
    return _full(*_pick(call))


def _change(call: APICall) -> Any:
    backend, server = _pick(call)
    balancer, body, where = call.balancer, call.body, (backend.name, server.name)
    if not body:
        raise APIError(400, "no change requested: set weight, maxconn or admin")
    before = _settings(server)
    if "weight" in body:
        balancer.set_weight(*where, body["weight"])
    if "maxconn" in body:
        balancer.set_maxconn(*where, body["maxconn"])
    if "admin" in body:
        verbs: dict[str, Callable[..., Any]] = {
            "ready": balancer.ready,
            "drain": balancer.drain,
            "maint": balancer.maint,
        }
        verbs[body["admin"]](*where)
    after = _settings(server)
    call.changes.extend(
        f"{backend.name}/{server.name} {what}{before[what]} -> {after[what]}"
        for what in after
        if after[what] != before[what]
    )
    return _full(backend, server)


def _settings(server: Any) -> dict[str, Any]:
    """Return the settings that :func:`_change` can change, by their words in events."""
    return {
        "weight ": server.full_weight,
        "maxconn ": server.maxconn,
        "": server.admin.value,
    }


def _add(call: APICall) -> Any:
    backend = find(call.balancer.backends, call.path["backend"], "backend")
    line = call.body["server"]
    try:
        names_file = parse_server(line, base_dir=".", where=Where("<server>")).ca != ""
        server = _added(call.balancer, backend.name, line, names_file)
    except ConfigErrors as errors:
        words = "; ".join(str(one).partition(": servers: ")[2] or str(one) for one in errors.errors)
        raise APIError(400, words) from None
    except ValueError as error:
        raise APIError(409, str(error)) from None
    call.changes.append(f"{backend.name}/{server.name} added ({server.spec.target})")
    return _full(backend, server)


def _added(balancer: Any, backend: str, line: str, names_file: bool) -> Any:
    """Add a server. If its line contains a file name, the error does not reveal whether the file
    exists.
    """
    try:
        return balancer.add_server(backend, line)
    except ConfigErrors as errors:
        if not names_file:
            raise
        _log.warn("admin: cannot add a server to {name}: {errors}", name=backend, errors=errors)
        raise APIError(400, "tls: the files of this server cannot be used; see the log") from None


def _remove(call: APICall) -> Any:
    backend, server = _pick(call)
    if len(backend.group.servers) == 1:
        raise APIError(
            409, f"{backend.name}/{server.name} is the backend's last server; set it to maint"
        )
    call.balancer.remove_server(backend.name, server.name)
    left = server.session_count
    call.changes.append(f"{backend.name}/{server.name} removed with {left} sessions left")
    return {"removed": f"{backend.name}/{server.name}", "sessions": left}


def _kill(call: APICall) -> Any:
    backend, server = _pick(call)
    killed = call.balancer.kill_sessions(backend.name, server.name)
    call.changes.append(f"{backend.name}/{server.name} {killed} sessions ended")
    return {"killed": killed}


def _drain(call: APICall) -> Any:
    return _drained(call.balancer.drain_status(*_names(*_pick(call))))


def _wait(call: APICall) -> Awaitable[Any]:
    seconds = call.body.get("timeout_s", 60)
    done = call.balancer.drained(*_names(*_pick(call)), seconds)
    return done.addCallback(_drained)  # type: ignore[no-any-return]


def _names(backend: Any, server: Any) -> tuple[str, str]:
    return backend.name, server.name


def _drained(status: Any) -> dict[str, Any]:
    found = asdict(status)
    found["state"] = status.state.value
    found["since_s"] = round(status.since_s, 3)
    found["done"] = status.done
    return found


_PATH = "/api/v1/backends/{backend}/servers"
_ONE = _PATH + "/{server}"

PART = Part(
    "servers",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/servers",
            Role.READ,
            "All servers, or those of one backend or in one state",
            _list,
            page(_SERVER),
            query={
                "backend": string("only for this backend"),
                "state": enum("only in this state", *_STATES),
                **PAGE,
            },
        ),
        APIRoute("GET", _ONE, Role.READ, "One server", _one, _SERVER),
        APIRoute("POST", _PATH, Role.WRITE, "Add a server", _add, _SERVER, body=_ADD),
        APIRoute(
            "PATCH",
            _ONE,
            Role.WRITE,
            "Change a server at run time",
            _change,
            _SERVER,
            body=_CHANGE,
        ),
        APIRoute(
            "DELETE",
            _ONE,
            Role.WRITE,
            "Remove a server; its running sessions finish",
            _remove,
            object_({"removed": STRING, "sessions": COUNT}),
        ),
        APIRoute(
            "POST",
            _ONE + "/kill",
            Role.WRITE,
            "End all sessions of a server",
            _kill,
            object_({"killed": COUNT}),
        ),
        APIRoute(
            "GET", _ONE + "/drain", Role.READ, "Sessions that still run on a server", _drain, _DRAIN
        ),
        APIRoute(
            "POST",
            _ONE + "/drain/wait",
            Role.READ,
            "Wait until no session is left on a drained server",
            _wait,
            _DRAIN,
            body=_WAIT,
        ),
    ),
    state=_state,
    schema=mapping(_SERVER),
    panels=(
        Panel(
            "Servers",
            "servers",
            (
                Column("backend", "Backend"),
                Column("name", "Server"),
                Column("state", "State"),
                Column("note", "Last check"),
                Column("weight", "Weight", "count"),
                Column("active", "Active", "count"),
                Column("picked", "Picked", "rate"),
                Column("failed", "Failed", "count"),
                Column("bytes_out", "Out", "rate"),
            ),
        ),
    ),
)
