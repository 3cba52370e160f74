"""DATA. ``[waf NAME]``: the section, and the key of routes and frontends that names one."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.model import NOWHERE, Where, hidden, option
from lbproxy.config.section import Section
from lbproxy.waf.exclusion import Exclusion

__all__ = ["WAF", "WafDeclaration", "WafKeys", "WafSpec"]


@frozen
class WafSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    mode: str = option(
        "choice",
        "block",
        choices=("block", "detect"),
        doc="refuse what reaches ``threshold`` with 403, or only log and count it",
    )
    paranoia: int = option(
        "int",
        1,
        min=1,
        max=3,
        doc="more rules, and more ordinary requests that they stop, with each level",
    )
    threshold: int = option(
        "int",
        5,
        min=1,
        max=1000,
        doc="score from which on a request is refused; a critical rule adds 5, an error 4,"
        " a warning 3, a notice 2",
    )
    body_limit: int = option(
        "size",
        128 * 1024,
        min=1024,
        max=1024 * 1024,
        doc="bytes of a body that are judged, and held until then; also after decompression",
    )
    over_limit: str = option(
        "choice",
        "pass",
        choices=("pass", "reject"),
        doc="longer bodies: judge the first part, or refuse them with 413",
    )
    exclude: tuple[Exclusion, ...] = option(
        "lines:exclude",
        (),
        doc="rules that do not hold for a part of some requests",
        example="942100 ARGS:q if path /search",
    )
    own: tuple[Any, ...] = option(
        "lines:predicate",
        (),
        doc="functions that judge requests, beside the built-in rules",
        example="rules.py:wrong_tenant",
    )
    where: Where = hidden(NOWHERE)


@frozen
class WafKeys:
    """The key of routes and frontends."""

    waf: str = option(
        "string",
        "",
        doc="the [waf NAME] that judges requests; ``none`` for no firewall",
        http_only=True,
    )


WAF = Section(
    "waf",
    WafSpec,
    doc="A firewall with built-in rules. Frontends and routes use it by ``waf = NAME``.",
    plural="firewalls",
)


class WafDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "route"
    Keys = WafKeys
    sections = (WAF,)
