"""Filters compiled into phases."""

from __future__ import annotations

from random import Random
from typing import Any

from zope.interface.verify import verifyObject

from lbproxy.http.filter import Filter, NoOptions, Phases, compile_phases
from lbproxy.interfaces import Env, IFilter
from tests.http.doc_examples import run_page

ENV = Env(now=lambda: 0.0, random=Random(0))


class Early(Filter):
    def early(self, traffic: Any) -> None:
        traffic.append("early")


class Both(Early):
    async def response(self, traffic: Any) -> None:
        traffic.append("response")


class Duck:
    def finish(self, traffic: Any) -> None:
        traffic.append("duck")


def test_only_overridden_phases_are_in() -> None:
    one, two = Early(NoOptions(), ENV), Both(NoOptions(), ENV)
    phases = compile_phases([one, two])
    assert [hook.__self__ for hook in phases.early] == [one, two]  # type: ignore[attr-defined]
    assert [hook.__self__ for hook in phases.response] == [two]  # type: ignore[attr-defined]
    assert phases.request == phases.server_request == phases.finish == ()


def test_nothing_costs_nothing() -> None:
    assert compile_phases([]) == Phases() == compile_phases([Filter(NoOptions(), ENV)])


def test_a_filter_need_not_extend_ours() -> None:
    log: list[str] = []
    (hook,) = compile_phases([Duck()]).finish
    hook(log)
    assert log == ["duck"]


def test_frontend_then_backend() -> None:
    one, two = Early(NoOptions(), ENV), Early(NoOptions(), ENV)
    both = compile_phases([one]).then(compile_phases([two]))
    assert [hook.__self__ for hook in both.early] == [one, two]  # type: ignore[attr-defined]


def test_base_class_keeps_the_contract() -> None:
    one = Filter(NoOptions(), ENV)
    assert verifyObject(IFilter, one)
    assert one.modes == {"http"} and one.fail_open is False


def test_the_examples_of_the_documentation_run() -> None:
    assert run_page("filters.rst") == 10
