"""A kind of section or line is one object in a table; nothing else must know it."""

from __future__ import annotations

import pytest
from attrs import frozen

from lbproxy.config.diff import diff
from lbproxy.config.draft import Draft
from lbproxy.config.dump import as_json, dump
from lbproxy.config.line import options_line
from lbproxy.config.lines import LINES
from lbproxy.config.model import NOWHERE, Where, hidden, option
from lbproxy.config.reference import render
from lbproxy.config.section import Judge, Section
from lbproxy.config.sections import SECTIONS

from .fakes import build, mistakes

FRONT = "[frontend web]\nlisten = tcp:80\nbackend = app\n[backend app]\nservers = a 10.0.0.1:80\n"


@frozen
class ShelfSpec:
    """One line of ``shelves``: ``NAME`` and options."""

    name: str = option("name", doc="name of the shelf", positional=True)
    room: int = option("size", 1024, doc="its size")
    where: Where = hidden(NOWHERE)


@frozen
class StoreSpec:
    """``[store NAME]``."""

    name: str = option("hidden", "", doc="section name")
    memory: int = option("size", 0, doc="its size")
    shelves: tuple[ShelfSpec, ...] = option("lines:shelf", (), doc="one per line")
    where: Where = hidden(NOWHERE)


def check(draft: Draft, judge: Judge) -> None:
    if not draft.get("memory", 0):
        judge.wrong(draft, draft.line("memory"), "memory", "must not be 0")


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = options_line("shelf", ShelfSpec, words="shelf lines", intro="``NAME`` and options:")
    monkeypatch.setitem(LINES, "shelf", shelf)
    section = Section("store", StoreSpec, doc="A store.", plural="stores", check=check)
    monkeypatch.setitem(SECTIONS, "store", section)


TEXT = FRONT + "[store main]\nmemory = 64k\nshelves =\n    top room=2k\n    low\n"


def test_it_is_read_and_found_by_its_class() -> None:
    config = build(TEXT)
    (found,) = config.of(StoreSpec)
    assert (found.name, found.memory) == ("main", 65536)
    assert [(one.name, one.room) for one in found.shelves] == [("top", 2048), ("low", 1024)]
    assert found.shelves[1].where.line == 10


def test_it_is_written_and_shown() -> None:
    config = build(TEXT)
    assert build(dump(config)) == config
    assert as_json(config)["stores"]["main"]["memory"] == 65536


def test_its_mistakes_are_reported_with_those_of_others() -> None:
    text = FRONT + "[store main]\nmemry = 1\nshelves =\n    top rom=2k\n[store main]\n"
    assert [str(error) for error in mistakes(text)] == [
        "lb.ini:6: [store main] memory: must not be 0",
        "lb.ini:7: [store main] memry: unknown key 'memry'; allowed: memory, shelves; did you mean "
        "'memory'?",
        "lb.ini:9: [store main] shelves: unknown option 'rom'; allowed: room; did you mean 'room'?",
        "lb.ini:10: [store main]: this section is already defined, at lb.ini:6",
    ]


def test_a_reload_sees_what_changes() -> None:
    one, two = build(TEXT), build(TEXT.replace("64k", "32k").replace("    low\n", ""))
    assert [(c.section, c.key, c.before) for c in diff(one, two).changes] == [
        ("store main", "memory", ("64k",)),
        ("store main", "shelves", ("low",)),
    ]
    assert [c.what for c in diff(one, build(FRONT)).changes] == ["removed"]


def test_it_is_in_the_reference() -> None:
    text = render("text", {})
    assert "[store NAME]\n------------\n\nA store.\n" in text
    assert "Shelf line\n" in text and "room\n    Its size\n" in text.replace("size.", "size")
