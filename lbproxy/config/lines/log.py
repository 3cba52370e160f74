"""PURE. Lines of ``access_log``: destination, format and rotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbproxy.config import units
from lbproxy.config.addresses import parse_address, socket_path
from lbproxy.config.conditions import dump_conditions, find_if, read_conditions
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope
from lbproxy.config.options import Spot, dump_options, read_options
from lbproxy.config.words import Word, quote
from lbproxy.model import Address, LogSpec

__all__ = ["LOG", "LOG_FILE", "LOG_SYSLOG", "syslog_address"]

LOG_FORMATS = ("json", "common", "combined")
LOG_FILE = ("rotate_size", "rotate_every", "keep")
LOG_SYSLOG = ("facility", "tag")
SYSLOG_PORTS = {"udp": 514, "tcp": 601, "unix": 0}  # RFC 5426 §3.3, RFC 6587 §3.2.1

_INTRO = """\
The destination: ``PATH``, ``stdout``, ``syslog:udp:HOST[:PORT]``, ``syslog:tcp:HOST[:PORT]``,
``syslog:unix:PATH`` or ``off``. Then the format: ``json`` (the default), ``common``, ``combined``
or a quoted format. Then options. Last, ``if`` and conditions as in a `route line`, to log only what
matches them. The options:"""


def _read(words: Sequence[Word], spot: Spot, scope: Scope) -> LogSpec | None:
    """Read ``PATH|stdout|off|syslog:... [FORMAT] [options] [if CONDITIONS]``.

    A FORMAT that is not a known name is a custom format.
    """
    at = find_if(words)
    conditions = read_conditions(words[at + 1 :], spot, scope, response=True)
    words = words[:at]
    plain = [word for word in words if word.option() is None]
    values = read_options(LogSpec, [word for word in words if word.option() is not None], spot)
    if not plain or len(plain) > 2:
        spot.wrong(
            "write PATH, stdout, syslog:... or off, then json, common, combined or a quoted "
            "format, then options" + (f"; found {len(plain)} words" if plain else "")
        )
        return None
    path = _log_target(plain[0], spot)
    form = plain[1] if len(plain) == 2 else Word("json", bare="json")
    if form.is_bare and form.text not in LOG_FORMATS:
        message = f"unknown log format {form.text!r}; quote a custom format"
        spot.wrong(message, found=form.text, known=LOG_FORMATS)
    for names, fits, where in (
        (LOG_FILE, _is_file(path), "a file"),
        (LOG_SYSLOG, path.startswith("syslog:"), "syslog"),
    ):
        for name in names:
            if name in values and not fits and not spot.failed:
                spot.wrong(f"option {name!r} is only for a log that goes to {where}", found=name)
    return (
        None
        if spot.failed
        else LogSpec(path, form.text, **values, conditions=conditions, where=spot.where)
    )


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
    """Return the transport and the address of a syslog destination.

    It is ``syslog:udp:HOST[:PORT]``, ``syslog:tcp:...`` or ``syslog:unix:PATH``. Raises
    :class:`Unfit`.
    """
    transport, _, rest = target.removeprefix("syslog:").partition(":")
    if transport not in SYSLOG_PORTS:
        raise Unfit(
            f"{target[:80]!r} is not a syslog server: write syslog:udp:HOST[:PORT], "
            "syslog:tcp:HOST[:PORT] or"
            " syslog:unix:/dev/log",
            found=transport,
            known=tuple(SYSLOG_PORTS),
        )
    if transport == "unix":
        if not rest.startswith("/"):
            raise Unfit(f"{target[:80]!r}: the path of a Unix socket must be absolute")
        return transport, Address("unix", path=socket_path(rest))
    if ":" not in rest or rest.endswith("]"):
        rest = f"{rest}:{SYSLOG_PORTS[transport]}"
    return transport, parse_address(rest)


def _dump(spec: LogSpec) -> str:
    form = spec.format if spec.format in LOG_FORMATS else quote(spec.format, force=True)
    words = [quote(spec.path) if spec.path else "off", form, *dump_options(spec)]
    if spec.conditions:
        words += ["if", *dump_conditions(spec.conditions)]
    return " ".join(words)


def _default(value: Any) -> str:
    return "off" if value is not None else "as in [lbproxy]"


LOG = Line(
    "log",
    _read,
    _dump,
    words="a log line (see `log line`)",
    default=_default,
    intro=_INTRO,
    options=LogSpec,
)
