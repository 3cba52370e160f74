"""A cache larger than the machine is a warning of ``check`` and in the log, not an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from lbproxy.generation.featurewarnings import feature_warnings
from lbproxy.proxy.features.caching import oversize
from lbproxy.proxy.features.caching.memorylimits import group_memory
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from tests.support.caching import config_with


@pytest.mark.parametrize("size", ["512t", "8388607t"])
def test_memory_that_the_machine_does_not_have(tmp_path: Path, size: str) -> None:
    file = tmp_path / "lb.ini"
    file.write_text(config_with(f"memory = {size}"))
    done = CliRunner().invoke(main, ["check", str(file)])
    assert done.exit_code == 0
    assert (
        f"warning: cache main: 'memory' ({size}) is larger than the memory of this" in done.output
    )
    with LB.from_config(file.read_text()) as lb:
        assert any("is larger than the memory" in text for text in lb.service.warnings())


def test_a_file_system_that_is_smaller(tmp_path: Path) -> None:
    folder = tmp_path / "later" / "cache"
    config = parse_config(config_with(f"disk = {folder} 8000t"))
    [text] = feature_warnings(config)
    assert f"'disk' (8000t) is larger than the file system of {folder} (" in text


def test_sizes_that_fit() -> None:
    assert feature_warnings(parse_config(config_with("memory = 1m"))) == []


# -- control groups, several caches, several processes -------------------------------------------

MIB = 1024 * 1024
UNLIMITED = 9223372036854771712
"""What version 1 says for no limit."""


def groups_at(tmp_path: Path, own: str, mounts: str, limits: dict[str, int | str]) -> Path:
    """Write control groups below ``tmp_path / "fs"``, and return the folder of the process."""
    top = tmp_path / "fs group"
    for name, limit in limits.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(own)
    shown = str(top).replace(" ", "\\040")
    (proc / "mountinfo").write_text(
        f"24 1 0:22 / /proc rw - proc proc rw\n{mounts}".replace("TOP", shown)
    )
    return proc


V2 = "30 23 0:26 / TOP rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:32 / TOP rw shared:1 - cgroup cgroup rw,cpu,memory\n"


@pytest.mark.parametrize(
    ("own", "mounts", "limits", "wanted"),
    [
        # the own group and its parents
        ("0::/a/b\n", V2, {"a/b/memory.max": 512 * MIB, "a/memory.max": "max"}, 512 * MIB),
        ("0::/a/b\n", V2, {"a/b/memory.max": "max", "a/memory.max": 256 * MIB}, 256 * MIB),
        ("0::/a/b\n", V2, {"a/b/memory.max": 3 * MIB, "a/memory.max": 2 * MIB}, 2 * MIB),
        ("0::/a/b\n", V2, {"c/memory.max": 2 * MIB}, None),
        ("0::/a/b\n", V2, {"a/b/memory.max": "max"}, None),
        ("0::/a/b\n", V2, {"a/b/memory.max": "odd"}, None),
        # a container sees its own group as the root, with or without a namespace
        ("0::/\n", V2, {"memory.max": 64 * MIB}, 64 * MIB),
        ("0::/docker/x\n", V2.replace("/ TOP", "/docker TOP"), {"x/memory.max": 9}, 9),
        ("0::/../../x\n", V2.replace("/ TOP", "/../.. TOP"), {"memory.max": 9}, 9),
        # version 1, alone and beside version 2 without memory
        ("7:cpu,memory:/a\n", V1, {"a/memory.limit_in_bytes": 64 * MIB}, 64 * MIB),
        (
            "7:cpu,memory:/a/b\n1:name=systemd:/x\n0::/x\n",
            V1 + V2.replace("TOP", "TOP/unified"),
            {"a/b/memory.limit_in_bytes": UNLIMITED, "a/memory.limit_in_bytes": MIB},
            MIB,
        ),
        ("7:cpu,memory:/docker/x\n", V1.replace("/ TOP", "/docker/x TOP"),
            {"memory.limit_in_bytes": 5}, 5),
        # nothing that can be read
        ("", V2, {"memory.max": 5}, None),
        ("0::/\n", "broken\n - \n30 1 0:1 / - cgroup2\n", {"memory.max": 5}, None),
    ],
)  # fmt: skip
def test_limits_of_control_groups(
    tmp_path: Path, own: str, mounts: str, limits: dict[str, int | str], wanted: int | None
) -> None:
    assert group_memory(groups_at(tmp_path, own, mounts, limits)) == wanted


def test_without_control_groups(tmp_path: Path) -> None:
    assert group_memory(tmp_path) is None


def limited(monkeypatch: pytest.MonkeyPatch, machine: int | None, group: int | None) -> None:
    monkeypatch.setattr(oversize, "machine_memory", lambda: machine)
    monkeypatch.setattr(oversize, "group_memory", lambda: group)


TWO = "[cache other]\nmemory = 300m\n" + config_with("memory = 400m")


@pytest.mark.parametrize(
    ("machine", "group", "wanted"),
    [
        (1024 * MIB, 512 * MIB,
            ["caches other, main: 'memory' of all (700m) is larger than the memory limit of the"
             " control group (512m)"]),
        (512 * MIB, UNLIMITED,
            ["caches other, main: 'memory' of all (700m) is larger than the memory of this machine"
             " (512m)"]),
        (None, 350 * MIB,
            ["cache main: 'memory' (400m) is larger than the memory limit of the control group"
             " (350m)"]),
        (1024 * MIB, None, []),
        (None, None, []),
    ],
)  # fmt: skip
def test_several_caches_share_what_there_is(
    monkeypatch: pytest.MonkeyPatch, machine: int | None, group: int | None, wanted: list[str]
) -> None:
    limited(monkeypatch, machine, group)
    assert feature_warnings(parse_config(TWO)) == wanted


def test_workers_share_the_memory_and_the_half_in_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limited(monkeypatch, 1024 * MIB, None)
    monkeypatch.setattr(oversize, "SHARED", str(tmp_path))
    monkeypatch.setattr(oversize, "_file_system", lambda folder: (1, 64 * MIB))
    eight = "[lbproxy]\nworkers = 8\n"
    assert feature_warnings(parse_config(eight + config_with("memory = 100m"))) == []
    assert feature_warnings(parse_config(config_with("memory = 200m"))) == []
    [text] = feature_warnings(parse_config(eight + config_with("memory = 200m")))
    assert text == (
        f"cache main: half of 'memory' (100m) is larger than the file system of {tmp_path} (64m)"
    )
    on_disk = config_with(f"memory = 200m\ndisk = {tmp_path} 10m")
    assert feature_warnings(parse_config(eight + on_disk)) == []


def test_folders_of_one_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = f"[cache other]\ndisk = {tmp_path}/o 5000m\n" + config_with(f"disk = {tmp_path}/m 6000m")
    monkeypatch.setattr(oversize, "_file_system", lambda folder: (1, 8000 * MIB))
    [found] = feature_warnings(parse_config(text))
    assert found.startswith("caches other, main: 'disk' of all (11000m) is larger than the file")
    monkeypatch.setattr(oversize, "_file_system", lambda folder: (hash(folder), 8000 * MIB))
    assert feature_warnings(parse_config(text)) == []
