"""DATA. Checks of a configuration that concern several sections, for ``[cache NAME]``."""

from __future__ import annotations

import os

from lbproxy.config.section import Judge

__all__ = ["check_together"]


def check_together(judge: Judge) -> None:
    """Report caches that conflict, and those of backends that do not exist."""
    _folders(judge)
    _names(judge)


def _names(judge: Judge) -> None:
    """Report caches of backends that do not exist, also if no route leads there now."""
    known = judge.drafts.names("cache")
    for draft in judge.drafts.of("backend"):
        name = draft.get("cache", "")
        if name in ("", "none", *known) or draft.mode == "tcp":
            continue
        message = f"there is no [cache {name}]"
        judge.wrong(draft, draft.line("cache"), "cache", message, found=name, known=sorted(known))


def _folders(judge: Judge) -> None:
    """Report caches in one folder, because each needs its own index there, and folders in folders
    of others.
    """
    seen: dict[str, str] = {}
    for draft in judge.drafts.of("cache"):
        disk = draft.get("disk", None)
        if disk is None or "disk" in draft.broken:
            continue
        folder = os.path.realpath(disk.folder)
        for known, name in seen.items():
            if folder == known:
                message = f"[cache {name}] has the same folder"
            elif folder.startswith(known + "/"):
                message = f"the folder is inside that of [cache {name}]"
            elif known.startswith(folder + "/"):
                message = f"the folder contains that of [cache {name}]"
            else:
                continue
            judge.wrong(draft, draft.line("disk"), "disk", message)
        seen.setdefault(folder, draft.name)
