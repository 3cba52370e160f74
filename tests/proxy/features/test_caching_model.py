"""The cache against a model written from RFC 9111: same bodies, same ages, same number of fetches.

The model keeps a list of responses and looks at all of them for each request. It knows nothing of
the code that it is compared with: directives are dicts here, and bodies say which version of which
variant they are.
"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.testing import LB
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import config_with

Directives = dict[str, int | None]


@frozen
class Resource:
    """What the server has at a path: ``version`` changes the body and its ETag."""

    version: int = 0
    control: tuple[tuple[str, int | None], ...] = (("max-age", 10),)
    vary: bool = False
    tagged: bool = True
    age: int = 0

    def body(self, x: str) -> str:
        return f"{self.version}{x if self.vary else ''}"

    def headers(self, x: str) -> dict[str, str]:
        found = {"Cache-Control": written(dict(self.control))}
        if self.vary:
            found["Vary"] = "X"
        if self.tagged:
            found["ETag"] = f'"{self.body(x)}"'
        if self.age:
            found["Age"] = str(self.age)
        return found


def written(control: Directives) -> str:
    return ", ".join(
        name if value is None else f"{name}={value}" for name, value in control.items()
    )


@define
class Kept:
    """A response that the model has stored."""

    body: str
    control: Directives
    selected: str | None  # the value of X, None without Vary
    tagged: bool
    age: int
    received: float

    @property
    def lifetime(self) -> int:
        for name in ("s-maxage", "max-age"):
            value = self.control.get(name)
            if value is not None:
                return value
        return 0

    def age_at(self, now: float) -> float:
        return self.age + now - self.received


@define
class Model:
    """A shared cache as RFC 9111 describes it."""

    kept: dict[str, list[Kept]] = field(factory=dict)
    fetches: int = 0

    def ask(
        self, path: str, wants: Directives, x: str, server: Resource, now: float
    ) -> tuple[str, float | None]:
        """Return the body, and its age if it came from the store."""
        fitting = [one for one in self.kept.get(path, []) if one.selected in (None, x)]
        fitting.sort(key=lambda one: one.received)
        known = fitting[-1] if fitting else None  # section 4
        if known is not None and self.usable(known, wants, now):
            return known.body, known.age_at(now)
        self.fetches += 1
        body = server.body(x)
        tag = known is not None and known.tagged and server.tagged
        confirmed = tag and known is not None and known.body == body  # 304, section 4.3.4
        if known is not None and not (confirmed and "no-store" in wants):
            self.kept[path].remove(known)
        fresh = Kept(body, dict(server.control), x if server.vary else None, server.tagged,
                     server.age, now)  # fmt: skip
        if self.storable(fresh, wants):
            others = [one for one in self.kept.get(path, []) if one.selected != fresh.selected]
            self.kept[path] = [*others, fresh]
        return body, (fresh.age_at(now) if confirmed else None)

    def post(self, path: str) -> None:
        """An unsafe method that succeeds (section 4.4)."""
        self.kept.pop(path, None)

    @staticmethod
    def storable(one: Kept, wants: Directives) -> bool:
        """Sections 3 and 5.2."""
        if {"no-store", "private"} & set(one.control) or "no-store" in wants:
            return False
        return one.lifetime > one.age or one.tagged

    @staticmethod
    def usable(one: Kept, wants: Directives, now: float) -> bool:
        """Sections 4.2 and 5.2, without validation."""
        age, left = one.age_at(now), one.lifetime - one.age_at(now)
        if "no-cache" in one.control or "no-cache" in wants or wants.get("max-age") == 0:
            return False
        most = wants.get("max-age")
        slack = wants.get("max-stale", 0) or 0
        if most is not None and age > most and slack < age - most:
            return False
        least = wants.get("min-fresh") or 0
        if left > least:
            return True
        if left > 0 or {"must-revalidate", "s-maxage"} & set(one.control):
            return False
        return "max-stale" in wants and -left <= slack


paths = st.sampled_from(["/a", "/b"])
seconds = st.integers(0, 20)
controls = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["max-age", "s-maxage"]), seconds),
        st.tuples(st.sampled_from(["no-cache", "must-revalidate"]), st.none()),
        st.tuples(st.sampled_from(["no-store", "private"]), st.none()),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one[0],
)
wishes = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["max-age", "min-fresh", "max-stale"]), seconds, max_size=2),
    st.sampled_from([{"no-cache": None}, {"no-store": None}]),
)
resources = st.builds(
    Resource,
    version=st.integers(0, 2),
    control=controls.map(tuple),
    vary=st.booleans(),
    tagged=st.booleans(),
    age=st.integers(0, 8),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 15)),
        st.tuples(st.just("change"), paths, resources),
        st.tuples(st.just("ask"), paths, wishes, st.sampled_from(["1", "2"])),
        st.tuples(st.just("ask"), paths, st.just({}), st.sampled_from(["1", "2"])),
        st.tuples(st.just("post"), paths),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40)
@given(steps)
def test_any_sequence_is_answered_as_by_the_model(steps: list[Any]) -> None:
    server = {"/a": Resource(), "/b": Resource()}
    model = Model()

    def handle(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(204, b"")
        now, x = server[request.path], request.header("X")
        headers = now.headers(x)
        if now.tagged and request.header("If-None-Match") == headers["ETag"]:
            return Answer(304, b"", headers)
        return Answer(200, now.body(x).encode(), headers)

    with LB.from_config(config_with()) as lb:
        origin = lb.origin("a", "10.0.0.1:80", handle)
        wall = lb.service.caches["main"].wall
        posts = 0
        for kind, *facts in steps:
            if kind == "wait":
                lb.advance(facts[0])
            elif kind == "change":
                server[facts[0]] = facts[1]
            elif kind == "post":
                posts += 1
                lb.request("POST", f"http://h{facts[0]}")
                model.post(facts[0])
            else:
                path, wants, x = facts
                headers = {"X": x, **({"Cache-Control": written(wants)} if wants else {})}
                now = wall()
                found = lb.get(f"http://h{path}", headers=headers)
                body, age = model.ask(path, wants, x, server[path], now)
                assert found.body.decode() == body
                if age is not None:
                    assert abs(int(found.header("Age")) - age) <= 1
                assert len(origin.requests) - posts == model.fetches


@pytest.mark.long
@given(steps)
def test_many_sequences_are_answered_as_by_the_model(steps: list[Any]) -> None:
    test_any_sequence_is_answered_as_by_the_model.hypothesis.inner_test(steps)
