"""DATA. ``[waf NAME]``: the section, and the key of routes and frontends that names one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Where, hidden, option
from lbproxy.config.section import Judge, Section

if TYPE_CHECKING:
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
    paranoia: int | None = option(
        "int",
        None,
        min=1,
        max=4,
        doc="more rules, and more ordinary requests that they stop, with each level; unset: 1, or"
        " with ``rules`` what the set-up file says; the built-in rules have three levels",
    )
    threshold: int | None = option(
        "int",
        None,
        min=1,
        max=1000,
        doc="score from which on a request is refused; a critical rule adds 5, an error 4,"
        " a warning 3, a notice 2; unset: 5, or with ``rules`` what the set-up file says",
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
        doc="functions that judge requests, beside the built-in rules, one per line",
        example="rules.py:wrong_tenant",
    )
    rules: str = option(
        "path",
        "",
        doc="folder of rules for libmodsecurity, such as the OWASP Core Rule Set, in place of the"
        " built-in rules",
        example="/usr/share/modsecurity-crs",
    )
    setup: str = option(
        "path",
        "",
        doc="set-up file of ``rules``; unset: crs-setup.conf in the folder, or"
        " /etc/modsecurity/crs/crs-setup.conf",
    )
    engine: str = option(
        "path",
        "",
        doc="file of directives for libmodsecurity, in place of those of lbproxy, which switch on"
        " the engine and the reading of bodies",
    )
    processes: int = option(
        "int", 1, min=1, max=64, doc="processes that judge by ``rules``, for each worker"
    )
    queue: int = option(
        "int", 256, min=1, max=10_000, doc="requests that wait for one of these processes"
    )
    deadline: float = option(
        "duration", 0.5, min=0.05, max=60, doc="time for a verdict by ``rules``, waiting included"
    )
    on_error: str = option(
        "choice",
        "closed",
        choices=("closed", "open"),
        doc="requests without a verdict (late, too many waiting, a process ended): refused with"
        " 503, or passed; mode ``detect`` passes them",
    )
    responses: bool = option(
        "bool",
        False,
        doc="judge responses by ``rules``, too; text up to ``body_limit`` is held until then",
    )
    audit: str = option(
        "path", "", doc="file for a line of JSON about each request that matched a rule"
    )
    where: Where = hidden(NOWHERE)

    @property
    def limit(self) -> int:
        """Score at which a request is refused."""
        return self.threshold or 5

    @property
    def level(self) -> int:
        """Level of the built-in rules."""
        return self.paranoia or 1


@frozen
class WafKeys:
    """The key of routes and frontends."""

    waf: str = option(
        "string",
        "",
        doc="the [waf NAME] that judges requests; ``none`` for no firewall",
        http_only=True,
    )


_ONLY_WITH_RULES = ("setup", "engine", "processes", "queue", "deadline", "on_error", "responses")


def _check(draft: Draft, judge: Judge) -> None:
    from lbproxy.waf.own import FIRST_ID
    from lbproxy.waf.rules import RULES

    if "rules" in draft.broken:
        return
    rules = draft.get("rules", "")
    for key in () if rules else _ONLY_WITH_RULES:
        if key in draft.lines:
            judge.wrong(draft, draft.line(key), key, f"{key!r} needs 'rules'")
    for key in ("setup", "engine"):
        judge.file(draft, key, draft.line(key), draft.get(key, ""))
    known = tuple(str(rule.id) for rule in RULES)
    for one in () if rules else draft.get("exclude"):
        inside = any(one.first <= rule.id <= one.last for rule in RULES)
        if one.last < FIRST_ID and not inside:
            text = str(one.first) if one.first == one.last else f"{one.first}-{one.last}"
            message = f"there is no rule {text}"
            judge.wrong(draft, draft.line("exclude"), "exclude", message, found=text, known=known)


WAF = Section(
    "waf",
    WafSpec,
    doc="A firewall with built-in rules, or those of a folder. Frontends and routes use it by"
    " ``waf = NAME``.",
    plural="firewalls",
    check=_check,
)


class WafDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "route"
    Keys = WafKeys
    sections = (WAF,)
