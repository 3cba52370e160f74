"""Features name the state and the secret that a restart must not lose."""

from __future__ import annotations

import pytest

from lbproxy import features
from lbproxy.config.declaration import Declaration
from lbproxy.generation.forgetting import forgotten
from lbproxy.generation.secret import kept_path, secret_warnings
from lbproxy.model import Config, FrontendSpec
from lbproxy.registry import parse_config

TEXT = """
[lbproxy]
{settings}
[frontend web]
listen = tcp:80
backend = app
[frontend other]
listen = tcp:81
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


class Seals(Declaration):
    """A feature that seals data for the clients of one frontend, and counts."""

    @classmethod
    def signs_for_clients(cls, spec: FrontendSpec) -> bool:
        return spec.name == "web"

    @classmethod
    def loses_at_restart(cls, config: Config) -> str:
        return "all seals"


@pytest.fixture
def seals(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = features.BuiltIn("seals", "nowhere:Seals", Seals)
    monkeypatch.setattr(features, "FEATURES", (*features.FEATURES, seal))


def config(settings: str = "") -> Config:
    return parse_config(TEXT.format(settings=settings))


def test_nothing_is_forgotten_without_a_feature_that_has_something() -> None:
    assert forgotten(config()) == secret_warnings(config()) == []
    assert kept_path(config("state = s.json")) == ""


@pytest.mark.usefixtures("seals")
def test_features_name_what_a_restart_forgets() -> None:
    assert forgotten(config()) == ["lbproxy: without 'state' a restart loses all seals"]
    assert forgotten(config("state = s.json")) == []


@pytest.mark.usefixtures("seals")
def test_a_secret_is_kept_for_features_that_sign_for_clients() -> None:
    assert kept_path(config("state = /tmp/s.json")) == "/tmp/s.json.secret"
    assert kept_path(config("state = /tmp/s.json\nsecret = 0123456789abcdef0123456789")) == ""
    (warning,) = secret_warnings(config())
    assert warning.startswith("frontend web: seals: without 'state' or 'secret'")
    assert secret_warnings(config("state = /tmp/s.json")) == []
