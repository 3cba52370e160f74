"""The key of a feature of routes: read, written back, documented, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config, reference
from lbproxy.testing import LB
from tests.extending.busy import SOURCE, TEXT, toy
from tests.extending.conftest import Install

__all__ = ["toy"]


def test_its_key_is_a_key_and_an_option_like_any_other(toy: Path) -> None:
    config = parse_config(TEXT)
    assert parse_config(dump(config)) == config
    assert "path /free -> app priority=3 busy=0" in dump(config)
    assert "Default: that of the frontend" in reference()
    with pytest.raises(ConfigErrors, match=r"routes: busy.*whole number"):
        parse_config(TEXT.replace("busy=1", "busy=many"))
    with pytest.raises(ConfigErrors, match=r"unknown option 'bus'.*did you mean 'busy'"):
        parse_config(TEXT.replace("busy=1", "bus=1"))


def test_a_feature_without_hooks_of_its_own_phase(install: Install) -> None:
    source = SOURCE.read_text().replace("before(request=self.begin)", "before(early=self.begin)")
    install("busy", source, "Busy")
    with pytest.raises(ConfigErrors, match="phase early") as error:
        LB.from_config(TEXT)
    assert len(error.value.errors) == 2, "one at the route, one for the key of the frontend"
