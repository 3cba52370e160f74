"""Changes at run time survive a restart, a bad file does no harm, and all of it can be undone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.build import parse_server
from lbproxy.operate import statefile
from lbproxy.registry import parse_config
from lbproxy.testing import LoadBalancerFixture

TEXT = """\
[lbproxy]
state = {path}

[frontend web]
listen = tcp:8080
backend = app

[backend app]
servers =
    a 10.0.0.1:8000 weight=3
    b 10.0.0.2:8000
    d 10.0.0.4:8000
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lb.state.json"


@pytest.fixture
def start(path: Path) -> Iterator[Callable[..., Any]]:
    made: list[LoadBalancerFixture] = []

    def begin(text: str = TEXT) -> Any:
        for one in made:
            one.close()
        made.append(LoadBalancerFixture.from_config(text.format(path=path)))
        return made[-1]

    yield begin
    made[-1].close()


def change(lb: Any) -> None:
    """Some of everything."""
    service = lb.service
    service.set_weight("app", "a", 5)
    service.set_maxconn("app", "a", 9)
    service.drain("app", "b")
    service.remove_server("app", "d")
    service.add_server("app", "c 10.0.0.3:8000 weight=2")
    service.maint("app", "c")


DRIFT = [
    "app/d removed",
    "app/c added",
    "app/a weight 3 -> 5",
    "app/a maxconn 0 -> 9",
    "app/b ready -> drain",
    "app/c ready -> maint",
]


def drift(lb: Any) -> list[str]:
    return [one.text for one in lb.service.changing.drift()]


def test_it_survives_a_restart(start: Any, path: Path) -> None:
    lb = start()
    change(lb)
    assert drift(lb) == DRIFT
    assert not path.exists()
    lb.advance(1)
    assert path.exists(), "written a moment later"
    assert path.stat().st_mode & 0o777 == 0o600
    lb = start()
    assert drift(lb) == DRIFT
    a = lb.server("app", "a")
    assert (a.full_weight, a.maxconn) == (5, 9)
    assert lb.server("app", "b").state.value == "drain"
    assert lb.server("app", "c").state.value == "maint"
    assert "d" not in lb.backend("app").group.servers
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "nothing is left over"


def test_the_advice_of_drift_is_a_configuration(start: Any, path: Path) -> None:
    """Each server has one line, and a configuration with these lines has no drift."""
    lb = start()
    service = lb.service
    service.set_weight("app", "a", 5)
    service.set_maxconn("app", "a", 9)
    service.add_server("app", "c 10.0.0.3:8000 weight=2")
    service.set_weight("app", "c", 8)
    lines = {one.server: {one.line} - {""} for one in service.changing.drift() if one.line}
    assert lines == {
        "a": {"a 10.0.0.1:8000 weight=5 maxconn=9"},
        "c": {"c 10.0.0.3:8000 weight=8"},
    }
    text = TEXT.format(path=path).replace("a 10.0.0.1:8000 weight=3", lines["a"].pop())
    assert service.reload(text.rstrip() + f"\n    {lines['c'].pop()}\n").ok
    assert drift(lb) == []


def test_what_was_changed_last_is_written_at_the_end(start: Any, path: Path) -> None:
    lb = start()
    lb.service.set_weight("app", "a", 7)
    lb.close()
    assert json.loads(path.read_text())["servers"]["app"]["a"] == {"weight": 7}
    assert start().server("app", "a").full_weight == 7


def test_many_changes_are_one_write(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lb = start()
    lb.advance(1)
    written: list[int] = []
    monkeypatch.setattr(statefile, "write_whole", lambda path, data: written.append(1))
    for weight in range(10, 1000):
        lb.service.set_weight("app", "a", weight)
    lb.advance(1)
    assert len(written) == 1


def test_reset(start: Any, path: Path) -> None:
    lb = start()
    change(lb)
    undone = lb.service.changing.reset("app", "a")
    assert [one.text for one in undone] == ["app/a weight 3 -> 5", "app/a maxconn 0 -> 9"]
    assert lb.server("app", "a").full_weight == 3
    lb.service.changing.reset()
    assert drift(lb) == []
    group = lb.backend("app").group
    assert list(group.servers) == ["a", "b", "d"]
    assert {server.state.value for server in group.servers.values()} == {"up"}
    lb.advance(1)
    assert drift(start()) == []


def reload(lb: Any, path: Path, **changed: str) -> None:
    """Reload ``TEXT`` with some server lines replaced, by name; an empty line removes the
    server.
    """
    text = TEXT.format(path=path)
    for name, line in changed.items():
        old = next(one for one in text.splitlines() if one.strip().startswith(f"{name} "))
        text = text.replace(f"{old}\n", f"    {line}\n" if line else "")
    assert lb.service.reload(text).ok


def test_a_reload_keeps_changes_that_the_new_configuration_does_not_mention(
    start: Any, path: Path
) -> None:
    lb = start()
    change(lb)
    reload(lb, path, b="b 10.0.0.2:8000 weight=2")
    assert drift(lb) == DRIFT
    lb.advance(1)
    assert drift(start(TEXT.replace("b 10.0.0.2:8000", "b 10.0.0.2:8000 weight=2"))) == DRIFT


def test_a_reload_that_contains_an_added_server_ends_its_drift(start: Any, path: Path) -> None:
    lb = start()
    lb.service.add_server("app", "c 10.0.0.3:8000 weight=2")
    assert drift(lb) == ["app/c added"]
    reload(lb, path, d="c 10.0.0.3:8000 weight=2")
    assert drift(lb) == []


def test_a_reload_with_another_line_for_an_added_server_keeps_its_drift(
    start: Any, path: Path
) -> None:
    """Where the two lines differ, the server still runs as the operator added it."""
    lb = start()
    lb.service.add_server("app", "c 10.0.0.3:8000 weight=2")
    lb.service.remove_server("app", "d")
    reload(lb, path, a="a 10.0.0.1:8000 weight=4")
    assert drift(lb) == ["app/d removed", "app/c added"]


def test_a_reload_that_sets_what_an_operator_changed_wins(start: Any, path: Path) -> None:
    lb = start()
    lb.service.set_weight("app", "a", 5)
    lb.service.set_maxconn("app", "a", 9)
    lb.service.drain("app", "a")
    reload(lb, path, a="a 10.0.0.1:8000 weight=7")
    assert lb.server("app", "a").full_weight == 7
    assert drift(lb) == ["app/a maxconn 0 -> 9", "app/a ready -> drain"]


def test_a_reload_without_a_removed_server_forgets_it(start: Any, path: Path) -> None:
    lb = start()
    lb.service.remove_server("app", "d")
    reload(lb, path, d="")
    assert drift(lb) == []
    reload(lb, path)
    assert "d" in lb.backend("app").group.servers, "it is back: nobody removed this one"
    lb.service.remove_server("app", "d")
    reload(lb, path, b="b 10.0.0.2:8000 weight=2")
    assert drift(lb) == ["app/d removed"], "still configured, still removed"


def test_a_reload_that_brings_a_removed_server_back_ends_its_drift(start: Any, path: Path) -> None:
    lb = start()
    lb.service.remove_server("app", "d")
    reload(lb, path, d="d 10.0.0.9:8000")
    assert "d" in lb.backend("app").group.servers, "a server with another address is another server"
    assert drift(lb) == []
    assert not lb.service.changing.changes.removed.get("app"), "a restart would remove it again"
    lb.advance(1)
    again = start(TEXT.replace("d 10.0.0.4", "d 10.0.0.9"))
    assert "d" in again.backend("app").group.servers


def test_a_reload_that_replaces_a_server_as_the_operator_did_ends_its_drift(
    start: Any, path: Path
) -> None:
    lb = start()
    lb.service.remove_server("app", "d")
    lb.service.add_server("app", "d 10.0.0.9:8000")
    assert drift(lb)
    reload(lb, path, d="d 10.0.0.9:8000")
    assert drift(lb) == []
    lb.advance(1)
    assert drift(start(TEXT.replace("d 10.0.0.4", "d 10.0.0.9"))) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 9}', "[" * 100_000, "\xff"])
def test_a_file_that_cannot_be_used_is_put_aside(start: Any, path: Path, text: str) -> None:
    path.write_bytes(text.encode("latin-1"))
    lb = start()
    assert drift(lb) == []
    assert (path.parent / (path.name + ".bad")).read_bytes() == text.encode("latin-1")
    change(lb)
    lb.advance(1)
    assert drift(start()) == DRIFT


@pytest.mark.parametrize("kind", ["folder", "fifo", "device"])
def test_what_is_no_file_is_left_alone(start: Any, path: Path, kind: str) -> None:
    """Neither moved, nor read for ever, nor written over."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(statefile.StateUnreadable):
        statefile.read_state(str(path))
    before = path.lstat()
    lb = start()
    change(lb)
    lb.advance(1)
    assert lb.service.changing.file.error
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert list(path.parent.iterdir()) == [path]


def test_what_does_not_fit_any_more_is_dropped(start: Any, path: Path) -> None:
    change(start())
    other = TEXT.replace("    b 10.0.0.2:8000\n", "").replace("weight=3", "weight=5")
    lb = start(other + "    c 10.0.0.3:8000\n")
    assert drift(lb) == ["app/d removed", "app/a maxconn 0 -> 9", "app/c ready -> maint"]
    start(TEXT.replace("app", "other"))
    assert drift(start()) == []


def test_a_folder_that_cannot_be_written(start: Any, path: Path) -> None:
    lb = start(TEXT.replace("{path}", "{path}/none/state"))
    change(lb)
    lb.advance(1)
    assert lb.service.changing.file.error == "No such file or directory"
    assert drift(lb) == DRIFT, "it runs all the same"


def test_nothing_is_kept_without_a_file(start: Any) -> None:
    lb = start(TEXT.replace("state = {path}", ""))
    change(lb)
    assert drift(lb) == DRIFT
    assert lb.service.changing.file is None
    lb.close()


def test_where_servers_come_from(start: Callable[..., Any]) -> None:
    lb = start()
    lb.service.add_server("app", "c 10.0.0.3:8000")
    group = lb.service.backends["app"].group
    assert [one.origin for one in group.servers.values()] == ["config"] * 3 + ["operator"]
    lb.service.remove_server("app", "b")
    lb.service.add_server("app", "b 10.0.0.2:8000")
    assert group.servers["b"].origin == "config"  # as the configuration has it


def test_a_reload_that_says_the_same_makes_a_server_the_configurations(
    start: Callable[..., Any], path: Path
) -> None:
    lb = start()
    lb.service.add_server("app", "c 10.0.0.3:8000")
    lb.service.reload(parse_config(TEXT.format(path=path) + "    c 10.0.0.3:8000\n"))
    assert lb.service.backends["app"].group.servers["c"].origin == "config"


def test_discovered_servers_are_no_drift(start: Callable[..., Any]) -> None:
    lb = start()
    backend = lb.service.backends["app"]
    found = backend.add(parse_server("x 10.0.0.9:8000"), "discovery:dns")
    assert lb.service.changing.drift() == []
    lb.service.set_weight("app", found.name, 7)
    assert [one.text for one in lb.service.changing.drift()] == ["app/x weight 1 -> 7"]
