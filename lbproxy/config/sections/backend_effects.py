"""PURE. Checks for keys and options of a backend that have no effect.

Such lines are errors, because their author believes that they protect something.
"""

from __future__ import annotations

from collections.abc import Iterator

from lbproxy.config.draft import Draft
from lbproxy.config.errors import Problems
from lbproxy.config.options import Spot
from lbproxy.model import (
    AgentSpec,
    CheckSpec,
    MirrorSpec,
    PassiveSpec,
    ServerSpec,
)

__all__ = ["check_backend_effects"]

_RETRIES = ("retry_on", "retry_backoff", "timeout_retries", "max_retries", "retry_budget")


def check_backend_effects(draft: Draft, problems: Problems) -> None:
    """Report keys and options of a backend without effect to ``problems``."""
    for key, without in _backend_keys(draft):
        if key in draft.inherited:
            continue
        problems.add(
            draft.line(key), draft.title_at(draft.line(key)), key, f"has no effect {without}"
        )
    check: CheckSpec | None = draft.get("check", None)
    agent: AgentSpec | None = draft.get("agent", None)
    servers: tuple[ServerSpec, ...] = draft.get("servers")
    for server in servers:
        spot = Spot(problems, draft.title, "servers", server.where)
        if server.check_address and server.no_check:
            spot.wrong("option 'check_address' has no effect with 'no_check'")
        elif server.check_address and check is None and "check" not in draft.broken:
            spot.wrong("option 'check_address' has no effect without 'check'")
        if server.agent_address and agent is None and "agent" not in draft.broken:
            spot.wrong("option 'agent_address' has no effect without 'agent'")
    passive: PassiveSpec | None = draft.get("passive", None)
    if passive is not None:
        spot = Spot(problems, draft.title, "passive", passive.where)
        for name, without in _passive_options(passive):
            spot.wrong(f"option {name!r} has no effect without {without}", found=name)
    mirror: MirrorSpec | None = draft.get("mirror", None)
    if (
        mirror is not None
        and mirror.ignore != MirrorSpec("x").ignore
        and "headers" not in mirror.compare
        and not mirror.predicate
    ):
        spot = Spot(problems, draft.title, "mirror", mirror.where)
        spot.wrong("option 'ignore' has no effect without 'compare=headers'", found="ignore")


def _backend_keys(draft: Draft) -> Iterator[tuple[str, str]]:
    """Yield keys, and the reason for which each has no effect."""
    if draft.get("retries", 1) == 0:
        for key in _RETRIES:
            if draft.get(key, None):
                yield key, "with 'retries = 0'"
    no_budget = not draft.get("retry_budget", 0.0) and "retry_budget" not in draft.broken
    if no_budget and "retry_floor" in draft.values:
        yield "retry_floor", "without 'retry_budget'"
    no_hedge = not draft.get("hedge", 0.0) and "hedge" not in draft.broken
    if no_hedge and "hedge_share" in draft.values:
        yield "hedge_share", "without 'hedge'"
    if draft.get("no_server", "fail") == "queue" and draft.get("queue", 1) == 0:
        yield "no_server", "with 'queue = 0'"


def _passive_options(spec: PassiveSpec) -> Iterator[tuple[str, str]]:
    usual = PassiveSpec()
    if spec.stdev != usual.stdev and not spec.success_rate:
        yield "stdev", "'success_rate'"
    if spec.latency_min != usual.latency_min and not spec.latency:
        yield "latency_min", "'latency'"
    if spec.success_rate or spec.latency:
        return
    for name in ("every", "min_servers", "min_requests"):
        if getattr(spec, name) != getattr(usual, name):
            yield name, "'success_rate' or 'latency'"
