"""PURE. Lines of ``check``, ``passive`` and ``agent``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbproxy.config.line import Line, Scope, dump_words, options_line
from lbproxy.config.options import Spot, construct, dump_options, option_fields, read_options
from lbproxy.config.plugins import dump_plugin, read_plugin
from lbproxy.config.words import Word
from lbproxy.model import AgentSpec, CheckSpec, PassiveSpec

__all__ = ["AGENT", "CHECK", "PASSIVE"]


def _read_check(words: Sequence[Word], spot: Spot, scope: Scope) -> CheckSpec | None:
    """Read ``KIND words``; the probe's Options get the words that CheckSpec does not know."""
    known = option_fields(CheckSpec)
    flags = {name for name, f in known.items() if f.metadata["kind"] == "flag"}
    ours: list[Word] = []
    rest: list[Word] = list(words[:1])
    for word in words[1:]:
        pair = word.option()
        mine = pair[0] in known if pair is not None else word.is_bare and word.text in flags
        (ours if mine else rest).append(word)
    probe = read_plugin("probe", rest, spot, scope.resolve, extra=tuple(known))
    values = read_options(CheckSpec, ours, spot)
    if values.get("no_tls"):
        for name in ("tls", "sni", "ca", "verify"):
            if name in values:
                spot.wrong(f"option {name!r} has no effect with 'no_tls'", found=name)
    if probe is None or spot.failed:
        return None
    return CheckSpec(probe=probe, where=spot.where, **values)


def _dump_check(spec: CheckSpec) -> str:
    return " ".join((*dump_plugin(spec.probe, option_fields(CheckSpec)), *dump_options(spec)))


def _read_passive(words: Sequence[Word], spot: Spot, scope: Scope) -> PassiveSpec | None:
    """Read ``on``, ``off`` or options; ``on`` may precede options."""
    first = words[0].bare if words else None
    if first == "off" and len(words) == 1:
        return None
    values = read_options(PassiveSpec, words[1:] if first == "on" else words, spot, extra=("on",))
    if spot.failed:
        return None
    values["where"] = spot.where
    made: PassiveSpec | None = construct(PassiveSpec, values, spot, "passive")
    return made


def _dump_passive(spec: Any) -> str:
    return dump_words(spec) or "on"


CHECK = Line(
    "check",
    _read_check,
    _dump_check,
    words="a check line (see `check line`)",
    intro="``PROBE`` with its own options, and these:",
    options=CheckSpec,
)
PASSIVE = Line(
    "passive",
    _read_passive,
    _dump_passive,
    words="``on``, ``off`` or options (see `passive line`)",
    intro="``on``, or some of these:",
    options=PassiveSpec,
)
AGENT = options_line(
    "agent",
    AgentSpec,
    words="an agent line (see `agent line`)",
    intro="``PORT`` and options:",
)
