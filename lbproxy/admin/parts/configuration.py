"""CONTROL. The configuration that is in effect, without its secrets."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APIRoute, Call, Part
from lbproxy.admin.schema import ANY, STRING, mapping, object_
from lbproxy.config.dump import as_json

__all__ = ["PART"]


def _config(call: Call) -> Any:
    return as_json(call.balancer.config, mask=True)


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
                }
            ),
        ),
    ),
)
