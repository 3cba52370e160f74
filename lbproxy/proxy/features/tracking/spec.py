"""DATA. ``[track NAME]`` and the key ``tracks``."""

from __future__ import annotations

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Where, hidden, option
from lbproxy.config.section import Judge, Section
from lbproxy.limits.rules import LimitUse

__all__ = ["TRACK", "TrackDeclaration", "TrackSpec"]


@frozen
class TrackSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    key: str = option(
        "string",
        "{client_ip}",
        doc="what is counted separately: text with the variables of ``set-header``",
    )
    prefix: tuple[int, int] = option(
        "line:limit_prefix", (32, 64), doc="``{client_ip}`` in keys is a prefix of this length"
    )
    window: float = option(
        "duration", 600.0, min=1, max=7 * 86400.0, doc="how long a count is remembered"
    )
    count: str = option(
        "choice",
        "requests",
        choices=("requests", "errors", "connections", "bytes", "glitches", "own"),
        doc="what is counted: requests (in tcp mode sessions), responses with 4xx and 5xx,"
        " accepted connections, bytes in both directions, breaches of the protocol, or (``own``)"
        " only what filters count",
    )
    nodes: bool = option("bool", True, doc="with ``[shared]``: all nodes count together")
    where: Where = hidden(NOWHERE)


def _check(draft: Draft, judge: Judge) -> None:
    from lbproxy.proxy.features.limiting.key import Key

    if draft.broken & {"key", "count"}:
        return
    try:
        key = Key(draft.get("key", "{client_ip}"), (32, 64))
    except ValueError as error:
        judge.wrong(draft, draft.line("key"), "key", str(error))
        return
    other = sorted(key.variables - {"client_ip", "frontend", "country", "asn"})
    if draft.get("count", "") == "connections" and other:
        message = f"{{{other[0]}}} is not known when a connection is accepted"
        judge.wrong(draft, draft.line("key"), "key", message)


TRACK = Section(
    "track",
    TrackSpec,
    doc="Counts per key over a window. The condition ``track NAME > N`` and ``on = track:NAME`` of"
    " bans use them.",
    plural="tracks",
    check=_check,
)


@frozen
class TrackKeys:
    """The key of frontends."""

    tracks: tuple[LimitUse, ...] = option(
        "lines:track_use",
        (),
        doc="the [track NAME] sections that count traffic of this frontend, where their conditions"
        " hold; a track that a condition or a ban of the frontend names counts all of it",
        example="bad_logins if path /login",
    )


class TrackDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    Keys = TrackKeys
    sections = (TRACK,)
