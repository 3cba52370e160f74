"""CONTROL. The allowed origins of admin requests: rules against pages of other sites in a browser.

1.  ``Host`` must be localhost, an IP address or a name in ``admin_hosts``, unless the caller has
    proven its identity. This stops DNS rebinding: a page whose name resolves to the admin address.
2.  A change needs a token, or a header that a page of another site cannot send without a CORS
    preflight: ``Content-Type: application/json`` or ``X-Requested-With``. ``Origin`` and
    ``Sec-Fetch-Site``, where a browser sends them, must name this site.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from lbproxy.admin.route import APIError, APIRoute
from lbproxy.guard.addresses import address_number

__all__ = ["check_change", "check_host"]

Header = Callable[[str], str]
"""Returns the value of a request header by its name, "" if absent."""


def check_host(value: str, names: Collection[str]) -> None:
    """Check ``Host`` of a caller whose identity is not proven. Raises :class:`APIError` 421."""
    name = _host_name(value)
    if name == "localhost" or name in names or address_number(name) >= 0:
        return
    message = f"Host {name[:100]!r} is not accepted without a token: add it to admin_hosts"
    raise APIError(421, message)


def check_change(header: Header, route: APIRoute, *, token: bool) -> None:
    """Check a request that changes something. ``token``: the request has a token.

    Raises :class:`APIError` 403 or 415.
    """
    origin = header("origin")
    host = header("host")
    if origin and (not host or _authority(origin) != host.lower()):
        raise APIError(403, f"changes are not accepted from the origin {origin[:200]}")
    if header("sec-fetch-site") not in ("", "same-origin", "none"):
        raise APIError(403, "changes are not accepted from other sites")
    kind = header("content-type").partition(";")[0].strip().lower()
    by_header = kind == "application/json" or header("x-requested-with")
    if not token and not by_header:
        raise APIError(
            403, "a change requires a token, Content-Type: application/json or X-Requested-With"
        )
    if route.body is not None and kind not in ("application/json", ""):
        raise APIError(415, f"the body is {kind[:80]}; only application/json is accepted")


def _host_name(value: str) -> str:
    """Return the name in ``Host`` in lower case, without port and brackets."""
    text = value.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _authority(origin: str) -> str:
    """Return host and port in ``Origin`` in lower case; "" for ``null`` and invalid values."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
