"""The part of a configuration that one of several workers serves."""

from __future__ import annotations

import attrs
import pytest
from attrs import frozen

from lbproxy.config.share import share_of
from lbproxy.model import Config, option
from lbproxy.registry import parse_config

TEXT = """
[lbproxy]
admin = tcp:8404:interface=127.0.0.1
state = state.json
watch = yes
workers = 4
maxconn = 101
[frontend web]
listen = tcp:8080
backend = app
maxconn = 10
maxconn_per_ip = 7
[backend app]
check = http GET /
servers = a 10.0.0.1:80 maxconn=3
[alerts]
repeat = 1h
"""


@frozen
class Plugin:
    concurrent: int = option("int", 10, workers="split", doc="at once")
    rate: float = option("rate", 10.0, workers="split", doc="a second")
    path: str = option("path", "", workers="master", doc="where the state is")
    name: str = option("string", "", doc="a name")


@frozen
class Holder:
    plugins: tuple[Plugin, ...] = ()
    other: Plugin | None = None


def test_limits_are_split_and_the_master_keeps_its_own() -> None:
    whole = parse_config(TEXT)
    part = share_of(whole, 4)
    assert part.settings.maxconn == 26 and part.frontend("web").maxconn == 3
    assert part.settings.admin == () and part.settings.state == "" and not part.settings.watch
    assert part.settings.workers == 1
    assert part.backend("app").check is None
    assert part.alerts == Config().alerts


def test_limits_that_workers_keep_together_stay_whole() -> None:
    whole = parse_config(TEXT)
    part = share_of(whole, 4)
    assert part.backend("app").servers is whole.backend("app").servers
    assert part.frontend("web").maxconn_per_ip == 7


def test_options_of_plugins_have_the_same_rules() -> None:
    given = Holder((Plugin(10, 10.0, "state", "x"), Plugin(0, 0.0)), Plugin(1))
    part = share_of(given, 4)
    assert part == Holder((Plugin(3, 2.5, "", "x"), Plugin(0, 0.0)), Plugin(1, 2.5))


def test_what_does_not_change_is_the_same_object() -> None:
    given = Holder((Plugin(0, 0.0),), None)
    assert share_of(given, 4) is given


def test_a_rule_that_does_not_exist_is_an_error() -> None:
    @frozen
    class Wrong:
        limit: int = option("int", 0, workers="halve", doc="")

    with pytest.raises(ValueError, match=r"Wrong.limit: unknown rule workers='halve'"):
        share_of(Wrong(), 2)


def test_every_rule_in_the_model_is_known() -> None:
    """And every number that is split is a limit that can be divided."""
    seen: list[type] = [Config]
    share_of(Config(), 2)
    share_of(parse_config(TEXT), 2)
    from lbproxy import model

    for name in model.__all__:
        found = getattr(model, name)
        if attrs.has(found):
            for field in attrs.fields(found):
                rule = field.metadata.get("workers", "")
                assert rule in ("", "split", "master", "shared"), (name, field.name)
                if rule == "split":
                    assert field.metadata["kind"] in ("int", "rate"), (name, field.name)
            seen.append(found)
    assert len(seen) > 10
