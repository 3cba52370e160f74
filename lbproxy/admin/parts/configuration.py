"""CONTROL. The configuration that is in effect, without its secrets."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIRoute, Part
from lbproxy.admin.schema import ANY, STRING, Schema, mapping, object_
from lbproxy.config.dump import as_json
from lbproxy.config.sections import SECTIONS
from lbproxy.features import declare_keys

__all__ = ["PART"]


def _config(call: APICall) -> Any:
    return as_json(call.balancer.config, mask=True)


def _others() -> dict[str, Schema]:
    """Return the schemas of the sections of features."""
    declare_keys()
    return {one.plural: mapping(ANY) for one in SECTIONS.values() if not one.field and one.plural}


PART = Part(
    "config",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/config",
            Role.READ,
            "The configuration in effect, defaults filled in and secrets masked; durations in "
            "seconds, sizes in bytes",
            _config,
            object_(
                {
                    "file": STRING,
                    "lbproxy": mapping(ANY),
                    "frontends": mapping(ANY),
                    "backends": mapping(ANY),
                    "certificates": mapping(ANY),
                    "alerts": mapping(ANY),
                    "shared": mapping(ANY),
                },
                _others(),
            ),
        ),
    ),
)
