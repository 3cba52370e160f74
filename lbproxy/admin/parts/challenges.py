"""CONTROL. The switch of the challenge."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIRoute, Part, find
from lbproxy.admin.schema import BOOLEAN, STRING, array, enum, object_, string
from lbproxy.admin.view import AdminView
from lbproxy.proxy.features.challenge.feature import Challenge
from lbproxy.proxy.features.challenge.switch import SETTINGS

__all__ = ["PART"]

_STATE = object_(
    {
        "frontend": STRING,
        "configured": STRING,
        "setting": enum("state set by an operator", *SETTINGS),
        "attack": BOOLEAN,
        "active": BOOLEAN,
    }
)


def _challenges(admin: AdminView) -> dict[str, Challenge]:
    return Challenge.among(admin.balancer.frontends)


def _state(name: str, one: Challenge) -> dict[str, Any]:
    return {
        "frontend": name,
        "configured": one.spec.challenge,
        "setting": one.switch.setting,
        "attack": one.switch.attack,
        "active": one.active,
    }


def _every(call: APICall) -> Any:
    return [_state(name, one) for name, one in _challenges(call.admin).items()]


def _set(call: APICall) -> Any:
    every = _challenges(call.admin)
    name, setting = call.body.get("frontend", ""), call.body["setting"]
    chosen = {name: find(every, name, "frontend for HTTP")} if name else every
    for frontend, one in chosen.items():
        one.switch.set(setting)
        call.changes.append(f"challenge of {frontend}: {setting}")
    return [_state(frontend, one) for frontend, one in chosen.items()]


PART = Part(
    "challenges",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/challenge",
            Role.READ,
            "Whether the frontends challenge browsers now, and why",
            _every,
            array(_STATE),
        ),
        APIRoute(
            "POST",
            "/api/v1/challenge",
            Role.WRITE,
            "Switch the challenge of one frontend, or of all, until lbproxy stops",
            _set,
            array(_STATE),
            body=object_(
                {"setting": enum("``auto``: as configured", *SETTINGS)},
                {"frontend": string("only this frontend", 200)},
            ),
        ),
    ),
)
