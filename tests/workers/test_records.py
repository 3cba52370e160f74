"""Records of a worker for the master: those that are wanted, and no more than a bound."""

from __future__ import annotations

from typing import Any

from lbproxy.observe.follow import RATE
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.workers.records import Records

TEXT = """
[frontend web]
listen = tcp:8080
backend = app
[frontend other]
listen = tcp:8081
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


def test_what_is_wanted_is_told() -> None:
    lb = LB.from_config(TEXT)
    lb.origin("a", "10.0.0.1:80")
    said: list[Any] = []
    records = Records(said.append)
    frontends = lb.service.frontends

    def get(path: str) -> list[str]:
        said.clear()
        for frontend in ("web", "other"):
            lb.get(f"http://h{path}", frontend=frontend)
        return [one["frontend"] for one in said]

    assert get("/") == []
    records.want(["web"], frontends)
    records.want(["web"], frontends)
    assert get("/x") == ["web"]
    assert "/x" in said[0]["line"] and said[0]["fine"] is True
    lb.service.reload(parse_config(TEXT.replace("tcp:8080", "tcp:8080\nmax_headers = 50")))
    records.attach(lb.service.frontends)
    assert get("/") == ["web"]
    follower = lb.service.frontends["web"].followers[0]
    records.want(["other"], lb.service.frontends)
    assert get("/") == ["other"]
    follower(object())  # a connection of before
    assert len(said) == 1
    records.want([], lb.service.frontends)
    assert get("/") == [] and lb.service.frontends["other"].followers == ()


def test_no_more_than_a_bound() -> None:
    lb = LB.from_config(TEXT)
    lb.origin("a", "10.0.0.1:80")
    said: list[Any] = []
    records = Records(said.append)
    records.want(["web"], lb.service.frontends)
    for _ in range(RATE + 3):
        lb.get("http://h/", frontend="web")
    assert len(said) == RATE
    records.turn()
    assert said[-1] == {"type": "missed", "records": 3}
    records.turn()
    assert len(said) == RATE + 1
