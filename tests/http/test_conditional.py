"""Conditions about scheme, port, time and status; filters that take part only where conditions
hold.
"""

from __future__ import annotations

import time
from random import Random
from typing import Any

import pytest

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.condition import check_condition, compile_condition
from lbproxy.http.conditional import Conditional, make_filter
from lbproxy.http.filter import Filter, compile_phases
from lbproxy.http.message import ResponseHead
from lbproxy.interfaces import Env
from lbproxy.model import PluginSpec
from lbproxy.observe.record import Connection
from tests.http.traffic import Traffic, request

ENV = Env(now=lambda: 0.0, random=Random(0))


def holds(words: str, traffic: Traffic) -> bool:
    verb, *args = words.split()
    return compile_condition(verb, args, False, response=True).holds(traffic, b"/")


def test_scheme_and_port() -> None:
    info = Connection()
    info.local_port = 8443
    traffic = Traffic(request(), scheme="https", info=info)
    assert holds("scheme https", traffic) and not holds("scheme http", traffic)
    assert holds("port 443 8443", traffic) and not holds("port 443", traffic)
    assert not holds("scheme http", Traffic(None, scheme="http", info=info))


@pytest.mark.parametrize(
    ("words", "when", "wanted"),
    [
        ("time 08:00-18:00", "mon 08:00", True),
        ("time 08:00-18:00", "mon 18:00", False),
        ("time 08:00-12:00 13:00-18:00", "mon 12:30", False),
        ("time 22:00-06:00", "mon 23:00", True),
        ("time 22:00-06:00", "mon 05:59", True),
        ("time 22:00-06:00", "mon 06:00", False),
        ("time 00:00-24:00", "sun 23:59", True),
        ("time mon-fri", "fri 23:59", True),
        ("time mon-fri", "sat 00:00", False),
        ("time sat-mon", "sun 12:00", True),
        ("time sat-mon", "tue 12:00", False),
        ("time fri 22:00-06:00", "sat 05:00", True),
        ("time fri 22:00-06:00", "fri 05:00", False),
        ("time mon wed 08:00-18:00", "wed 09:00", True),
    ],
)
def test_time(words: str, when: str, wanted: bool) -> None:
    day, _, clock = when.partition(" ")
    hour, minute = map(int, clock.split(":"))
    date = 5 + ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].index(
        day
    )  # 5 January 2026: Monday
    started = time.mktime((2026, 1, date, hour, minute, 0, 0, 0, -1))
    assert holds(words, Traffic(None, started=started)) is wanted


def test_status() -> None:
    traffic = Traffic(request(), response=ResponseHead(503, []))
    assert holds("status 404 5xx", traffic) and not holds("status 404", traffic)
    assert not holds("status 5xx", Traffic(request()))


@pytest.mark.parametrize(
    ("verb", "args", "message"),
    [
        ("scheme", ["ftp"], "neither http nor https"),
        ("port", ["0"], "1 to 65535"),
        ("port", ["http"], "is not a port"),
        ("time", ["25:00-26:00"], "neither 22:00-06:00 nor a day"),
        ("time", ["08:00-08:00"], "neither"),
        ("time", ["monday"], "nor a day such as mon"),
        ("status", ["600"], "neither a status"),
        ("status", ["404"], "about the response; only filters"),
    ],
)
def test_what_is_wrong(verb: str, args: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_condition(verb, args, "http", response=message[:5] != "about")


# -- filters ---------------------------------------------------------------------------------------


class Noting(Filter):
    """Writes down the phases it saw."""

    def early(self, traffic: Any) -> None:
        traffic.seen.append("early")

    def response(self, traffic: Any) -> None:
        traffic.seen.append("response")

    def finish(self, traffic: Any) -> None:
        traffic.seen.append("finish")


class Late(Filter):
    """Only sees responses."""

    fail_open = True

    def response(self, traffic: Any) -> None:
        traffic.seen.append("response")


class Seen(Traffic):
    """Traffic with a list."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.seen: list[str] = []


def run(cls: Any, traffic: Seen, *conditions: Any, change: str = "") -> list[str]:
    made = make_filter(PluginSpec("x", cls, None, conditions=conditions), ENV)
    phases = compile_phases([made])
    for phase in ("early", "request", "server_request"):
        for hook in getattr(phases, phase):
            hook(traffic)
    if change and traffic.request is not None:
        traffic.request.target = change.encode()
    for phase in ("response", "finish"):
        for hook in getattr(phases, phase):
            hook(traffic)
    return traffic.seen


API = ("path", ("/api/*",), False)


def test_without_conditions_it_is_the_filter_itself() -> None:
    assert type(make_filter(PluginSpec("x", Noting, None), ENV)) is Noting


def test_it_takes_part_where_conditions_hold() -> None:
    assert run(Noting, Seen(request("/api/x")), API) == ["early", "response", "finish"]
    assert run(Noting, Seen(request("/x")), API) == []
    both = (API, ("method", ("POST",), True))
    assert run(Noting, Seen(request("/api/x")), *both) == ["early", "response", "finish"]
    assert run(Noting, Seen(request("/api/x", method="POST")), *both) == []


def test_a_path_changed_meanwhile_does_not_matter() -> None:
    assert run(Late, Seen(request("/api/x")), API, change="/x") == ["response"]
    assert run(Late, Seen(request("/x")), API, change="/api/x") == []


def test_the_status_of_the_response() -> None:
    wrong = ("status", ("5xx",), False)
    for status, wanted in ((503, ["response"]), (200, [])):
        traffic = Seen(request("/api/x"), response=ResponseHead(status, []))
        assert run(Late, traffic, API, wrong) == wanted
    assert (
        compile_phases([make_filter(PluginSpec("x", Late, None, conditions=(wrong,)), ENV)]).request
        == ()
    )


def test_an_ambiguous_path_is_refused() -> None:
    with pytest.raises(ProxyError) as caught:
        run(Late, Seen(request("/api/..%2f..;/x")), API)
    assert caught.value.kind is Kind.BAD_REQUEST


def test_it_fails_as_the_filter_does() -> None:
    made = make_filter(PluginSpec("x", Late, None, conditions=(API,)), ENV)
    assert isinstance(made, Conditional) and made.fail_open and made.modes == Late.modes
