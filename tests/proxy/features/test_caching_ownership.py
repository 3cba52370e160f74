"""Folders that another user may have prepared are not used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbproxy.proxy.features.caching.disk import ownership
from lbproxy.proxy.features.caching.disk.ownership import require_own


def test_a_folder_of_our_own_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    require_own(folder)


def test_one_that_everybody_may_write_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(PermissionError, match="everybody may write"):
        require_own(folder)


@pytest.mark.parametrize("link", [False, True])
def test_one_that_somebody_else_made_in_a_shared_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    shared.mkdir()
    shared.chmod(0o1777)
    folder = shared / "cache"
    folder.symlink_to(own) if link else folder.mkdir()
    (folder / "below").mkdir()
    require_own(folder / "below")
    monkeypatch.setattr(ownership.os, "geteuid", lambda: os.getuid() + 1)
    if os.getuid() == 0:
        os.chown(folder, 12345, 12345, follow_symlinks=False)
    for path in (folder, folder / "below"):
        with pytest.raises(PermissionError, match=f"another user has made {folder}"):
            require_own(path)
