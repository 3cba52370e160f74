"""What every test gets: the project's own pytest plugin, a calm Hypothesis, marks by folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("lbproxy", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("lbproxy")

LIVE = Path(__file__).parent / "live"


def pytest_configure(config: pytest.Config) -> None:
    """Make the plugin's fixtures known even where lbproxy is not installed but only on the path."""
    from lbproxy.testing import plugin

    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "lbproxy")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadgroup`` also where pytest no longer lets xdist write the groups into node ids
    (9.2 with 3.8).
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.support.schedule import Groups

    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under ``live/`` is live."""
    for item in items:
        if LIVE in item.path.parents:
            item.add_marker(pytest.mark.live)
