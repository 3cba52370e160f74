"""PURE. Keys of ``mode = corsproxy``, and their checks."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from attrs import fields_dict, frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.model import option
from lbproxy.cors.call import FORMS
from lbproxy.cors.origins import checked_origin
from lbproxy.limits.rate import Rate
from lbproxy.proxy.features.corsproxy.egress import EGRESS

if TYPE_CHECKING:
    from lbproxy.cors.quota import Quota

__all__ = [
    "CorsDeclaration",
    "CorsKeys",
    "check_convert",
    "check_keys",
    "origin_quota",
    "usage_path",
    "written_keys",
]

_REQ_HEADERS = (
    *("accept", "accept-language", "authorization", "content-type", "if-modified-since"),
    *("if-none-match", "origin", "range", "referer", "user-agent"),
)
_RES_HEADERS = (
    *("cache-control", "content-disposition", "content-language", "content-type", "expires"),
    "pragma",
)
_PORT_MAX = 65535


def _key(kind: str, default: Any, *, doc: str, **bounds: Any) -> Any:
    """Return a key of frontends with ``mode = corsproxy``."""
    return option(kind, default, doc=f"corsproxy: {doc}", http_only=True, **bounds)


@frozen
class CorsKeys:
    """Keys of a frontend with ``mode = corsproxy``."""

    origins: tuple[str, ...] = _key(
        "list:string",
        (),
        doc="origins whose pages may call, compared as a whole; ``null`` only if listed",
        example="https://app.example.com",
    )
    keys: str = _key(
        "path",
        "",
        doc="file of API keys, edited by ``lbproxy keys``; calls need one of them",
        example="apikeys.json",
    )
    usage: str = _key(
        "path",
        "",
        doc="file that keeps the usage of keys and origins over a restart; empty:"
        " ``.usage`` behind the name of ``keys``",
    )
    origin_requests: Rate | None = _key(
        "line:limit_rate",
        None,
        doc="calls that each origin may begin in any such time span",
        example="1000/1h",
    )
    origin_bytes: Rate | None = _key(
        "line:limit_rate",
        None,
        doc="bytes of bodies, of both directions, that each origin may use",
        example="1g/1d",
    )
    origin_concurrent: int = _key(
        "int", 0, min=0, max=1_000_000, doc="calls of each origin at once; 0: no limit"
    )
    key_header: str = _key(
        "string", "X-Api-Key", doc="request header that holds the key; ``key=`` works as well"
    )
    open: bool = _key(
        "bool", False, doc="serve everybody; without this, ``origins`` or ``keys`` is"
    )
    forms: tuple[str, ...] = _key(
        "list:choice",
        FORMS,
        choices=FORMS,
        doc="how a call names its target: ``/?url=``, ``/https://host/path``, or the"
        " header of ``target_header``",
    )
    target_header: str = _key("string", "X-Target-URL", doc="request header that names the target")
    redirects: str = _key(
        "choice",
        "follow",
        choices=("follow", "pass"),
        doc="follow redirects of targets, at most 5, or pass them on as calls of this proxy",
    )
    req_headers: tuple[str, ...] = _key(
        "list:string", _REQ_HEADERS, doc="request headers that ``reqHeaders=`` may set or remove"
    )
    res_headers: tuple[str, ...] = _key(
        "list:string", _RES_HEADERS, doc="response headers that ``resHeaders=`` may set or remove"
    )
    max_response: int = _key(
        "size", 16 * 1024 * 1024, min=0, doc="maximum size of a response body; 0: no limit"
    )
    timeout_total: float = _key(
        "duration",
        30.0,
        min=0.001,
        doc="time for a whole call, redirects and body included; WebSockets are exempt"
        " once they are open",
    )
    redirect_buffer: int = _key(
        "size",
        64 * 1024,
        min=0,
        max=64 * 1024 * 1024,
        doc="how much of a request body is kept, to send it again after a redirect",
    )
    guard_ports: tuple[int, ...] = _key(
        "list:int", (80, 443), doc="ports of targets that may be called"
    )
    credentials: bool = _key(
        "bool",
        False,
        doc="let pages send and read with cookies; the client's cookies go to targets"
        " that its key lists, and to no other",
    )
    egress: str = _key(
        "string", "", doc="the [egress NAME] of calls without ``colo=``; empty: directly"
    )
    cache_by_key: bool = _key(
        "bool", False, doc="share cached responses between calls of the same key only"
    )
    ttl_max: float = _key(
        "duration",
        86400.0,
        min=0,
        doc="longest lifetime in the cache that ``ttl=`` of a call may set",
    )
    convert: bool = _key(
        "bool",
        False,
        doc="allow ``convert=`` (CSV, XML and RSS to JSON) and ``extract=`` (elements of"
        " HTML by a CSS selector; needs the extra ``convert``)",
    )
    convert_max: int = _key(
        "size",
        256 * 1024,
        min=1,
        max=4 * 1024 * 1024,
        doc="maximum size of a body that is converted",
    )
    target_ca: str = _key(
        "path",
        "",
        doc="PEM file or folder of the authorities that targets are verified with;"
        " empty: the system's",
    )


def written_keys(spec: Any) -> list[str]:
    """Return the keys of :class:`CorsKeys` whose value in ``spec`` is not the default."""
    keys = fields_dict(CorsKeys)
    return [name for name, key in keys.items() if getattr(spec, name) != key.default]


def usage_path(spec: Any) -> str:
    """Return the path of the usage file, "" if the counts end with lbproxy."""
    if spec.usage or not spec.keys:
        return str(spec.usage)
    return f"{spec.keys}.usage"


def check_convert(spec: Any) -> None:
    """Raise ValueError if ``convert`` is on and its package is missing."""
    if spec.convert and find_spec("selectolax") is None:
        raise ValueError("convert needs the package selectolax (pip install 'lbproxy[convert]')")


def origin_quota(spec: Any) -> Quota:
    """Return the quota of each origin."""
    from lbproxy.cors.quota import Quota

    return Quota(spec.origin_requests, spec.origin_bytes, spec.origin_concurrent)


def check_keys(spec: Any) -> None:
    """Raise ValueError for values that contradict each other in a frontend of this mode."""
    if spec.routes or spec.backend:
        raise ValueError("mode = corsproxy has no routes and no backend; calls name their target")
    if spec.cache_by_key and (spec.cache in ("", "none") or not spec.keys):
        raise ValueError("cache_by_key needs cache and keys")
    if spec.credentials and not spec.keys:
        raise ValueError("credentials = yes needs keys: cookies go to the targets that a key lists")
    for text in spec.origins:
        checked_origin(text)
    if spec.open and (spec.origins or spec.keys):
        raise ValueError("open = yes serves everybody; remove it, or remove origins and keys")
    if not spec.open and not spec.origins and not spec.keys:
        raise ValueError(
            "everybody could use this proxy; name the origins that may, or a file of keys,"
            " or write open = yes"
        )
    if spec.redirects == "pass" and "query" not in spec.forms:
        raise ValueError("redirects = pass makes calls like /?url=; add query to forms")
    for key in ("origin_requests", "origin_bytes"):
        rate: Rate | None = getattr(spec, key)
        if rate is not None and (rate.burst != rate.amount or rate.seconds < 1):
            raise ValueError(f"{key} is a window, at least 1s long and without burst=")
    if spec.usage and not spec.keys and not origin_quota(spec):
        raise ValueError("usage is for keys or for quotas of origins, and there are none")
    for name in (spec.target_header, spec.key_header, *spec.req_headers, *spec.res_headers):
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", name):
            raise ValueError(f"{name!r} is not the name of a header")
    if wrong := [port for port in spec.guard_ports if not 1 <= port <= _PORT_MAX]:
        raise ValueError(f"guard_ports: {wrong[0]} is not a port")


class CorsDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    Keys = CorsKeys
    sections = (EGRESS,)
