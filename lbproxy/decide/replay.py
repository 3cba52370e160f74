"""CONTROL. Logged requests through two configurations, without any traffic: ``lbproxy replay``.

:func:`lbproxy.decide.logline.read_line` makes a request of a line of an access log,
:class:`lbproxy.decide.decider.Decider` says what a configuration does with one, :func:`replay`
counts where two of them differ.  It compares decisions for which the log has enough information:
refusals by address lists, request heads that are not taken, routes, their actions, backends,
targets and exits of CORS proxies, the filters on the way, and of the balancer the servers it
chooses from, or its pick where that depends on nothing but the request.  Challenge and shedding are
compared for requests that go to a backend, as for clients without a pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import asdict, define, field

from lbproxy.config.model import Config
from lbproxy.decide.decider import Decider, RequestDecision
from lbproxy.decide.logline import LoggedRequest, read_line
from lbproxy.decide.protection import is_challenged
from lbproxy.proxy.features.waf.spec import WafSpec

__all__ = ["ReplayResult", "RequestDifference", "replay", "unknown_inputs"]

EXAMPLES = 3
"""Examples that are kept of each difference."""


@define
class RequestDifference:
    """Requests that are decided differently in the same way.

    ``fields``: what differs, each with its value before and after.  ``examples``: (line number,
    text).
    """

    fields: dict[str, tuple[str, str]]
    count: int = 0
    examples: list[tuple[int, str]] = field(factory=list)


@define
class ReplayResult:
    """The result of a replay.

    ``skipped``: lines that are no requests. ``surprises``: requests for which the log has another
    backend than the old configuration selects.
    """

    requests: int = 0
    changed: int = 0
    skipped: int = 0
    surprises: int = 0
    differences: list[RequestDifference] = field(factory=list)
    unknown: list[str] = field(factory=list)

    def as_json(self) -> str:
        """For programs."""
        found = asdict(self)
        for one in found["differences"]:
            one["fields"] = {k: {"old": old, "new": new} for k, (old, new) in one["fields"].items()}
            one["examples"] = [{"line": line, "request": text} for line, text in one["examples"]]
        return json.dumps(found, indent=2)

    def as_text(self) -> str:
        """For people."""
        lines = [f"{self.requests:,} requests, {self.changed:,} are decided differently"]
        if self.skipped:
            lines[0] += f" ({self.skipped:,} lines are no requests)"
        for one in self.differences:
            share = 100 * one.count / self.requests
            lines.append(f"\n{one.count:,} ({share:.3g}%)")
            for name, (old, new) in one.fields.items():
                lines.append(f"  {name:<8} {old or '-'} -> {new or '-'}")
            lines += [f"  e.g. line {number}: {text}" for number, text in one.examples]
        if self.surprises:
            lines.append(
                f"\nnote: of {self.surprises:,} requests the log has another backend than the old"
                " configuration decides on"
            )
        if self.unknown:
            lines.append(f"\nnote: not in the log, so taken as absent: {', '.join(self.unknown)}")
        return "\n".join(lines)


def unknown_inputs(*configs: Config) -> list[str]:
    """Return inputs that a log does not contain: bodies, headers, cookies and the time."""
    found: dict[str, None] = {}
    if any(config.of(WafSpec) for config in configs):
        found["bodies and other headers of requests that a firewall judges"] = None
    if any(is_challenged(one) for config in configs for one in config.frontends):
        found["passes of the challenge, Accept, and whether the alert attack fires"] = None
    if any(one.mode == "corsproxy" for config in configs for one in config.frontends):
        found["keys and Origin of calls of a CORS proxy, which count as allowed"] = None
    for config in configs:
        for frontend in config.frontends:
            for route in frontend.routes:
                for verb, args, _ in route.conditions:
                    if verb == "time":
                        found["the time (now is taken)"] = None
                    elif verb == "cookie":
                        found[f"cookie {args[0]}"] = None
                    elif verb == "header" and args[0].lower() not in (
                        "host",
                        "user-agent",
                        "referer",
                    ):
                        found[f"header {args[0]}"] = None
    return list(found)


def replay(
    lines: Iterable[str], old: Config, new: Config, *, host: str = "localhost", frontend: str = ""
) -> ReplayResult:
    """Decide about every line with both; ``differences`` come with the most frequent first."""
    before, after = Decider(old), Decider(new)
    result = ReplayResult(unknown=unknown_inputs(old, new))
    found: dict[tuple[RequestDecision, RequestDecision], RequestDifference] = {}
    for number, request in _requests(lines, result, host, frontend):
        result.requests += 1
        one, two = before.decide(request), after.decide(request)
        if request.backend and one.backend != request.backend:
            result.surprises += 1
        if one == two:
            continue
        key = (one, two)
        difference = found.get(key)
        if difference is None:
            fields = {} if one.same(two) else _fields(one, two)
            difference = found[key] = RequestDifference(fields)
        if not difference.fields:
            continue
        result.changed += 1
        difference.count += 1
        if len(difference.examples) < EXAMPLES:
            difference.examples.append((number, request.text))
    result.differences = _grouped(one for one in found.values() if one.fields)
    return result


def _requests(
    lines: Iterable[str], result: ReplayResult, host: str, frontend: str
) -> Iterator[tuple[int, LoggedRequest]]:
    for number, line in enumerate(lines, 1):
        request = read_line(line, host, frontend)
        if request is not None:
            yield number, request
        elif line.strip():
            result.skipped += 1


def _fields(old: RequestDecision, new: RequestDecision) -> dict[str, tuple[str, str]]:
    """Return the fields that differ, without consequences of another backend."""
    fields = {
        name: (before, after)
        for (name, before), after in zip(asdict(old).items(), asdict(new).values(), strict=True)
        if before != after
    }
    if "backend" in fields or "answer" in fields:
        for name in ("server", "servers"):
            fields.pop(name, None)
    if "servers" in fields and "server" in fields:
        fields.pop("servers")
    return fields


def _grouped(found: Iterable[RequestDifference]) -> list[RequestDifference]:
    groups: dict[tuple[Any, ...], RequestDifference] = {}
    for one in found:
        key = tuple(one.fields.items())
        group = groups.setdefault(key, RequestDifference(one.fields))
        group.count += one.count
        group.examples = sorted([*group.examples, *one.examples])[:EXAMPLES]
    return sorted(groups.values(), key=lambda one: -one.count)
