"""The description of the API is what is served: every route is called, and answers as described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lbproxy.admin.parts import PARTS
from lbproxy.cors.keys import KeyRecord, KeyRing, hashed

from . import kit
from .kit import AdminClient

ROUTES = [route for part in PARTS for route in part.routes]

NAMES = {
    "backend": "app",
    "server": "a",
    "frontend": "web",
    "id": "1-2",
    "cache": "main",
    "list": "office",
    "proxy": "cors",
    "key": "app",
    "track": "hits",
}
BODIES: dict[str, Any] = {
    "POST /api/v1/backends/{backend}/servers": {"server": "c 10.0.0.3:8000 weight=2"},
    "PATCH /api/v1/backends/{backend}/servers/{server}": {
        "weight": 2,
        "maxconn": 9,
        "admin": "drain",
    },
    "POST /api/v1/backends/{backend}/servers/{server}/drain/wait": {"timeout_s": 0},
    "POST /api/v1/caches/{cache}/why": {"url": "http://x/"},
    "POST /api/v1/challenge": {"setting": "auto"},
    "POST /api/v1/lists/{list}/add": {"address": "192.0.2.0/24"},
    "POST /api/v1/frontends/{proxy}/keys": {"name": "new", "requests": "5/1h"},
    "POST /api/v1/lists/{list}/remove": {"address": "192.0.2.0/24"},
    "POST /api/v1/bans/add": {"address": "192.0.2.7"},
    "POST /api/v1/bans/remove": {"address": "192.0.2.7"},
    "POST /api/v1/bans/import": {"bans": [{"ip": "192.0.2.7", "rule": "rude", "until": 1e9}]},
    "POST /api/v1/tracks/{track}/set": {"key": "192.0.2.7", "count": 3},
}
QUERIES = {
    "POST /api/v1/caches/{cache}/purge": "?all=true",
    "GET /api/v1/lists/{list}/contains": "?address=192.0.2.1",
    "GET /api/v1/bans/why": "?address=192.0.2.1",
}
MISSING = {"DELETE /api/v1/sessions/{id}", "GET /api/v1/refusals/{id}"}
"""There is none in a load balancer at rest: 404, as described."""


TEXT = kit.TEXT.replace("rebalance = tcp\n", "rebalance = tcp\nsticky = source\nmirror = static\n")
TEXT = TEXT.replace(
    "[frontend web]\n",
    "[cache main]\n\n[ban rude]\n\n[track hits]\n\n[list office]\naddresses = 10.1.0.0/16\n\n"
    "[frontend web]\ncache = main\ndeny = list:office\nbans = rude\n",
)
CORS = """
[frontend cors]
mode = corsproxy
listen = tcp:8090
keys = {path}
origins = https://app.example.com
"""


@contextmanager
def admin() -> Iterator[AdminClient]:
    """With something in every part of the state."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "keys.json"
        path.write_text(KeyRing([KeyRecord("app", hashed("secret"))]).dump())
        with kit.admin(TEXT + CORS.format(path=path)) as client:
            yield client


def described(client: AdminClient) -> Any:
    return client.get("openapi.json")


def test_it_lists_what_is_served() -> None:
    with admin() as client:
        paths = described(client)["paths"]
        listed = {(m.upper(), path) for path, methods in paths.items() for m in methods}
        assert listed == {(route.method, route.path) for route in ROUTES}
        ids = [one["operationId"] for methods in paths.values() for one in methods.values()]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_answers_as_described(route: Any) -> None:
    with admin() as client:
        document = described(client)
        client.lb.get("http://x/", frontend="web")
        path = route.path.format(**NAMES)
        key = f"{route.method} {route.path}"
        operation = document["paths"][route.path][route.method.lower()]
        if route.produces == "text/event-stream":
            raw = client.lb.connect(client.target)
            raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b"Content-Type: text/event-stream" in raw.take()
            return
        answer = client.ask(route.method, path + QUERIES.get(key, ""), BODIES.get(key))
        status = 404 if key in MISSING else 200
        assert answer.status == status, answer.data
        content = operation["responses"][str(status)]["content"]
        kind = answer.response.header("Content-Type").partition(";")[0]
        assert list(content) == [kind]
        if kind == "application/json":
            schema = {**content[kind]["schema"], "components": document["components"]}
            Draft202012Validator.check_schema(schema)
            Draft202012Validator(schema).validate(answer.data)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_says_what_its_errors_are(route: Any) -> None:
    with admin() as client:
        document = described(client)
        path = route.path.format(**dict.fromkeys(NAMES, "zzz"))
        operation = document["paths"][route.path][route.method.lower()]
        answer = client.ask(route.method, f"{path}?nothing=1")
        assert str(answer.status) in operation["responses"]
        assert answer.status in (400, 404)
        if route.names:
            body = BODIES.get(f"{route.method} {route.path}")
            answer = client.ask(route.method, path, body)
            assert answer.status == 404
            assert "404" in operation["responses"]


def test_the_state_is_as_its_parts_say() -> None:
    with admin() as client:
        client.lb.get("http://x/", frontend="web")
        state = client.get("state")
        for part in PARTS:
            if part.state is not None:
                Draft202012Validator(part.schema).validate(state[part.name])
        assert set(state) == {"at", *(part.name for part in PARTS if part.state is not None)}


def test_panels_show_what_the_state_has() -> None:
    with admin() as client:
        state = client.get("state")
        shown = {part.name: part for part in PARTS}
        for panel in client.get("panels")["panels"]:
            assert panel["rows"] in state
            row = shown[panel["rows"]].schema["additionalProperties"]["properties"]
            for column in panel["columns"]:
                assert column["key"] in row, f"{panel['title']}: {column['key']}"


def test_it_is_openapi_3_1() -> None:
    """As far as one can tell without the whole meta schema."""
    with admin() as client:
        document = described(client)
        assert document["openapi"] == "3.1.0"
        text = json.dumps(document)
        assert "NaN" not in text
        for path, methods in document["paths"].items():
            for operation in methods.values():
                names = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
                assert names == {part[1:-1] for part in path.split("/") if part.startswith("{")}
                for code, response in operation["responses"].items():
                    assert code.isdigit()
                    assert response["description"]
