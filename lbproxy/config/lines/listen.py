"""PURE. Lines with an address to bind: ``listen`` of frontends and ``admin`` of the process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
from attrs import evolve

from lbproxy.config import units
from lbproxy.config.endpoint import parse_endpoint
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope, dump_words
from lbproxy.config.options import Spot, read_options
from lbproxy.config.words import Word
from lbproxy.model import AdminSpec, ListenSpec

__all__ = ["ADMIN", "LISTEN", "read_admin"]

LISTEN_TLS = ("certificates", "min_version", "ciphers", "alpn")


def _read_listen(words: Sequence[Word], spot: Spot, scope: Scope) -> ListenSpec | None:
    """Read ``ENDPOINT options``."""
    values = read_options(ListenSpec, words, spot, foreign=True)
    if not values.get("endpoint"):
        return None
    try:
        end = parse_endpoint(values["endpoint"], spot.base_dir)
    except Unfit as error:
        spot.caught(error)
        return None
    for name in end.extra:
        if name in values:
            spot.wrong(f"option {name!r} is given twice", found=name)
    values.update(end.extra)
    _check_listen(values, end.tls, spot)
    if end.address is None and "backlog" in values:
        spot.wrong("option 'backlog' is only for tcp, tls and unix listeners", found="backlog")
    if (end.address is None or end.address.kind != "unix") and "mode" in values:
        spot.wrong("option 'mode' is only for unix listeners", found="mode")
    if spot.failed:
        return None
    values["certificates"] = _certificates(values, scope.names("certificate"), spot)
    return ListenSpec(address=end.address, tls=end.tls, where=spot.where, **values)


def _certificates(values: dict[str, Any], sections: Collection[str], spot: Spot) -> tuple[str, ...]:
    return tuple(
        item if item in sections else units.parse("path", item, {}, spot.base_dir)
        for item in values.get("certificates", ())
    )


def _check_listen(values: dict[str, Any], tls: bool, spot: Spot) -> None:
    if tls and not values.get("certificates", ()):
        if "certificates" not in values or values["certificates"] == ():
            spot.wrong("a tls listener needs certificates=NAME, a PEM file or a folder")
    elif not tls:
        for name in LISTEN_TLS:
            if name in values:
                spot.wrong(f"option {name!r} is only for tls: listeners", found=name)


def _dump(spec: Any) -> str:
    """Return the line, without options that are part of the endpoint."""
    extra = parse_endpoint(spec.endpoint).extra
    fields = attrs.fields_dict(type(spec))
    within: dict[str, Any] = {name: fields[name].default for name in extra}
    return dump_words(evolve(spec, **within))


def read_admin(
    words: Sequence[Word], spot: Spot, certificates: Collection[str] = ()
) -> AdminSpec | None:
    """Read ``ENDPOINT options``; ``certificates`` are names of sections or paths."""
    values = read_options(AdminSpec, words, spot)
    if not values.get("endpoint"):
        if not spot.failed:
            spot.wrong("an address is missing, such as tcp:8404:interface=127.0.0.1")
        return None
    try:
        end = parse_endpoint(values["endpoint"], spot.base_dir)
    except Unfit as error:
        spot.caught(error)
        return None
    if end.address is None:
        spot.wrong(f"{values['endpoint']!r}: write tcp:PORT, tls:PORT, unix:PATH or IP:PORT")
        return None
    for name in end.extra:
        if name in values:
            spot.wrong(f"option {name!r} is given twice", found=name)
    values.update(end.extra)
    if end.address.kind != "unix" and "mode" in values:
        spot.wrong("option 'mode' is only for unix sockets", found="mode")
    if end.tls and not values.get("certificates"):
        spot.wrong("a tls address needs certificates=NAME, a PEM file or a folder")
    for name in ("certificates", "client_ca"):
        if name in values and not end.tls:
            spot.wrong(f"option {name!r} is only for tls: addresses", found=name)
    if spot.failed:
        return None
    values["certificates"] = _certificates(values, certificates, spot)
    return AdminSpec(address=end.address, tls=end.tls, where=spot.where, **values)


def _read_admin(words: Sequence[Word], spot: Spot, scope: Scope) -> AdminSpec | None:
    return read_admin(words, spot, scope.names("certificate"))


LISTEN = Line(
    "listen",
    _read_listen,
    _dump,
    words="listen lines (see `listen line`)",
    intro="``ENDPOINT`` and options. Endpoints are ``tcp:PORT``, ``tcp:PORT:interface=IP``, "
    "``tcp6:PORT``,"
    " ``tls:PORT``, ``IP:PORT``, ``unix:PATH``, ``systemd:domain=INET:index=0`` and those of "
    "Twisted plugins.",
    options=ListenSpec,
)
ADMIN = Line(
    "admin",
    _read_admin,
    _dump,
    words="admin lines (see `admin line`)",
    intro="``ENDPOINT`` and options. Endpoints are ``tcp:PORT:interface=IP``, ``tls:PORT``, "
    "``IP:PORT`` and"
    " ``unix:PATH``. An address outside the loopback interface needs ``admin_tokens`` or "
    "``client_ca``.",
    options=AdminSpec,
)
