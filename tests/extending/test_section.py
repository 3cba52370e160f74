"""A feature that brings a section of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config, reference
from lbproxy.testing import LB
from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "banner.py"
TEXT = """
[banner sale]
text = today only
[frontend web]
listen = tcp:80
backend = app
banner = sale
[backend app]
servers = a 10.0.0.1:80
"""


@pytest.fixture
def toy(install: Install) -> None:
    """The feature, installed."""
    install("banner", SOURCE.read_text(), "Banner")


def test_it_is_read_served_and_reloaded(toy: None) -> None:
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert lb.get("http://h/").header("X-Banner") == "today only"
        report = lb.service.reload(TEXT.replace("today only", "tomorrow"))
        assert report.ok and report.changes is not None
        assert "[banner sale] text" in report.changes.text()
        assert lb.get("http://h/").header("X-Banner") == "tomorrow"


def test_it_is_a_section_like_any_other(toy: None) -> None:
    assert parse_config(dump(parse_config(TEXT))) == parse_config(TEXT)
    assert "[banner NAME]" in reference()
    with pytest.raises(ConfigErrors, match="a banner needs a text"):
        parse_config(TEXT.replace("text = today only", ""))


def test_a_name_that_does_not_exist(toy: None) -> None:
    with pytest.raises(ConfigErrors, match=r"\[frontend web\] banner.*no \[banner other\]"):
        LB.from_config(TEXT.replace("banner = sale", "banner = other"))
