"""PURE. ``[lbproxy]``: checks of the admin side, the secret and workers."""

from __future__ import annotations

from ipaddress import ip_address

from lbproxy.config.draft import Draft
from lbproxy.config.section import Judge, Section
from lbproxy.config.sections.logs import check_logs
from lbproxy.model import Address, AdminSpec, GlobalSpec, read_name_server

__all__ = ["SETTINGS"]

_ADMIN = ("admin_tokens", "admin_hosts", "admin_public", "metrics_servers")


def _check(draft: Draft, judge: Judge) -> None:
    secret: str = draft.get("secret", "")
    if secret.startswith("file:"):
        judge.file(draft, "secret", draft.line("secret"), secret.removeprefix("file:"))
    for text in draft.get("nameservers"):
        try:
            read_name_server(text)
        except ValueError as error:
            where = draft.line("nameservers")
            judge.wrong(draft, where, "nameservers", str(error), found=text)
    _admin(draft, judge)
    _workers(draft, judge)
    if not (draft.get("admin") or "admin" in draft.broken):
        for key in _ADMIN:
            if key in draft.values:
                judge.wrong(draft, draft.line(key), key, "has no effect without 'admin'")


def _admin(draft: Draft, judge: Judge) -> None:
    """Check that callers from other machines must identify themselves."""
    public = draft.get("admin_public")
    if "none" in public and len(public) > 1:
        judge.wrong(
            draft, draft.line("admin_public"), "admin_public",
            "'none' cannot be combined with other words", found="none",
        )  # fmt: skip
    tokens = draft.get("admin_tokens", "")
    judge.file(draft, "admin_tokens", draft.line("admin_tokens"), tokens)
    for spec in draft.get("admin"):
        judge.key_pairs(draft, "admin", spec.where, spec.certificates)
        judge.file(draft, "admin", spec.where, spec.client_ca, "client_ca")
        if not (tokens or "admin_tokens" in draft.broken or _guarded(spec)):
            judge.wrong(
                draft, spec.where, "admin",
                f"{spec.endpoint!r} can be reached from other machines, and any of them could "
f"{'read' if spec.role == 'read' else 'change'} everything: "
"set admin_tokens, use tls: with client_ca=, or listen on the loopback interface "
"(tcp:8404:interface=127.0.0.1) or on unix:PATH", found=spec.endpoint,
            )  # fmt: skip


def _guarded(spec: AdminSpec) -> bool:
    assert spec.address is not None
    return bool(spec.client_ca) or local(spec.address)


def local(address: Address) -> bool:
    """Return whether only programs on this machine can connect to ``address``."""
    if address.kind == "unix":
        return True
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return False


def _workers(draft: Draft, judge: Judge) -> None:
    """Report listeners that workers cannot share, because lbproxy does not bind their sockets."""
    if draft.get("workers", 1) == 1:
        return
    for frontend in judge.drafts.of("frontend"):
        for listen in frontend.get("listen"):
            if listen.address is None:
                message = f"{listen.endpoint!r} can only be used with workers = 1"
                judge.wrong(frontend, listen.where, "listen", message, found=listen.endpoint)


SETTINGS = Section(
    "lbproxy",
    GlobalSpec,
    doc="Settings of the process.",
    field="settings",
    single=True,
    between=check_logs,
    check=_check,
)
