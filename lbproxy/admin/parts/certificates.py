"""CONTROL. Certificates that listeners serve: names and expiry."""

from __future__ import annotations

import time
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import PAGE, APICall, APIRoute, Column, Panel, Part, paged
from lbproxy.admin.schema import NUMBER, STRING, array, mapping, object_, page
from lbproxy.admin.view import AdminView

__all__ = ["PART"]

_CERTIFICATE = object_(
    {
        "source": STRING,
        "names": array(STRING),
        "issuer": STRING,
        "serial": STRING,
        "expires": NUMBER,
        "days_left": NUMBER,
    }
)


def _pairs(admin: AdminView) -> list[Any]:
    """Return each file once, even if several listeners serve it."""
    return list({pair.source: pair for pair in admin.balancer.key_pairs()}.values())


def _row(pair: Any) -> dict[str, Any]:
    return {
        "source": pair.source,
        "names": list(pair.names),
        "issuer": pair.certificate.issuer.rfc4514_string(),
        "serial": f"{pair.certificate.serial_number:x}",
        "expires": pair.expires,
        "days_left": round((pair.expires - time.time()) / 86400, 1),
    }


def _state(admin: AdminView) -> Any:
    return {pair.source: _row(pair) for pair in _pairs(admin)}


def _list(call: APICall) -> Any:
    return paged(call, sorted(_pairs(call.admin), key=lambda pair: pair.expires), _row)


PART = Part(
    "certificates",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/certificates",
            Role.READ,
            "Certificates in use, the earliest expiry first",
            _list,
            page(_CERTIFICATE),
            query=PAGE,
        ),
    ),
    state=_state,
    schema=mapping(_CERTIFICATE),
    panels=(
        Panel(
            "Certificates",
            "certificates",
            (
                Column("source", "File"),
                Column("names", "Names"),
                Column("issuer", "Issuer"),
                Column("days_left", "Days left", "count"),
            ),
        ),
    ),
)
