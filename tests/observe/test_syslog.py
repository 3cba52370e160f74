"""Syslog messages as RFC 5424 and RFC 6587 write them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.observe.syslog import FACILITIES, MESSAGE_LIMIT, Framer

# RFC 5424 §6, with the fields we use
MESSAGE = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) ([!-~]{1,48}) "
    rb"(\d{1,128}) - - (.*)",
    re.DOTALL,
)


def test_a_message() -> None:
    framer = Framer("local0", "lb1", "lbproxy", 42)
    header = framer.header(1_800_000_000.25)
    assert (
        framer.frame(header, b'{"status":200}')
        == b'<134>1 2027-01-15T08:00:00.250Z lb1 lbproxy 42 - - {"status":200}'
    )
    counted = Framer("local0", "lb1", "lbproxy", 42, counted=True)
    assert counted.frame(header, b"x") == b"52 " + header + b"x"


@pytest.mark.parametrize(
    ("facility", "priority"), [("kern", 6), ("daemon", 30), ("authpriv", 86), ("local7", 190)]
)
def test_priorities(facility: str, priority: int) -> None:
    found = MESSAGE.fullmatch(Framer(facility, "h", "t", 1).header(0))
    assert found and int(found[1]) == priority


@given(st.text(max_size=300), st.text(max_size=80), st.binary(max_size=20_000))
def test_whatever_it_is_made_of_it_is_a_message(host: str, tag: str, line: bytes) -> None:
    framer = Framer("user", host, tag, 7, counted=True)
    frame = framer.frame(framer.header(1e9), line)
    size, _, message = frame.partition(b" ")
    assert int(size) == len(message) <= MESSAGE_LIMIT
    found = MESSAGE.fullmatch(message)
    assert found and line.startswith(found[6])


def test_facilities_are_those_of_the_configuration() -> None:
    import attrs

    from lbproxy.config.model import LogSpec

    choices = attrs.fields_dict(LogSpec)["facility"].metadata["choices"]
    assert set(choices) == set(FACILITIES)
    assert FACILITIES["local0"] == 16 and FACILITIES["ftp"] == 11
