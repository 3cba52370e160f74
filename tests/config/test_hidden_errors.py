"""No error hides another: every two mistakes in one text are both reported."""

from __future__ import annotations

from itertools import combinations

import pytest

from .fakes import mistakes

TEXT = """\
[frontend web]
mode = http
listen =
    tcp:8080
    tcp:8081
routes =
    path /a -> app
    path /b -> app
filters = set-header request X-Name one
timeout_client = 30s

[backend app]
mode = http
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
    c 10.0.0.3:80
queue = 5

[backend other]
mode = http
servers = x 10.0.0.9:80
"""

MISTAKES = {
    # what is replaced, by what, and words of the error
    "bad port": ("a 10.0.0.1:80", "a 10.0.0.1:99999", "99999"),
    "bad weight": ("b 10.0.0.2:80", "b 10.0.0.2:80 weight=many", "many"),
    "name twice, the second": ("c 10.0.0.3:80", "a 10.0.0.3:80", "'a' is already defined"),
    "no such certificate": ("c 10.0.0.3:80", "c 10.0.0.3:80 tls certificate=gone", "'gone'"),
    "unset variable": ("a 10.0.0.1:80", "a ${NOWHERE}:80", "NOWHERE"),
    "address twice": ("tcp:8081", "tcp:8080", "is the same address"),
    "bad listener": ("tcp:8081", "tcp:what", "what"),
    "no such backend": ("path /a -> app", "path /a -> gone_backend", "'gone_backend'"),
    "never reached": ("path /b -> app", "path /a -> other\n    path /a -> app", "never reached"),
    "key twice": ("queue = 5", "queue = 5\nqueue = 6", "given twice"),
    "key twice, and wrong": ("queue = 5", "queue = 5\nqueue = huge", "huge"),
    "bad duration": ("timeout_client = 30s", "timeout_client = 30 moons", "moons"),
    "unknown key": ("timeout_client = 30s", "timeout_clint = 30s", "timeout_clint"),
    "unknown filter": ("set-header request", "set-heather request", "set-heather"),
    "section twice": ("[backend other]", "[backend other]\n[backend app]",
        "this section is already defined"),
    "in a section that is already defined": (
        "[backend other]",
        "[backend other]\nmode = http\nservers = y 10.0.0.8:80\n[backend app]\nretries = "
        "lots\n[backend third]",
        "lots",
    ),
    "in a section with a bad name": (
        "[backend other]",
        "[backend o/t/h/e/r]\nservers = y 10.0.0.8:abc\n[backend other]",
        "abc",
    ),
}  # fmt: skip


def told(text: str) -> str:
    return "\n".join(str(error) for error in mistakes(text))


@pytest.mark.parametrize("name", MISTAKES)
def test_each_is_reported(name: str) -> None:
    old, new, words = MISTAKES[name]
    assert TEXT.count(old) == 1
    assert words in told(TEXT.replace(old, new))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pair
        for pair in combinations(MISTAKES, 2)
        if MISTAKES[pair[0]][0] not in MISTAKES[pair[1]][0]
        and MISTAKES[pair[1]][0] not in MISTAKES[pair[0]][0]
    ],
)
def test_one_does_not_hide_another(one: str, two: str) -> None:
    text = TEXT
    for name in (one, two):
        old, new, _ = MISTAKES[name]
        text = text.replace(old, new, 1)
    errors = told(text)
    assert MISTAKES[one][2] in errors and MISTAKES[two][2] in errors, errors
