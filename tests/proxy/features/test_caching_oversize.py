"""A cache larger than the machine is a warning of ``check`` and in the log, not an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from lbproxy.generation.featurewarnings import feature_warnings
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
