"""The reference as data, and the JSON Schema of a configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lbproxy.config.dump import as_json
from lbproxy.config.options import label, option_fields
from lbproxy.config.sections import SECTIONS
from lbproxy.registry import load_config, parse_config, reference_as_data, schema
from tests.docs.pages import DOCS

jsonschema = pytest.importorskip("jsonschema")

ELSEWHERE = ("mariadb.ini", "postgresql.ini", "tls.ini")  # name files that are not here
EXAMPLES = sorted(path for path in (DOCS / "examples").glob("*.ini") if path.name not in ELSEWHERE)
TEXT = """\
[alerts]
repeat = 5m
[frontend web]
listen = tcp:8080
backend = app
[backend app]
servers = a 10.0.0.1:8000 weight=3
"""


@pytest.fixture(scope="module")
def validator() -> Any:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit_the_schema(path: Any, validator: Any) -> None:
    validator.validate(json.loads(json.dumps(as_json(load_config(path)))))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("backend", "queue", "many"),
        ("backend", "queue", -1),
        ("backend", "timeout_connect", "2s"),
        ("frontend", "mode", "smtp"),
        ("backend", "servers", {}),
    ],
)
def test_wrong_values_do_not_fit(section: str, key: str, value: Any, validator: Any) -> None:
    found = as_json(parse_config(TEXT, "lb.ini", "."))
    validator.validate(found)
    (one,) = found[SECTIONS[section].plural].values()
    assert key in one
    one[key] = value
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(found)


def test_the_data_has_every_key() -> None:
    found = json.loads(json.dumps(reference_as_data()))
    for section in SECTIONS.values():
        names = [key["name"] for key in found["sections"][section.kind]["keys"]]
        assert names == [label(f) for f in option_fields(section.spec).values()]
    maxconn = next(k for k in found["sections"]["lbproxy"]["keys"] if k["name"] == "maxconn")
    assert (maxconn["min"], maxconn["max"], maxconn["required"]) == (0, 10_000_000, False)
    assert {"server", "listen", "check"} <= set(found["lines"])
    assert "leastconn" in found["plugins"]["balancer"]
    assert any(one["forms"] for one in found["lines"].values())
