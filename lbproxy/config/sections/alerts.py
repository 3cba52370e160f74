"""PURE. ``[alerts]``: checks that rules exist and that destinations are valid."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from lbproxy.config import units
from lbproxy.config.draft import Draft
from lbproxy.config.errors import Unfit
from lbproxy.config.options import Spot
from lbproxy.config.section import Judge, Section
from lbproxy.model import (
    AlertsSpec,
    CommandSpec,
    MailSpec,
    RuleSpec,
    WebhookSpec,
)

__all__ = ["ALERTS"]

_MAIL = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+")


def _check(draft: Draft, judge: Judge) -> None:
    for rule in draft.get("rules"):
        spot = judge.spot(draft, "rules", rule.where)
        _rule(rule, spot)
    for hook in draft.get("webhooks"):
        _webhook(hook, judge.spot(draft, "webhooks", hook.where))
    for mail in draft.get("mails"):
        _mail(mail, judge.spot(draft, "mails", mail.where))
    for command in draft.get("commands"):
        _command(command, judge.spot(draft, "commands", command.where), judge.exists)


def _rule(rule: RuleSpec, spot: Spot) -> None:
    from lbproxy.observe.alerts import RULES

    known = RULES.get(rule.name)
    if known is None:
        spot.wrong(f"there is no alert {rule.name!r}", found=rule.name, known=tuple(RULES))
    elif rule.limit and not known.unit:
        spot.wrong(f"{rule.name!r} has no limit", found=rule.limit)
    elif rule.limit:
        try:
            units.parse(known.unit, rule.limit, {"min": 0})
        except Unfit as error:
            spot.caught(error, "limit")


def _webhook(hook: WebhookSpec, spot: Spot) -> None:
    try:
        parts = urlsplit(hook.url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not all("!" <= c <= "~" for c in hook.url):
        spot.wrong("a URL has the scheme http or https, a host, and no spaces")
    if not all("!" <= c <= "~" for c in hook.token):
        spot.wrong("the token contains characters that a header cannot")


def _mail(mail: MailSpec, spot: Spot) -> None:
    for address in (*mail.to, mail.sender):
        if not _MAIL.fullmatch(address):
            spot.wrong(f"{address[:80]!r} is not a mail address", found=address)
    if mail.server.kind != "tcp":
        spot.wrong("the server must be a host and a port", found=str(mail.server))
    if mail.user and mail.tls != "always":
        spot.wrong("a login needs tls=always: otherwise the password is sent in clear text")


def _command(command: CommandSpec, spot: Spot, exists: Callable[[str], bool]) -> None:
    program = command.argv[0]
    if not program.startswith("/"):
        spot.wrong(f"{program[:80]!r} is not an absolute path", found=program)
    elif not exists(program):
        spot.wrong(f"no such file: {program}", found=program)


ALERTS = Section(
    "alerts",
    AlertsSpec,
    doc="Alerts and their destinations.",
    field="alerts",
    single=True,
    check=_check,
)
