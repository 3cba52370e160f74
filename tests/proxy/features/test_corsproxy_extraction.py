"""Elements of HTML, in a process of its own."""

from __future__ import annotations

import json
import resource

import pytest

from lbproxy.cors.convert import ConvertError
from lbproxy.proxy.features.corsproxy.extraction import extract_apart

pytest.importorskip("selectolax")


def test_elements_are_as_without_a_process() -> None:
    found = extract_apart(
        "p > .é", "<p><b class=é>x</b>".encode("iso-8859-1"), "text/html;charset=latin-1"
    )
    assert json.loads(found) == [
        {"tag": "b", "text": "x", "html": '<b class="é">x</b>', "attributes": {"class": "é"}}
    ]
    assert json.loads(extract_apart("q", b"")) == []


def test_what_cannot_be_extracted() -> None:
    with pytest.raises(ConvertError, match="elements deep"):
        extract_apart("i", b"<i>" * 1000)
    with pytest.raises(ConvertError, match="cannot be used"):
        extract_apart("[", b"<i>")


def test_html_that_grows_does_not_take_the_memory_of_lbproxy() -> None:
    """Each paragraph repeats the formatting elements that are open: here 5 million elements."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    left_open = b"".join(b"<b id=%d>" % number for number in range(150))
    with pytest.raises(ConvertError, match=r"not HTML|memory"):
        extract_apart("q", b"<p>" + left_open + b"</p>" + b"<p>x</p>" * 32_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10  # KiB


def test_the_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbproxy.proxy.features.corsproxy.extraction.SECONDS", 0.001)
    with pytest.raises(ConvertError, match="too long"):
        extract_apart("q", b"")
