"""``sticky`` and ``secret``: what is allowed, and where mistakes are reported."""

from __future__ import annotations

import pytest

from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config

WEB = "[frontend web]\nlisten = tcp:8080\nbackend = app\n\n[backend app]\nservers = a 10.0.0.1:80\n"
TCP = WEB.replace("listen", "mode = tcp\nlisten")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cookie", "name is missing"),
        ("cookie a;b", "'a;b' is not the name of a cookie"),
        ("cookie LB path=x", "path 'x' does not begin with '/'"),
        ('cookie LB path="/a;b"', "contains a ';'"),
        ('cookie LB domain="a b"', "domain 'a b' is not a domain"),
        ("cookie LB samesite=none secure=no", "samesite=none needs secure"),
        ("cookie LB samesite=lux", "'lux' is not a choice"),
        ("cookie LB max_age=5", "it needs a unit"),
        ("cooky LB", "did you mean 'cookie'"),
        ("prefix =x", "'=x' is not the name of a cookie"),
        ("learn S size=0", "0 is out of bounds"),
        ("learn S expire=1ms", "out of bounds"),
        ("source prefix=33", "33 is out of bounds"),
        ("source prefix6=0", "0 is out of bounds"),
        ("header", "header is missing"),
        ('header "X Y"', "'X Y' is not the name of a header"),
        ("sni www", "unknown option 'www'"),
    ],
)
def test_mistakes_are_told_with_their_line(line: str, found: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(WEB + f"sticky = {line}\n", "lb.ini")
    text = str(caught.value)
    assert found in text and "lb.ini:7" in text and "sticky" in text


@pytest.mark.parametrize("kind", ["cookie LB", "prefix S", "learn S", "header X-User"])
def test_what_looks_at_requests_is_refused_in_tcp_mode(kind: str) -> None:
    with pytest.raises(ConfigErrors, match=r"lb\.ini:8.*works in http mode, not in tcp mode"):
        parse_config(TCP + f"sticky = {kind}\n", "lb.ini")


@pytest.mark.parametrize("kind", ["source prefix=24 prefix6=56", "sni size=5 expire=1h"])
def test_what_needs_no_request_works_in_both(kind: str) -> None:
    for text in (WEB, TCP):
        config = parse_config(text + f"sticky = {kind}\n")
        assert config.backends[0].sticky is not None


def test_a_kind_of_ones_own_must_say_how(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        "from lbproxy.balance.sticky import Sticky, TableSticky\n"
        "class Keyless(TableSticky):\n    pass\n"
        "class Silent(Sticky):\n    pass\n"
        "class Other:\n    def belongs(self, context):\n        pass\n"
    )
    for name, needs in (
        ("Keyless", "needs a method 'key'"),
        ("Silent", "needs a method 'belongs'"),
        ("Other", "does not extend"),
    ):
        with pytest.raises(ConfigErrors, match=needs):
            parse_config(WEB + f"sticky = mine.py:{name}\n", base_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        ("short", "at least 16 characters; this one has 5"),
        ("file:", "'file:' needs a path"),
        ("file:nowhere", "no such file: nowhere"),
    ],
)
def test_a_bad_secret(secret: str, found: str) -> None:
    with pytest.raises(ConfigErrors, match=rf"lb\.ini:2.*{found}"):
        parse_config(f"[lbproxy]\nsecret = {secret}\n" + WEB, "lb.ini")
