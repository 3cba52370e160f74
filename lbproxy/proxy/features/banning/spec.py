"""DATA. ``[ban NAME]`` and the key ``bans``."""

from __future__ import annotations

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Config, ListName, Network, Where, hidden, option
from lbproxy.config.section import Judge, Section
from lbproxy.limits.rate import Rate
from lbproxy.limits.rules import BanAction

__all__ = ["BAN", "BanDeclaration", "BanSpec"]


@frozen
class BanSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    after: Rate | None = option(
        "line:ban_after",
        None,
        doc="how many offences in a time cause a ban; without it only limits with ``action = ban``"
        " and operators ban",
        example="30/1m",
    )
    on: tuple[str, ...] = option(
        "line:ban_on",
        ("4xx",),
        doc="what is an offence: responses with ``4xx``, with 4xx and 5xx (``errors``), breaches of"
        " the protocol (``glitches``), failed TLS ``handshakes``, or what a ``[track NAME]``"
        " counts",
    )
    time: tuple[float, float] = option(
        "line:ban_time",
        (60.0, 86400.0),
        doc="how long the first ban lasts, and the longest; each further one lasts twice as long as"
        " the one before",
        example="1m..24h",
    )
    except_: tuple[Network | ListName, ...] = option(
        "list:client",
        (),
        label="except",
        doc="clients that are neither counted nor banned: networks and ``list:NAME``",
    )
    action: BanAction = option(
        "line:ban_action",
        BanAction(),
        doc="``close``: close connections when they are accepted, before TLS; ``drop``: the same,"
        " without a FIN; ``reject``: respond with 403; ``tarpit``: respond with 403 after a time",
    )
    where: Where = hidden(NOWHERE)


def _check(draft: Draft, judge: Judge) -> None:
    for item in draft.get("except_") if "except_" not in draft.broken else ():
        if isinstance(item, ListName):
            names = judge.drafts.names("list")
            judge.known(draft, "except", draft.line("except_"), "list", item.name, names)
    if draft.broken & {"after", "on"}:
        return
    if draft.get("after", None) is None and draft.line("on") != draft.where:
        judge.wrong(draft, draft.line("on"), "on", "offences are counted only with 'after'")


BAN = Section(
    "ban",
    BanSpec,
    doc="A ban of client addresses. Frontends apply it by ``bans``, limits by ``action = ban``.",
    plural="bans",
    check=_check,
)


@frozen
class BanKeys:
    """The key of frontends."""

    bans: tuple[str, ...] = option(
        "list:string", (), doc="the [ban NAME] sections that hold for clients of this frontend"
    )


class BanDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    Keys = BanKeys
    sections = (BAN,)

    @classmethod
    def loses_at_restart(cls, config: Config) -> str:
        """See :class:`Declaration`."""
        return "all bans" if config.of(BanSpec) else ""
