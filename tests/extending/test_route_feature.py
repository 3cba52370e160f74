"""A feature of routes: its values at routes and frontends, counts and reloads."""

from __future__ import annotations

from pathlib import Path

from lbproxy.testing import LB
from tests.extending.busy import TEXT, ask, refused, toy

__all__ = ["toy"]


def test_a_route_has_its_own_value_or_that_of_the_frontend(toy: Path) -> None:
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80").hang()
        assert refused([ask(lb, "/one/x") for _ in range(3)]) == 2
        assert refused([ask(lb, "/") for _ in range(3)]) == 1, "a count of its own"
        assert refused([ask(lb, "/free") for _ in range(5)]) == 0, "switched off here"
        assert ask(lb, "/gone").received.startswith(b"HTTP/1.1 410")
        routes = lb.service.routes
        assert [one for one in routes if "busy" in routes[one].features] == [
            "web: path /one/*",
            "web: default",
        ]


def test_reloads_keep_counts_and_objects(toy: Path) -> None:
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80").hang()
        first = [ask(lb, "/one/x") for _ in range(2)]
        before = lb.service.routes["web: path /one/*"]
        text = TEXT.replace("busy=1", "busy=2").replace(
            "    path /free", "    path /x -> app\n    path /free"
        )
        assert lb.service.reload(text).ok
        after = lb.service.routes["web: path /one/*"]
        assert after is not before and after.features["busy"] is before.features["busy"]
        assert refused([ask(lb, "/one/x") for _ in range(2)]) == 1, "the one before counts"
        assert after.counts["busy"].busy_refused == 2
        for client in first:
            client.abort()
        lb.advance(0.1)
        assert after.features["busy"].held == 1
        assert lb.service.reload(text).ok and lb.service.routes["web: path /one/*"] is after
        assert lb.service.reload(TEXT.replace(" busy=1", " busy=0")).ok
        assert not lb.service.routes["web: path /one/*"].features


def test_a_filter_that_chooses_another_backend_stays_on_the_route(
    toy: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text(
        "from lbproxy.http.filter import Filter\n"
        "class Other(Filter):\n"
        "    def request(self, traffic):\n"
        "        traffic.backend_name = 'other'\n"
    )
    text = TEXT.replace("busy = 2\n", f"filters = {tmp_path}/other.py:Other\n")
    text += "[backend other]\nmode = http\nservers = b 10.0.0.2:80\n"
    with LB.from_config(text) as lb:
        origin = lb.origin("b", "10.0.0.2:80")
        origin.hang()
        clients = [ask(lb, "/one/x") for _ in range(2)]
        assert refused(clients) == 1 and len(origin.requests) == 1
        clients[0].abort()
        lb.advance(0.1)
        assert lb.service.routes["web: path /one/*"].features["busy"].held == 0
