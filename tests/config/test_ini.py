"""The INI layer: places, comments, variables, includes."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.config.errors import Problems, Unfit
from lbproxy.config.ini import read_ini, strip_comment, substitute

from .fakes import files


def read(
    text: str, contents: dict[str, str] | None = None, env: Any = None
) -> tuple[Any, list[str]]:
    problems = Problems()
    sections = read_ini(
        text, file="lb.ini", folder="/etc", env=env or {}, reader=files(contents), problems=problems
    )
    return sections, [str(error) for error in problems.errors]


def test_places_of_keys_and_items() -> None:
    sections, errors = read(
        "\ufeff# head\r\n[backend app] # note\r\nservers =\r\n  a 1\r\n\r\n  ; no\r\n  b 2 # "
        "c\r\nx= 1 = 2\n"
    )
    assert errors == []
    (section,) = sections
    assert (section.kind, section.name, section.where.line) == ("backend", "app", 2)
    servers, x = section.entries
    assert (servers.key, servers.where.line) == ("servers", 3)
    assert [(i.text, i.where.line) for i in servers.items] == [("a 1", 4), ("b 2", 7)]
    assert [(i.text, i.where.line) for i in x.items] == [("1 = 2", 8)]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("a # b", "a"),
        ("a#b", "a#b"),
        ("'a # b' # c", "'a # b'"),
        ('"a \\" # b" # c', '"a \\" # b"'),
        ("don't # c", "don't"),
        ("# c", ""),
        ("a ; b", "a ; b"),
    ],
)
def test_comments(line: str, left: str) -> None:
    assert strip_comment(line) == left


def test_lines_of_a_block_that_are_not_indented() -> None:
    text = "[backend app]\nservers =\na 10.0.0.1:80\nb 10.0.0.2:80 weight=2\n\nretries = 3\n"
    (section,), errors = read(text)
    assert errors == [
        "lb.ini:3: [backend app] servers: 'a 10.0.0.1:80' belongs to 'servers' above: indent it",
        "lb.ini:4: [backend app] servers: 'b 10.0.0.2:80 weight=2' belongs to 'servers' above: "
        "indent it",
    ]
    assert [(e.key, len(e.items)) for e in section.entries] == [("servers", 2), ("retries", 1)]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("b 10.0.0.2:80", "; write 'b = 10.0.0.2:80', or indent it if it belongs to 'servers'"),
        ("retries 3", "; write 'retries = 3', or indent it if it belongs to 'servers'"),
        ("timeout connect 3s", "; in lbproxy this is 'timeout_connect', "),
    ],
)
def test_a_line_after_an_indented_one(line: str, hint: str) -> None:
    _, (error,) = read(f"[backend app]\nservers =\n  a 10.0.0.1:80\n{line}\n")
    assert hint in error


def test_a_line_after_a_value_is_no_line_of_a_block() -> None:
    _, (error,) = read("[backend app]\nservers =\n  a 1\nretries = 3\nb 10.0.0.2:80\n")
    assert error.endswith("write 'b = 10.0.0.2:80'")


def test_variables() -> None:
    env = {"A": "x", "E": ""}
    assert substitute("${A}-${B:-y}-${E:-z}-$${A} $A", env) == "x-y-z-${A} $A"
    assert substitute("${E}", env) == ""
    for bad in ("${B}", "${}", "${A", "${A-b}"):
        with pytest.raises(Unfit):
            substitute(bad, env)


def test_a_missing_variable_names_its_line() -> None:
    _, errors = read("[lbproxy]\nmaxconn = ${NOPE}\n")
    assert errors == ["lb.ini:2: [lbproxy] maxconn: environment variable NOPE is not set"]


def test_mistakes_of_form() -> None:
    _, errors = read("x = 1\n  y\n[a b c]\n[]\nk\n[open\n   more\n[ok] tail\n")
    assert [int(e.split(":")[1]) for e in errors] == [1, 3, 4, 5, 6, 7, 8]


def test_includes_follow_in_order() -> None:
    contents = {
        "/etc/conf/a.ini": "[backend a]\nx = 1\n",
        "/etc/conf/b.ini": "include = deep/c.ini\n[backend b]\n",
        "/etc/conf/deep/c.ini": "[backend c]\n",
    }
    sections, errors = read("include = conf/*.ini\n[backend main]\n", contents | {})
    # the glob of the test's file system also matches across folders
    assert [s.name for s in sections[:2]] == ["main", "a"]
    assert {s.name for s in sections} == {"main", "a", "b", "c"}
    assert sections[1].where.file == "/etc/conf/a.ini"
    assert all("included twice" in e for e in errors)


def test_include_mistakes() -> None:
    contents = {"/etc/a.ini": "include = b.ini\n", "/etc/b.ini": "include = a.ini lb.ini\n"}
    _, errors = read("include = a.ini\n  gone.ini\n[lbproxy]\ninclude = x\n", contents)
    assert len(errors) == 4
    assert (
        "files include one another: /etc/a.ini -> /etc/b.ini -> /etc/a.ini"
        in errors[-1] + errors[0] + errors[1]
    )
    assert any("lb.ini -> /etc/a.ini" in e for e in errors)
    assert any("cannot read /etc/gone.ini: No such file" in e for e in errors)
    assert any("before the first section" in e for e in errors)


def test_a_glob_that_matches_nothing_is_fine() -> None:
    assert read("include = conf.d/*.ini\n") == ([], [])
