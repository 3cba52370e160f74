"""Names to classes, and what is said about plugins that cannot be loaded."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from lbproxy import registry, twistedplugins
from lbproxy.balance.first import First
from lbproxy.config.errors import ConfigErrors, PluginError
from lbproxy.registry import (
    BUILTIN,
    PluginClass,
    UnknownPlugin,
    load_config,
    parse_config,
    parse_server_line,
    reference,
    resolve,
)

TEXT = """\
[frontend web]
listen = tcp:8080
backend = app

[backend app]
servers = a 10.0.0.1:80
"""

GOOD = """\
from attrs import frozen
from lbproxy.balance.base import Balancer
from lbproxy.config.model import option

@frozen
class Options:
    step: int = option("int", 1, min=1, max=9, doc="how far")

class Mine(Balancer):
    name = "mine"
    Options = Options

    def pick(self, context, avoid):
        return self.servers[0]

class NotOne:
    pass

number = 3
"""


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in BUILTIN for name in BUILTIN[kind]]
)
def test_built_in_ones_load_under_their_name(kind: str, name: str) -> None:
    cls = resolve(kind, name)
    assert cls.name == name


def test_unknown_names_carry_the_known_ones() -> None:
    with pytest.raises(UnknownPlugin) as caught:
        resolve("balancer", "leastcon")
    assert caught.value.known[:2] == ("roundrobin", "leastconn")
    with pytest.raises(ConfigErrors, match="did you mean 'leastconn'"):
        parse_config(TEXT + "balance = leastcon\n")


def test_a_class_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "bal.py").write_text(GOOD)
    (tmp_path / "lb.ini").write_text(TEXT + "balance = my/bal.py:Mine step=3\n")
    first = load_config(tmp_path / "lb.ini")
    spec = first.backend("app").balance
    assert (spec.cls.__name__, spec.options.step) == ("Mine", 3)
    # unchanged: the very same class, so that a reload sees no difference
    assert load_config(tmp_path / "lb.ini") == first
    (tmp_path / "lb.ini").write_text(TEXT + "balance = my/bal.py:Mine step=10\n")
    with pytest.raises(
        ConfigErrors, match=r"lb.ini:7: \[backend app\] balance: step: .*between 1 and 9"
    ):
        load_config(tmp_path / "lb.ini")


def test_a_changed_file_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "b.py"
    path.write_text(GOOD)
    old = resolve("balancer", "b.py:Mine", str(tmp_path))
    path.write_text(GOOD + "\n# changed\n")
    os.utime(path, ns=(1, 1))
    assert resolve("balancer", "b.py:Mine", str(tmp_path)) is not old


BROKEN = [
    ("x = 1\ny = 1 / 0\n", "b.py:2: ZeroDivisionError: division by zero"),
    ("import nothing_of_the_kind\n", "b.py:1: ModuleNotFoundError"),
    ("def f(:\n", "b.py:1: SyntaxError"),
    ("raise SystemExit(3)\n", "b.py:1: SystemExit: 3"),
    ("", "there is no 'Mine'"),
    ("Mine = 3\n", "is not a class"),
    ("class Mine: pass\n", "it has no method 'pick'"),
]


@pytest.mark.parametrize(("source", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_broken_file_is_one_clean_error(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "b.py").write_text(source)
    with pytest.raises(PluginError) as caught:
        resolve("balancer", "b.py:Mine", str(tmp_path))
    assert words in str(caught.value)
    with pytest.raises(ConfigErrors) as errors:
        parse_config(TEXT + "balance = b.py:Mine\n", base_dir=str(tmp_path))
    (error,) = errors.value.errors
    assert error.where.line == 7
    assert words in str(error)


def test_a_missing_file_or_module(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"cannot read .*none.py: No such file"):
        resolve("balancer", "none.py:X", str(tmp_path))
    with pytest.raises(PluginError, match="ModuleNotFoundError"):
        resolve("filter", "no.such.module:X")
    with pytest.raises(PluginError):
        resolve("filter", ":")
    with pytest.raises(PluginError):
        resolve("filter", ".relative:X")


def test_a_class_in_a_module() -> None:
    assert resolve("balancer", "lbproxy.balance.first:First") is First


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("extra", "lbproxy.balance.first:First", "lbproxy.balancers"),
        EntryPoint("first", "os:path", "lbproxy.balancers"),
    ]
    monkeypatch.setattr(registry, "installed", lambda group: points)
    warned: list[Any] = []
    monkeypatch.setattr(registry, "_warn", lambda text, **k: warned.append(k["name"]))
    registry._entry_points.cache_clear()
    try:
        assert resolve("balancer", "extra") is First
        assert resolve("balancer", "first").__name__ == "First"
        assert warned == ["first"]
        assert "extra" in registry.known("balancer")
    finally:
        registry._entry_points.cache_clear()


def test_twisted_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = [
        PluginClass("balancer", "theirs", "lbproxy.balance.first:First"),
        PluginClass("filter", "theirs", "os:path"),
    ]
    assert all(registry.IPluginClass.providedBy(plugin) for plugin in plugins)
    monkeypatch.setattr(twistedplugins, "getPlugins", lambda interface: iter(plugins))
    assert resolve("balancer", "theirs") is First
    assert "theirs" in registry.known("filter")


def test_a_server_line_for_a_running_configuration() -> None:
    config = parse_config(TEXT)
    assert parse_server_line("b 10.0.0.2:80 weight=4", config).weight == 4
    with pytest.raises(ConfigErrors, match="there is no certificate 'x'"):
        parse_server_line("b 10.0.0.2:80 tls certificate=x", config)
    with pytest.raises(ConfigErrors, match=r"no such file: nowhere\.pem"):
        parse_server_line("b 10.0.0.2:80 tls ca=nowhere.pem", config)


def test_the_reference_has_every_built_in() -> None:
    lines = reference("text").splitlines()
    for names in BUILTIN.values():
        for name in names:
            assert name in lines


@pytest.mark.parametrize(
    ("kind", "text", "needs"),
    [
        ("balancer", "from lbproxy.balance.base import Balancer as Base\n", "'pick'"),
        ("probe", "from lbproxy.probes.base import Probe as Base\n", "'talk' or 'check'"),
    ],
)
def test_a_class_that_says_nothing_is_refused_at_load(
    tmp_path: Path, kind: str, text: str, needs: str
) -> None:
    (tmp_path / "mine.py").write_text(text + "class Mine(Base):\n    pass\n")
    with pytest.raises(PluginError, match=f"needs a method {needs}"):
        resolve(kind, "mine.py:Mine", str(tmp_path))
    assert resolve("balancer", "roundrobin") and resolve("probe", "tcp")
