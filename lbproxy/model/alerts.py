"""PURE. ``[alerts]``: rules, and whom they tell."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model.base import NOWHERE, Address, Where, hidden, option

__all__ = ["AlertsSpec", "CommandSpec", "MailSpec", "RuleSpec", "WebhookSpec"]


@frozen
class RuleSpec:
    """One line of ``rules``: ``NAME`` and what is other than usual; see ``docs/runbook.rst`` for the names."""

    name: str = option("name", doc="of the alert", positional=True)
    off: bool = option("flag", False, doc="do not look")
    limit: str = option(
        "string", "", doc="where it begins, in the unit of the rule; empty: the rule's own"
    )
    after: float | None = option(
        "duration",
        None,
        min=0,
        max=86400,
        doc="how long it must have been so; none: the rule's own",
    )
    volume: int | None = option(
        "int",
        None,
        min=0,
        max=1_000_000_000,
        doc="fewest requests to judge by; none: the rule's own",
    )
    where: Where = hidden(NOWHERE)


@frozen
class WebhookSpec:
    """One line of ``webhooks``: ``URL`` and options."""

    url: str = option(
        "string", secret=True, doc="where alerts are POSTed, http or https", positional=True
    )
    format: str = option(
        "choice",
        "json",
        choices=("json", "slack"),
        doc="all facts, or one ``text`` as chats want it",
    )
    timeout: float = option("duration", 10.0, min=0.1, max=300, doc="for one try")
    retries: int = option("int", 3, min=0, max=20, doc="further tries, after 1, 2, 4 ... seconds")
    token: str = option(
        "string",
        "",
        secret=True,
        doc="sent as ``Authorization: Bearer``; take it from ``${ENVIRONMENT}``",
    )
    where: Where = hidden(NOWHERE)


@frozen
class MailSpec:
    """One line of ``mails``: ``ADDRESS...`` and options."""

    to: tuple[str, ...] = option("list:string", doc="to whom", positional="rest")
    sender: str = option("string", "lbproxy@localhost", doc="from whom")
    server: Address = option(
        "address", Address("tcp", "localhost", 25), doc="the SMTP server that takes it"
    )
    tls: str = option(
        "choice", "auto", choices=("auto", "always", "never"),
        doc="STARTTLS: if the server has it, always with its certificate verified, or never",
    )  # fmt: skip
    user: str = option("string", "", doc="login name; needs tls=always")
    password: str = option("string", "", secret=True, doc="take it from ``${ENVIRONMENT}``")
    timeout: float = option("duration", 30.0, min=0.1, max=300, doc="for one try")
    retries: int = option("int", 3, min=0, max=20, doc="further tries, after 1, 2, 4 ... seconds")
    where: Where = hidden(NOWHERE)


@frozen
class CommandSpec:
    """One line of ``commands``: ``PROGRAM ARGUMENT...`` and options; no shell is involved."""

    argv: tuple[str, ...] = option(
        "list:string", doc="the program's path, then words", positional="rest"
    )
    timeout: float = option("duration", 10.0, min=0.1, max=300, doc="it is killed after this")
    where: Where = hidden(NOWHERE)


@frozen
class AlertsSpec:
    """``[alerts]``: when operators are told, and how.  ``on``: the section is there."""

    on: bool = option("hidden", False, doc="the section is there")
    webhooks: tuple[WebhookSpec, ...] = option(
        "lines:webhook",
        (),
        doc="URLs that get a POST, one per line",
        example="https://hooks.example.com/lb",
    )
    mails: tuple[MailSpec, ...] = option(
        "lines:mail", (), doc="mail addresses, one line for each mail", example="ops@example.com"
    )
    commands: tuple[CommandSpec, ...] = option(
        "lines:command",
        (),
        doc="programs that are run, one per line",
        example="/usr/local/bin/page lbproxy",
    )
    rules: tuple[RuleSpec, ...] = option(
        "lines:rule",
        (),
        doc="what differs from the usual rules, one per line",
        example="error_ratio limit=1%",
    )
    quiet: tuple[str, ...] = option(
        "list:span",
        (),
        doc="times in which warnings wait, local time; errors do not",
        example="22:00-06:00",
    )
    repeat: float = option(
        "duration",
        4 * 3600.0,
        min=0,
        max=366 * 86400,
        doc="an alert that lasts is told again after this; 0: never",
    )
    recovery: bool = option("bool", True, doc="tell when it is over")
    most: int = option(
        "int", 10, min=1, max=1000, doc="notices a minute; what is over goes into the next one"
    )
    where: Where = hidden(NOWHERE)
