"""The generated reference names everything the model has."""

from __future__ import annotations

import pytest

from lbproxy.config.model import CheckSpec, ListenSpec, ServerSpec
from lbproxy.config.options import label, option_fields
from lbproxy.config.reference import Format, render
from lbproxy.config.sections import SECTIONS
from lbproxy.http.route import VERBS

from .fakes import TABLE

PLUGINS = {kind: list(classes.values()) for kind, classes in TABLE.items()}


@pytest.mark.parametrize("form", ["rst", "text"])
def test_every_key_is_there(form: Format) -> None:
    lines = render(form, PLUGINS).splitlines()
    heads = {line.strip("`") for line in lines if line and not line[0].isspace()}
    for cls in (
        *(section.spec for section in SECTIONS.values()),
        ServerSpec,
        ListenSpec,
        CheckSpec,
    ):
        for name, f in option_fields(cls).items():
            shown = label(f)
            shown = shown.upper() if f.metadata.get("positional") else shown
            assert shown in heads, name
    for verb, facts in VERBS.items():
        assert f"{verb} {facts.usage}" in heads
    for classes in TABLE.values():
        assert set(classes) <= heads


def test_a_row_says_kind_bounds_default_and_mode() -> None:
    text = " ".join(render("text").split())
    assert (
        "timeout_queue Maximum wait in the queue. Duration, such as 500ms, 30s or 1h; 10ms to 1h. "
        "Default: 5s." in text
    )
    assert "pool_size HTTP mode only. Maximum number of idle connections per server" in text
    assert (
        "on_down What to do with the sessions of a server that goes down. One of keep, close. "
        "Default: keep." in text
    )


def test_rst_is_well_formed() -> None:
    docutils = pytest.importorskip("docutils.core")
    text = render("rst", PLUGINS)
    assert docutils.publish_string(text, settings_overrides={"halt_level": 2, "report_level": 2})


def test_text_has_no_markup() -> None:
    assert "``" not in render("text", PLUGINS)
