"""CONTROL. Bans of client addresses: list, reasons, and changes."""

from __future__ import annotations

from functools import partial
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import PAGE, APICall, APIError, APIRoute, Column, Panel, Part, find, paged
from lbproxy.admin.schema import (
    BOOLEAN,
    COUNT,
    NUMBER,
    STRING,
    array,
    integer,
    mapping,
    object_,
    page,
    string,
)
from lbproxy.admin.view import AdminView
from lbproxy.bans.ledger import Ban, ban_text
from lbproxy.bans.record import address_of, as_record, from_record
from lbproxy.proxy.features.banning.book import BanBook
from lbproxy.proxy.features.banning.feature import Banning, drop_words

__all__ = ["PART"]

_SECONDS = 366 * 86400
_NEEDED = ("ip", "rule", "until")
_BAN = {
    "address": STRING,
    "ip": STRING,
    "rule": STRING,
    "since": NUMBER,
    "until": NUMBER,
    "times": COUNT,
    "reason": STRING,
    "request": STRING,
    "refused": COUNT,
}
_RECORD = object_({key: _BAN[key] for key in _NEEDED}, _BAN)
_TALLY = ("offences", "bans", "refused")
_BOOK = object_(
    {
        "name": STRING,
        "action": STRING,
        "held": COUNT,
        **dict.fromkeys(_TALLY, COUNT),
    }
)
_ADDRESS = string("an IPv4 address, an IPv6 address or its /64", 60)
_NAME = string("the [ban NAME]; optional if only one exists", 200)


def _features(admin: AdminView) -> list[Banning]:
    return list(Banning.among(admin.balancer.frontends).values())


def _books(admin: AdminView) -> dict[str, BanBook]:
    return {name: book for one in _features(admin) for name, book in one.books.items()}


def _book(call: APICall, name: str) -> BanBook:
    books = _books(call.admin)
    if name:
        found: BanBook = find(books, name, "ban")
        return found
    if len(books) != 1:
        known = f"one of {', '.join(books)}" if books else "no frontend has 'bans'"
        raise APIError(400, f"select the ban: {known}")
    return next(iter(books.values()))


def _shown(admin: AdminView, ban: Ban) -> dict[str, Any]:
    features = [one for one in _features(admin) if ban.rule in one.books]
    refused = max((one.attempts(ban.rule, ban.ip) for one in features), default=0)
    return {"address": ban_text(ban.ip), **as_record(ban), "refused": refused}


def _facts(admin: AdminView) -> dict[str, dict[str, Any]]:
    """Return each ban in use, with its counters."""
    found: dict[str, dict[str, Any]] = {}
    for feature in _features(admin):
        for name, tally in feature.totals().items():
            if name in found:
                continue  # the counts belong to the section, shared by all frontends
            book = feature.books[name]
            kind = book.spec.action.kind
            action = f"drop ({drop_words()})" if kind == "drop" else kind
            found[name] = {"name": name, "action": action, "held": len(book.held()), **tally}
    return found


def _list(call: APICall) -> Any:
    found = [ban for book in _books(call.admin).values() for ban in book.held()]
    found.sort(key=lambda ban: -ban.since)
    return paged(call, found, partial(_shown, call.admin))


def _address(text: str) -> str:
    try:
        return address_of(text)
    except ValueError as error:
        raise APIError(400, str(error)) from None


def _add(call: APICall) -> Any:
    book = _book(call, call.body.get("ban", ""))
    ip = _address(call.body["address"])
    if any(one.is_exempt(ip, book) for one in _features(call.admin) if book.spec.name in one.books):
        raise APIError(400, f"{ip} is exempt: a proxy, or in 'except' of the ban")
    reason = f"by an operator{': ' if call.body.get('reason') else ''}{call.body.get('reason', '')}"
    made = book.ban(ip, reason, "", float(call.body.get("seconds", 0)))
    call.changes.append(f"ban {book.spec.name}: {ban_text(ip)} added")
    return _shown(call.admin, made)


def _remove(call: APICall) -> Any:
    ip, name = _address(call.body["address"]), call.body.get("ban", "")
    books = [_book(call, name)] if name else list(_books(call.admin).values())
    lifted = [book.spec.name for book in books if book.lift(ip)]
    if lifted:
        call.changes.append(f"ban {', '.join(lifted)}: {ban_text(ip)} removed")
    return {"removed": lifted}


def _import(call: APICall) -> Any:
    books = _books(call.admin)
    by_name: dict[str, list[Ban]] = {}
    for number, record in enumerate(call.body["bans"], 1):
        one = from_record(record)
        if one is None:
            raise APIError(400, f"entry {number} is not a ban in the form of GET /api/v1/bans")
        find(books, one.rule, "ban")
        by_name.setdefault(one.rule, []).append(one)
    count = sum(books[name].enter(bans) for name, bans in by_name.items())
    call.changes.append(f"{count} bans imported")
    return {"entered": count}


def _why(call: APICall) -> Any:
    ip = _address(call.query.get("address", ""))
    found = []
    for name, book in _books(call.admin).items():
        features = [one for one in _features(call.admin) if name in one.books]
        after = book.spec.after
        held = book.find(ip)
        last = held or book.ledger.history(ip)
        found.append(
            {
                "name": name,
                "banned": held is not None,
                "exempt": any(one.is_exempt(ip, book) for one in features),
                "offences": int(book.offences(ip)),
                "after": 0 if after is None else int(after.amount),
                "seconds": 0.0 if after is None else after.seconds,
                "frontends": [one.spec.name for one in features],
                "last": [] if last is None else [_shown(call.admin, last)],
            }
        )
    return {"address": ban_text(ip), "bans": found}


PART = Part(
    "bans",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/bans",
            Role.READ,
            "The bans in force, newest first",
            _list,
            page(object_(_BAN)),
            query=PAGE,
        ),
        APIRoute(
            "GET",
            "/api/v1/bans/why",
            Role.READ,
            "Whether an address is banned, with time and reason, and the offences that count",
            _why,
            object_(
                {
                    "address": STRING,
                    "bans": array(
                        object_(
                            {
                                "name": STRING,
                                "banned": BOOLEAN,
                                "exempt": BOOLEAN,
                                "offences": COUNT,
                                "after": COUNT,
                                "seconds": NUMBER,
                                "frontends": array(STRING),
                                "last": array(object_(_BAN)),
                            }
                        )
                    ),
                }
            ),
            query={"address": _ADDRESS},
        ),
        APIRoute(
            "POST",
            "/api/v1/bans/add",
            Role.WRITE,
            "Ban an address",
            _add,
            object_(_BAN),
            body=object_(
                {"address": _ADDRESS},
                {
                    "ban": _NAME,
                    "seconds": integer("duration; default: that of the section", 1, _SECONDS),
                    "reason": string("for people", 200),
                },
            ),
        ),
        APIRoute(
            "POST",
            "/api/v1/bans/remove",
            Role.WRITE,
            "End the ban of an address, and delete its history",
            _remove,
            object_({"removed": array(STRING)}),
            body=object_({"address": _ADDRESS}, {"ban": _NAME}),
        ),
        APIRoute(
            "POST",
            "/api/v1/bans/import",
            Role.WRITE,
            "Add bans in the form of GET /api/v1/bans",
            _import,
            object_({"entered": COUNT}),
            body=object_({"bans": array(_RECORD)}),
        ),
    ),
    state=_facts,
    schema=mapping(_BOOK),
    panels=(
        Panel(
            "Bans",
            "bans",
            (
                Column("name", "Ban"),
                Column("action", "Action"),
                Column("held", "Banned now", "count"),
                Column("offences", "Offences", "count"),
                Column("bans", "Bans", "count"),
                Column("refused", "Refused", "count"),
            ),
        ),
    ),
)
