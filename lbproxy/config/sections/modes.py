"""PURE. The mode of each backend: as written, or derived from the frontends and mirrors that use
it.
"""

from __future__ import annotations

from lbproxy.config.draft import Draft
from lbproxy.config.section import Judge
from lbproxy.model import MirrorSpec, Mode, Where

__all__ = ["settle_modes"]

_Users = dict[Mode, tuple[Draft, Where]]


def settle_modes(judge: Judge) -> None:
    """Set ``mode`` where it is not written. Report backends of both modes, and of none."""
    frontends, backends = judge.drafts.of("frontend"), judge.drafts.of("backend")
    users: dict[str, _Users] = {}
    doubtful: set[str] = set()
    for draft in frontends:
        for name, where in _targets(draft):
            if "mode" in draft.broken:
                doubtful.add(name)
            else:
                users.setdefault(name, {}).setdefault(draft.mode, (draft, where))
    mirrors = {mirror_of(draft) for draft in backends} - {""}
    unread = any({"routes", "backend"} & draft.broken for draft in frontends)
    unread |= any("mirror" in draft.broken for draft in backends)
    unread |= not mirrors <= judge.backends
    unread |= any(mirror_of(draft) == draft.name for draft in backends)
    unread |= bool(judge.drafts.doubtful)
    for backend in backends:
        if "mode" in backend.broken or backend.name in doubtful:
            continue
        used = users.get(backend.name, {})
        if backend.values.get("mode"):
            _agree(judge, backend, used)
        elif len(used) > 1:
            both = " and ".join(f"{d.name!r} ({mode}, {w})" for mode, (d, w) in used.items())
            message = f"used by frontends of both modes: {both}"
            judge.wrong(backend, backend.where, "mode", message)
        elif used or backend.name in mirrors:
            backend.values["mode"] = next(iter(used), "http")
        elif not unread:
            message = "no frontend uses this backend; write its mode (tcp or http), or remove it"
            judge.wrong(backend, backend.where, "mode", message)
        _disinherit(backend)


def _disinherit(backend: Draft) -> None:
    """Drop the keys inherited from a ``[defaults]`` of the other mode."""
    mode = backend.values.get("mode")
    for key, wanted in list(backend.inherited.items()):
        if mode and wanted not in ("any", mode):
            backend.values.pop(key, None)
            del backend.inherited[key], backend.lines[key]


def _agree(judge: Judge, backend: Draft, used: _Users) -> None:
    """Check that the written mode is that of all frontends."""
    written: Mode = backend.values["mode"]
    for mode, (frontend, where) in used.items():
        if mode != written:
            message = f"{written!r}, but frontend {frontend.name!r} at {where} is {mode!r}"
            judge.wrong(backend, backend.line("mode"), "mode", message, found=written)


def mirror_of(draft: Draft) -> str:
    """Return the backend that gets copies of a backend's requests, "" for none."""
    spec: MirrorSpec | None = draft.get("mirror", None)
    return spec.backend if spec is not None else ""


def _targets(draft: Draft) -> list[tuple[str, Where]]:
    """Return the backends that a frontend names, with their positions."""
    found = [(route.backend, route.where) for route in draft.get("routes") if route.backend]
    if draft.get("backend", ""):
        found.append((draft.get("backend"), draft.line("backend")))
    return found
