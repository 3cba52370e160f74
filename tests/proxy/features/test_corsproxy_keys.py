"""Keys of a CORS proxy: who may call, what with, and that the key goes nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("ada_url")

from lbproxy.config.errors import ConfigErrors
from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, HTTPOrigin

APP = "https://app.example.com"
KEY = "S3CRET-KEY"
TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[frontend cors]
mode = corsproxy
listen = tcp:8090
access_log = log json
keys = {path}
{more}
"""

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def make(path: Path) -> Iterator[Make]:
    """Start a proxy with the key ``KEY`` and an origin at api.example.com."""
    made = []

    def start(more: str = "", **record: object) -> LoadBalancerFixture:
        write(path, KeyRecord("app", hashed(KEY), **record))  # type: ignore[arg-type]
        lb = LB.from_config(TEXT.format(path=path, more=more))
        made.append(lb)
        lb.reactor.resolver.table["api.example.com"] = ["10.1.0.1"]
        lb.reactor.resolver.table["other.example.com"] = ["10.1.0.2"]
        lb.origin("api", "10.1.0.1:80")
        return lb

    yield start
    for lb in made:
        lb.close()


def write(path: Path, *records: KeyRecord) -> None:
    path.write_text(KeyRing(records).dump())


def call(
    lb: LoadBalancerFixture,
    url: str = "http://api.example.com/v1/x",
    more: str = "",
    **headers: str,
) -> Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return lb.get(f"http://proxy:8090/?url={quote(url, safe='')}{more}", headers=sent)


def api(lb: LoadBalancerFixture) -> HTTPOrigin:
    origin = lb.origins["api"]
    assert isinstance(origin, HTTPOrigin)
    return origin


def test_a_key_is_needed_and_goes_nowhere(make: Make) -> None:
    lb = make()
    assert call(lb, Origin=APP).status == 401
    assert call(lb, more="&key=wrong").status == 401
    assert api(lb).requests == []
    assert call(lb, more=f"&key={KEY}", Origin=APP).status == 200
    assert call(lb, X_Api_Key=KEY, Referer=f"https://p.example/?key={KEY}").status == 200
    assert call(lb, url="http://127.0.0.1/", more=f"&key={KEY}").status == 403
    for request in api(lb).requests:
        assert KEY not in f"{request.target} {request.headers}"
    assert KEY not in "".join(lb.log_lines())


def test_a_log_of_the_header_shows_the_name_or_nothing(path: Path) -> None:
    write(path, KeyRecord("app", hashed(KEY), targets=["api.example.com"]))
    text = TEXT.replace("log json", 'log "%{{status}} key=%{{request.X-Api-Key}}"')
    lb = LB.from_config(text.format(path=path, more=""))
    lb.reactor.resolver.table["api.example.com"] = ["10.1.0.1"]
    lb.origin("api", "10.1.0.1:80")
    for url in ("http://api.example.com/", "http://other.example.com/", "http://127.0.0.1/", "x"):
        call(lb, url, X_Api_Key=KEY)
    lb.get("http://proxy:8090/", headers={"X-Api-Key": KEY})
    lb.request("TRACE", "http://proxy:8090/", headers={"X-Api-Key": KEY})
    lines = lb.log_lines()
    lb.close()
    assert lines[0] == "200 key=app"
    assert len(lines) == 6
    assert KEY not in "".join(lines)


def test_a_preflight_needs_no_key(make: Make) -> None:
    lb = make()
    headers = {"Origin": APP, "Access-Control-Request-Method": "GET"}
    response = lb.request("OPTIONS", "http://proxy:8090/?url=http://a.example/", headers=headers)
    assert response.status == 204


def test_rules_add_up(make: Make) -> None:
    lb = make(f"origins = {APP}")
    assert call(lb, X_Api_Key=KEY, Origin=APP).status == 200
    assert call(lb, X_Api_Key=KEY).status == 200
    assert call(lb, X_Api_Key=KEY, Origin="https://evil.example").status == 403
    assert call(lb, Origin=APP).status == 401


def test_origins_and_targets_of_a_key(make: Make) -> None:
    lb = make(origins=[APP], targets=["api.example.com/v1/*"])
    assert call(lb, X_Api_Key=KEY, Origin=APP).status == 200
    assert call(lb, X_Api_Key=KEY, Origin="https://b.example").status == 403
    for url in ("http://api.example.com/v2/", "http://other.example.com/v1/"):
        assert call(lb, url, X_Api_Key=KEY, Origin=APP).status == 403


def test_a_redirect_to_a_target_that_the_key_does_not_allow(make: Make) -> None:
    lb = make(targets=["api.example.com"])
    api(lb).handler = Answer(302, b"", {"Location": "http://other.example.com/"})
    other = lb.origin("other", "10.1.0.2:80")
    assert call(lb, X_Api_Key=KEY).status == 403
    assert other.accepted == 0


def test_expiry(make: Make) -> None:
    lb = make(expires=0.0)
    assert call(lb, X_Api_Key=KEY).status == 401


def test_a_change_of_the_file_takes_effect_within_two_seconds(make: Make, path: Path) -> None:
    lb = make()
    assert call(lb, X_Api_Key=KEY).status == 200
    write(path, KeyRecord("second", hashed("another")), KeyRecord("third", hashed("third")))
    lb.advance(2.0)
    assert call(lb, X_Api_Key=KEY).status == 401
    assert call(lb, X_Api_Key="another").status == 200


def test_a_file_that_goes_wrong_changes_nothing(make: Make, path: Path) -> None:
    lb = make()
    for text in ("{", ""):
        path.write_text(text)
        lb.advance(2.0)
        assert call(lb, X_Api_Key=KEY).status == 200
    path.unlink()
    lb.advance(2.0)
    assert call(lb, X_Api_Key=KEY).status == 200
    write(path, KeyRecord("new", hashed("new")))
    lb.advance(2.0)
    assert call(lb, X_Api_Key=KEY).status == 401


def test_a_key_header_of_another_name(make: Make) -> None:
    lb = make("key_header = Authorization")
    assert call(lb, Authorization=KEY).status == 200
    assert api(lb).requests[0].header("Authorization") == ""


def test_mistakes(make: Make, path: Path) -> None:
    with pytest.raises(ConfigErrors, match="No such file"):
        LB.from_config(TEXT.format(path=path, more=""))
    path.write_text("[]")
    with pytest.raises(ConfigErrors, match="not an object with a list"):
        LB.from_config(TEXT.format(path=path, more=""))


@pytest.mark.parametrize("in_query", [False, True])
def test_a_limit_by_key_counts_keys_in_the_query_too(make: Make, in_query: bool) -> None:
    lb = make("limits = few\n[limit few]\nrate = 1/1h\nkey = {header:X-Api-Key}")
    given = {"more": f"&key={KEY}"} if in_query else {"X_Api_Key": KEY}
    assert [call(lb, **given).status for _ in range(2)] == [200, 429]
    log = "".join(lb.log_lines())
    assert "limit few, key app" in log
    assert KEY[:4] not in log


def test_a_second_referer_with_the_key_goes_nowhere(make: Make) -> None:
    lb = make()
    client = lb.connect("cors")
    client.send(
        f"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nX-Api-Key: {KEY}\r\n"
        f"Referer: https://a.example/\r\nReferer: https://b.example/?key=other\r\n\r\n".encode()
    )
    assert client.take().startswith(b"HTTP/1.1 200 ")
    assert api(lb).requests[0].header("Referer") == ""
