"""DATA. ``[list NAME]``: the section."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Network, Where, hidden, option
from lbproxy.config.section import Judge, Section

__all__ = ["LIST", "ListDeclaration", "ListSpec"]


@frozen
class ListSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    file: str = option(
        "path", "", doc="file with an address, a prefix or a range a line; # and ; begin comments"
    )
    url: str = option("string", "", doc="http or https address of such a text")
    addresses: tuple[Network, ...] = option(
        "list:network", (), doc="further addresses and prefixes", example="10.0.0.0/8 192.0.2.7"
    )
    refresh: float = option(
        "duration",
        60.0,
        min=1,
        max=7 * 86400.0,
        doc="how often a file is looked at, and read if it has changed, or a URL is fetched",
    )
    empty: bool = option(
        "bool",
        False,
        doc="a new version may be empty; otherwise the last one with contents stays in use",
    )
    where: Where = hidden(NOWHERE)


def _check(draft: Draft, judge: Judge) -> None:
    if draft.broken & {"file", "url", "addresses"}:
        return
    file, url = draft.get("file", ""), draft.get("url", "")
    if file and url:
        judge.wrong(draft, draft.line("url"), "url", "either 'file' or 'url'")
    elif not (file or url or draft.get("addresses")):
        judge.wrong(draft, draft.where, "", "the list has neither file, url nor addresses")
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        message = f"{url!r} is not an http:// or https:// address"
        judge.wrong(draft, draft.line("url"), "url", message)
    judge.file(draft, "file", draft.line("file"), file)


LIST = Section(
    "list",
    ListSpec,
    doc="A list of addresses. ``allow``, ``deny`` and the condition ``client`` use it as"
    " ``list:NAME``.",
    plural="lists",
    check=_check,
)


class ListDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    sections = (LIST,)
