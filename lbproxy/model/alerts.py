"""PURE. ``[alerts]``: rules and destinations."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model.base import NOWHERE, Address, Where, hidden, option

__all__ = ["AlertsSpec", "CommandSpec", "MailSpec", "RuleSpec", "WebhookSpec"]


@frozen
class RuleSpec:
    """One line of ``rules``: ``NAME`` and its changes; ``docs/runbook.rst`` lists the names."""

    name: str = option("name", doc="name of the alert", positional=True)
    off: bool = option("flag", False, doc="disable the rule")
    limit: str = option(
        "string", "", doc="threshold in the unit of the rule; empty: the rule's default"
    )
    after: float | None = option(
        "duration",
        None,
        min=0,
        max=86400,
        doc="how long the condition must hold; none: the rule's default",
    )
    volume: int | None = option(
        "int",
        None,
        min=0,
        max=1_000_000_000,
        doc="minimum number of requests; none: the rule's default",
    )
    where: Where = hidden(NOWHERE)


@frozen
class WebhookSpec:
    """One line of ``webhooks``: ``URL`` and options."""

    url: str = option(
        "string",
        secret=True,
        doc="URL that receives alerts by POST, http or https",
        positional=True,
    )
    format: str = option(
        "choice",
        "json",
        choices=("json", "slack"),
        doc="``json``: all data; ``slack``: a single ``text``, as chat services expect it",
    )
    timeout: float = option("duration", 10.0, min=0.1, max=300, doc="deadline of one attempt")
    retries: int = option(
        "int", 3, min=0, max=20, doc="number of retries, after 1, 2, 4 ... seconds"
    )
    token: str = option(
        "string",
        "",
        secret=True,
        doc="token sent as ``Authorization: Bearer``; take it from ``${ENVIRONMENT}``",
    )
    where: Where = hidden(NOWHERE)


@frozen
class MailSpec:
    """One line of ``mails``: ``ADDRESS...`` and options."""

    to: tuple[str, ...] = option(
        "list:string", doc="addresses of the recipients", positional="rest"
    )
    sender: str = option("string", "lbproxy@localhost", doc="address of the sender")
    server: Address = option(
        "address", Address("tcp", "localhost", 25), doc="SMTP server to send through"
    )
    tls: str = option(
        "choice", "auto", choices=("auto", "always", "never"),
        doc=(
            "STARTTLS: ``auto``: if the server offers it; ``always``: required, with a verified "
            "certificate; ``never``"
        ),
    )  # fmt: skip
    user: str = option("string", "", doc="login name; requires tls=always")
    password: str = option(
        "string", "", secret=True, doc="password for the login; take it from ``${ENVIRONMENT}``"
    )
    timeout: float = option("duration", 30.0, min=0.1, max=300, doc="deadline of one attempt")
    retries: int = option(
        "int", 3, min=0, max=20, doc="number of retries, after 1, 2, 4 ... seconds"
    )
    where: Where = hidden(NOWHERE)


@frozen
class CommandSpec:
    """One line of ``commands``: ``PROGRAM ARGUMENT...`` and options; no shell is involved."""

    argv: tuple[str, ...] = option(
        "list:string", doc="path of the program and its arguments", positional="rest"
    )
    timeout: float = option(
        "duration", 10.0, min=0.1, max=300, doc="time after which the program is killed"
    )
    where: Where = hidden(NOWHERE)


@frozen
class AlertsSpec:
    """``[alerts]``: rules and destinations of alerts. ``on``: whether the section exists."""

    on: bool = option("hidden", False, doc="whether the section exists")
    webhooks: tuple[WebhookSpec, ...] = option(
        "lines:webhook",
        (),
        doc="URLs that receive alerts by POST, one per line",
        example="https://hooks.example.com/lb",
    )
    mails: tuple[MailSpec, ...] = option(
        "lines:mail",
        (),
        doc="mail addresses that receive alerts; each line is one mail",
        example="ops@example.com",
    )
    commands: tuple[CommandSpec, ...] = option(
        "lines:command",
        (),
        doc="programs to run for alerts, one per line",
        example="/usr/local/bin/page lbproxy",
    )
    rules: tuple[RuleSpec, ...] = option(
        "lines:rule",
        (),
        doc="changes to the default rules, one per line",
        example="error_ratio limit=1%",
    )
    quiet: tuple[str, ...] = option(
        "list:span",
        (),
        doc="times of the day, local time, in which warnings are held back; errors are not",
        example="22:00-06:00",
    )
    repeat: float = option(
        "duration",
        4 * 3600.0,
        min=0,
        max=366 * 86400,
        doc="interval for repeating an alert that lasts; 0: never",
    )
    recovery: bool = option("bool", True, doc="report the end of an alert")
    most: int = option(
        "int",
        10,
        min=1,
        max=1000,
        doc="maximum number of notices a minute; further changes go into the next notice",
    )
    where: Where = hidden(NOWHERE)
