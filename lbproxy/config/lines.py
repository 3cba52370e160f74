"""PURE. The small languages of single lines: servers, listeners, checks and access logs.

Each ``read_*`` takes one line's words and a :class:`lbproxy.config.options.Spot` for its mistakes, and
gives the spec or None.  Each ``dump_*`` gives the line back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
from attrs import evolve

from lbproxy.config import units
from lbproxy.config.endpoint import parse_endpoint
from lbproxy.config.errors import Unfit
from lbproxy.config.model import (
    Address,
    AdminSpec,
    AgentSpec,
    CheckSpec,
    CommandSpec,
    ListenSpec,
    LogSpec,
    MailSpec,
    MirrorSpec,
    PassiveSpec,
    RebalanceSpec,
    RuleSpec,
    ServerSpec,
    WebhookSpec,
)
from lbproxy.config.options import Spot, construct, dump_options, option_fields, read_options
from lbproxy.config.plugins import Resolve, dump_plugin, find_class, read_plugin
from lbproxy.config.words import Word, quote

__all__ = [
    "LINES",
    "dump_admin",
    "dump_agent",
    "dump_check",
    "dump_line",
    "dump_listen",
    "dump_log",
    "dump_mirror",
    "dump_passive",
    "dump_rebalance",
    "dump_server",
    "read_admin",
    "read_agent",
    "read_check",
    "read_line",
    "read_listen",
    "read_log",
    "read_mirror",
    "read_passive",
    "read_rebalance",
    "read_server",
    "syslog_address",
]

NEEDS_TLS = ("ca", "verify", "sni", "certificate")
LISTEN_TLS = ("certificates", "min_version", "ciphers", "alpn")
LOG_FORMATS = ("json", "common", "combined")
LOG_FILE = ("rotate_size", "rotate_every", "keep")
LOG_SYSLOG = ("facility", "tag")
SYSLOG_PORTS = {"udp": 514, "tcp": 601, "unix": 0}  # RFC 5426 §3.3, RFC 6587 §3.2.1


def read_server(words: Sequence[Word], spot: Spot) -> ServerSpec | None:
    """``NAME ADDRESS options``."""
    values = read_options(ServerSpec, words, spot)
    if not values.get("tls"):
        for name in NEEDS_TLS:
            if name in values:
                spot.wrong(f"option {name!r} has no effect without 'tls'", found=name)
    if values.get("backup") and "tier" in values:
        spot.wrong("option 'tier' has no effect with 'backup', which comes after all tiers")
    return None if spot.failed else ServerSpec(**values, where=spot.where)


def dump_server(spec: ServerSpec) -> str:
    """The line :func:`read_server` reads."""
    return " ".join(dump_options(spec))


def read_listen(
    words: Sequence[Word], spot: Spot, certificates: Collection[str] = ()
) -> ListenSpec | None:
    """``ENDPOINT options``; ``certificates`` are the names of sections, other items are paths."""
    values = read_options(ListenSpec, words, spot)
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
    values["certificates"] = _certificates(values, certificates, spot)
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


def dump_listen(spec: ListenSpec) -> str:
    """The line :func:`read_listen` reads."""
    end = parse_endpoint(spec.endpoint)
    fields = attrs.fields_dict(ListenSpec)
    within: dict[str, Any] = {name: fields[name].default for name in end.extra}
    bare = evolve(spec, **within)
    return " ".join(dump_options(bare))


def read_admin(
    words: Sequence[Word], spot: Spot, certificates: Collection[str] = ()
) -> AdminSpec | None:
    """``ENDPOINT options``, as in :func:`read_listen`."""
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


def dump_admin(spec: AdminSpec) -> str:
    """The line :func:`read_admin` reads."""
    extra = parse_endpoint(spec.endpoint).extra
    fields = attrs.fields_dict(AdminSpec)
    within: dict[str, Any] = {name: fields[name].default for name in extra}
    return " ".join(dump_options(evolve(spec, **within)))


LINES: dict[str, type[Any]] = {
    "webhook": WebhookSpec,
    "mail": MailSpec,
    "command": CommandSpec,
    "rule": RuleSpec,
}
"""Lines that are words and options and nothing else: ``lines:NAME`` in the model."""


def read_line(name: str, words: Sequence[Word], spot: Spot) -> Any:
    """One line of the kind ``name`` in :data:`LINES`."""
    values = read_options(LINES[name], words, spot)
    return None if spot.failed else LINES[name](**values, where=spot.where)


def dump_line(spec: Any) -> str:
    """The line :func:`read_line` reads."""
    return " ".join(dump_options(spec))


def read_check(words: Sequence[Word], spot: Spot, resolve: Resolve) -> CheckSpec | None:
    """``KIND words``: those that CheckSpec knows go there, the rest to the probe's Options."""
    known = option_fields(CheckSpec)
    flags = {name for name, f in known.items() if f.metadata["kind"] == "flag"}
    ours: list[Word] = []
    rest: list[Word] = list(words[:1])
    for word in words[1:]:
        pair = word.option()
        mine = pair[0] in known if pair is not None else word.is_bare and word.text in flags
        (ours if mine else rest).append(word)
    probe = read_plugin("probe", rest, spot, resolve, extra=tuple(known))
    values = read_options(CheckSpec, ours, spot)
    if values.get("no_tls"):
        for name in ("tls", "sni", "ca", "verify"):
            if name in values:
                spot.wrong(f"option {name!r} has no effect with 'no_tls'", found=name)
    if probe is None or spot.failed:
        return None
    return CheckSpec(probe=probe, where=spot.where, **values)


def dump_check(spec: CheckSpec) -> str:
    """The line :func:`read_check` reads."""
    return " ".join((*dump_plugin(spec.probe, option_fields(CheckSpec)), *dump_options(spec)))


def read_passive(words: Sequence[Word], spot: Spot) -> PassiveSpec | None:
    """``on``, ``off`` or options; ``on`` may stand before options."""
    first = words[0].bare if words else None
    if first == "off" and len(words) == 1:
        return None
    values = read_options(PassiveSpec, words[1:] if first == "on" else words, spot, extra=("on",))
    if spot.failed:
        return None
    made: PassiveSpec | None = construct(
        PassiveSpec, {**values, "where": spot.where}, spot, "passive"
    )
    return made


def dump_passive(spec: PassiveSpec) -> str:
    """The line :func:`read_passive` reads."""
    return " ".join(dump_options(spec)) or "on"


def read_agent(words: Sequence[Word], spot: Spot) -> AgentSpec | None:
    """``PORT options``."""
    values = read_options(AgentSpec, words, spot)
    return None if spot.failed else AgentSpec(**values, where=spot.where)


def dump_agent(spec: AgentSpec) -> str:
    """The line :func:`read_agent` reads."""
    return " ".join(dump_options(spec))


def read_rebalance(words: Sequence[Word], spot: Spot) -> RebalanceSpec | None:
    """``PROTOCOL options``."""
    values = read_options(RebalanceSpec, words, spot)
    return None if spot.failed else RebalanceSpec(**values, where=spot.where)


def dump_rebalance(spec: RebalanceSpec) -> str:
    """The line :func:`read_rebalance` reads."""
    return " ".join(dump_options(spec))


def read_mirror(words: Sequence[Word], spot: Spot, resolve: Resolve) -> MirrorSpec | None:
    """``BACKEND options``; the predicate is loaded."""
    values = read_options(MirrorSpec, words, spot)
    name = values.get("predicate")
    judge = find_class("predicate", name, spot, resolve) if name else None
    if spot.failed:
        return None
    made: MirrorSpec | None = construct(
        MirrorSpec, {**values, "judge": judge, "where": spot.where}, spot, "mirror"
    )
    return made


def dump_mirror(spec: MirrorSpec) -> str:
    """The line :func:`read_mirror` reads."""
    return " ".join(dump_options(spec))


def read_log(words: Sequence[Word], spot: Spot) -> LogSpec | None:
    """``PATH|stdout|off|syslog:... [FORMAT] [options]``; a FORMAT that is not a known name is a custom one."""
    plain = [word for word in words if word.option() is None]
    values = read_options(LogSpec, [word for word in words if word.option() is not None], spot)
    if not plain or len(plain) > 2:
        spot.wrong(
            "write PATH, stdout, syslog:... or off, then json, common, combined or a quoted format, then options"
            + (f"; {len(plain)} words were found" if plain else "")
        )
        return None
    path = _log_target(plain[0], spot)
    form = plain[1] if len(plain) == 2 else Word("json", bare="json")
    if form.is_bare and form.text not in LOG_FORMATS:
        message = f"unknown log format {form.text!r}; a custom one stands in quotes"
        spot.wrong(message, found=form.text, known=LOG_FORMATS)
    for names, fits, where in (
        (LOG_FILE, _is_file(path), "a file"),
        (LOG_SYSLOG, path.startswith("syslog:"), "syslog"),
    ):
        for name in names:
            if name in values and not fits and not spot.failed:
                spot.wrong(f"option {name!r} is only for a log that goes to {where}", found=name)
    return None if spot.failed else LogSpec(path, form.text, **values, where=spot.where)


def _log_target(word: Word, spot: Spot) -> str:
    if word.is_bare and word.text == "off":
        return ""
    if word.is_bare and word.text == "stdout":
        return "stdout"
    try:
        if word.is_bare and word.text.startswith("syslog:"):
            syslog_address(word.text)
            return word.text
        path: str = units.parse("path", word.text, {}, spot.base_dir)
        return path
    except Unfit as error:
        spot.caught(error)
        return ""


def _is_file(path: str) -> bool:
    return path not in ("", "stdout") and not path.startswith("syslog:")


def syslog_address(target: str) -> tuple[str, Address]:
    """The transport and the address of ``syslog:udp:HOST[:PORT]``, ``syslog:tcp:...`` or ``syslog:unix:PATH``.

    Raises :class:`Unfit`.
    """
    transport, _, rest = target.removeprefix("syslog:").partition(":")
    if transport not in SYSLOG_PORTS:
        raise Unfit(
            f"{target[:80]!r} is no syslog server: write syslog:udp:HOST[:PORT], syslog:tcp:HOST[:PORT] or"
            " syslog:unix:/dev/log",
            found=transport,
            known=tuple(SYSLOG_PORTS),
        )
    if transport == "unix":
        if not rest.startswith("/"):
            raise Unfit(f"{target[:80]!r}: a Unix socket has an absolute path")
        return transport, Address("unix", path=rest)
    if ":" not in rest or rest.endswith("]"):
        rest = f"{rest}:{SYSLOG_PORTS[transport]}"
    return transport, units.parse_address(rest)


def dump_log(spec: LogSpec) -> str:
    """The line :func:`read_log` reads."""
    form = spec.format if spec.format in LOG_FORMATS else quote(spec.format, force=True)
    return " ".join((quote(spec.path) if spec.path else "off", form, *dump_options(spec)))
