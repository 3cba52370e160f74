"""Transforms that raise: the exchange ends with 500, and lbproxy goes on."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.http.filter import compile_phases
from lbproxy.http.transform import Transform
from tests.extending.seams import every, exception, over, start


class Bad(Transform):
    """One of its methods raises, for requests of /bad."""

    def __init__(self, method: str, error: str) -> None:
        def fail(*words: Any) -> Any:
            raise exception(error)

        setattr(self, method, fail)


@every
@pytest.mark.parametrize("method", ["start", "data", "end"])
@pytest.mark.parametrize("phase", ["server_request", "response"])
def test_transforms(method: str, phase: str, error: str, failures: list[str]) -> None:
    lb = start()

    class Using:
        name = "using"

    def act(traffic: Any) -> None:
        if traffic.request.path == b"/bad":
            kind = phase.removeprefix("server_")
            getattr(traffic, f"transform_{kind}")(Bad(method, error))

    using = Using()
    setattr(using, phase, act)
    lb.service.frontend("web").compile(compile_phases([using]))
    assert lb.request("POST", "http://h/bad", body=b"text").status == 500
    assert set(failures) == {error}
    assert lb.request("POST", "http://h/", body=b"text").status == 200
    over(lb)
