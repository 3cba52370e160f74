"""PURE. ``[backend NAME]``: its servers, balancer, checks, and what happens to its traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from lbproxy.config.draft import Draft
from lbproxy.config.lines.plugin import DEFAULT_BALANCER
from lbproxy.config.plugins import trial
from lbproxy.config.section import Judge, Section
from lbproxy.config.sections.backend_effects import check_backend_effects
from lbproxy.config.sections.modes import settle_modes
from lbproxy.model import (
    BackendSpec,
    CheckSpec,
    MirrorSpec,
    Mode,
    PassiveSpec,
    PluginSpec,
    RebalanceSpec,
    ServerSpec,
    TemplateSpec,
)

__all__ = ["BACKEND"]


def _prepare(draft: Draft, read: Callable[[str, str], None]) -> None:
    if "balance" not in draft.lines:
        read("balance", DEFAULT_BALANCER)
    if "servers" in draft.values:
        lines = draft.values["servers"]
        found = tuple(one for one in lines if isinstance(one, TemplateSpec))
        draft.values["servers"] = tuple(one for one in lines if one not in found)
        if found:
            draft.values["discover"] = (*draft.get("discover"), *found)
            draft.lines.setdefault("discover", draft.line("servers"))


def _between(judge: Judge) -> None:
    settle_modes(judge)
    for draft in judge.drafts.of("backend"):
        _mirror(draft, judge)


def _check(draft: Draft, judge: Judge) -> None:
    servers = draft.get("servers", None)
    found: tuple[TemplateSpec, ...] = draft.get("discover")
    if servers is None and not found and not draft.broken & {"servers", "discover"}:
        message = "the backend has no servers; if they are added at run time, write servers = none"
        judge.wrong(draft, draft.line("servers"), "servers", message)
    servers = servers or ()
    for server in (*servers, *(one.server for one in found)):
        _server(draft, judge, server)
    _discovered(draft, judge, servers, found)
    mode: Mode | None = draft.values.get("mode")
    balancer: PluginSpec | None = draft.get("balance", None)
    if balancer is not None:
        _balancer(draft, judge, balancer, mode)
    sticky: PluginSpec | None = draft.get("sticky", None)
    if mode is not None:
        judge.plugins(draft, mode, "filters", draft.get("filters"))
        judge.plugins(draft, mode, "sticky", () if sticky is None else (sticky,))
        judge.http_only(draft, mode)
    check: CheckSpec | None = draft.get("check", None)
    if check is not None:
        _active(draft, judge, check, servers)
    _passive(draft, judge, mode)
    _rebalance(draft, judge, mode)
    _hedge(draft, judge)
    check_backend_effects(draft, judge.problems)
    fields = attrs.fields_dict(BackendSpec)
    least, most = draft.get("pool_min", 0), draft.get("pool_size", fields["pool_size"].default)
    if "pool_size" not in draft.broken and least > most:
        message = f"must be at most pool_size, which is {most}"
        judge.wrong(draft, draft.line("pool_min"), "pool_min", message, found=str(least))
    if least and draft.get("reuse", "") == "never":
        message = "has no effect with reuse = never; remove one of the two"
        judge.wrong(draft, draft.line("pool_min"), "pool_min", message, found=str(least))


def _discovered(
    draft: Draft, judge: Judge, servers: Sequence[ServerSpec], found: Sequence[TemplateSpec]
) -> None:
    """Report servers that get the same name, and discovered servers that a guard cannot check."""
    names = {server.name: server.where for server in servers}
    for spec in found:
        taken = next((name for name in spec.names if name in names), None)
        if taken is not None:
            message = f"server {taken!r} is already defined, at {names[taken]}"
            judge.wrong(draft, spec.where, "servers", message, found=taken)
        names.update(dict.fromkeys(spec.names, spec.where))
        if draft.get("guard", "off") != "off":
            message = "addresses found by dns: are not checked; write a server with a name"
            judge.wrong(draft, draft.line("guard"), "guard", message)


def _rebalance(draft: Draft, judge: Judge, mode: Mode | None) -> None:
    spec: RebalanceSpec | None = draft.get("rebalance", None)
    if spec is None:
        return
    spot = judge.spot(draft, "rebalance", spec.where)
    wanted = {"websocket": "http", "tcp": mode}.get(spec.protocol, "tcp")
    if mode is not None and mode != wanted:
        spot.wrong(
            f"{spec.protocol} is for backends with mode {wanted}, but this one is {mode}",
            found=spec.protocol,
        )
    sticky: PluginSpec | None = draft.get("sticky", None)
    if sticky is not None and not getattr(sticky.cls, "forgets", False):
        spot.wrong(
            f"sticky = {sticky.name} would send every moved client back at once: its cookie names "
            "the server",
            found=sticky.name,
        )


def _hedge(draft: Draft, judge: Judge) -> None:
    if not draft.get("hedge", 0.0):
        return
    line = draft.line("hedge")
    if draft.get("sticky", None) is not None:
        message = "sends a request to a second server, but sticky keeps a client on one"
        judge.wrong(draft, line, "hedge", message)
    retries = attrs.fields_dict(BackendSpec)["retries"].default
    if not draft.get("retries", retries) and "retries" not in draft.broken:
        judge.wrong(
            draft, line, "hedge", "needs retries, which is 0: the second attempt counts as a retry"
        )


def _mirror(draft: Draft, judge: Judge) -> None:
    spec: MirrorSpec | None = draft.get("mirror", None)
    if spec is None:
        return
    target = judge.drafts.find("backend", spec.backend)
    spot = judge.spot(draft, "mirror", spec.where)
    if spec.backend not in judge.backends:
        message = f"there is no backend {spec.backend!r}"
        spot.wrong(message, found=spec.backend, known=sorted(judge.backends))
    elif spec.backend == draft.name:
        spot.wrong("a backend cannot be its own mirror", found=spec.backend)
    elif target is not None and target.values.get("mode") == "tcp":
        spot.wrong(f"backend {spec.backend!r} is tcp; a mirror must be http", found=spec.backend)


def _passive(draft: Draft, judge: Judge, mode: Mode | None) -> None:
    spec: PassiveSpec | None = draft.get("passive", None)
    if spec is None or mode != "tcp" or spec.count == PassiveSpec().count:
        return
    for cause in ("junk", "5xx"):
        if cause in spec.count:
            judge.wrong(
                draft, draft.line("passive"), "passive",
                f"count: {cause!r} applies to HTTP responses, but this backend is tcp", found=cause,
            )  # fmt: skip


def _server(draft: Draft, judge: Judge, server: Any) -> None:
    name = server.certificate
    if name and name not in judge.certificates:
        judge.wrong(
            draft, server.where, "servers", f"there is no certificate {name!r}",
            found=name, known=sorted(judge.certificates),
        )  # fmt: skip
    if server.ca and not judge.exists(server.ca):
        judge.wrong(
            draft, server.where, "servers", f"ca: no such file: {server.ca}", found=server.ca
        )


def _balancer(draft: Draft, judge: Judge, spec: PluginSpec, mode: Mode | None) -> None:
    spot = judge.spot(draft, "balance", spec.where)
    balancer = trial(spec, spot, draft.name)
    if balancer is None or mode != "tcp":
        return
    try:
        needs = {str(getattr(need, "value", need)) for need in balancer.needs}
    except Exception as error:
        spot.wrong(f"{spec.name}: its needs raised {type(error).__name__}: {error}")
        return
    if "request" in needs:
        spot.wrong(
            f"{spec.name!r}, as written, needs the HTTP request, which a backend in tcp mode "
            "does not have",
            found=spec.name,
        )


def _active(draft: Draft, judge: Judge, check: CheckSpec, servers: Sequence[ServerSpec]) -> None:
    whole = "servers" not in draft.broken
    if whole and servers and all(server.no_check for server in servers):
        judge.wrong(draft, draft.line("check"), "check", "every server has no_check")
    spot = judge.spot(draft, "check", check.where)
    probe = trial(check.probe, spot, draft.name)
    if probe is None:
        return
    secure = bool(getattr(probe, "secure", False))
    if secure and check.no_tls:
        spot.wrong(
            f"{check.probe.name!r}, as written, needs TLS and cannot use 'no_tls'", found="no_tls"
        )
    if check.ca and not judge.exists(check.ca):
        spot.wrong(f"ca: no such file: {check.ca}", found=check.ca)
    if whole and not (secure or check.tls or any(server.tls for server in servers)):
        given = {"sni": check.sni, "ca": check.ca, "verify": check.verify is not None}
        for name in (name for name, value in given.items() if value):
            spot.wrong(f"option {name!r} has no effect without 'tls'", found=name)


BACKEND = Section(
    "backend",
    BackendSpec,
    doc="A set of servers and the settings for their use.",
    field="backends",
    plural="backends",
    prepare=_prepare,
    between=_between,
    check=_check,
)
