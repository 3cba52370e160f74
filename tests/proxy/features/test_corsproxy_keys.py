"""Keys of a CORS proxy: who may call, what with, and that the key goes nowhere."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ada_url")

from lbproxy.config.errors import ConfigErrors
from lbproxy.cors.keys import KeyRecord, hashed
from lbproxy.cors.quota import Quota
from lbproxy.limits.rate import Rate
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer, HTTPOrigin
from tests.support.keyedcors import APP, KEY, KeyedCors, call


def serve(keyed: KeyedCors, more: str = "", **record: Any) -> LoadBalancerFixture:
    """Start a proxy and an origin."""
    lb = keyed.start(more, **record)
    lb.origin("api", "10.1.0.1:80")
    return lb


def api(lb: LoadBalancerFixture) -> HTTPOrigin:
    origin = lb.origins["api"]
    assert isinstance(origin, HTTPOrigin)
    return origin


def test_a_key_is_needed_and_goes_nowhere(keyed: KeyedCors) -> None:
    lb = serve(keyed)
    assert call(lb, Origin=APP).status == 401
    assert call(lb, more="&key=wrong").status == 401
    assert api(lb).requests == []
    assert call(lb, more=f"&key={KEY}", Origin=APP).status == 200
    assert call(lb, X_Api_Key=KEY, Referer=f"https://p.example/?key={KEY}").status == 200
    assert call(lb, url="http://127.0.0.1/", more=f"&key={KEY}").status == 403
    for request in api(lb).requests:
        assert KEY not in f"{request.target} {request.headers}"
    assert KEY not in "".join(lb.log_lines())


def test_a_log_of_the_header_shows_the_name_or_nothing(keyed: KeyedCors) -> None:
    keyed.write(KeyRecord("app", hashed(KEY), targets=["api.example.com"]))
    log = 'log "%{status} key=%{request.X-Api-Key}"'
    lb = LB.from_config(keyed.text().replace("log json", log))
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


def test_a_preflight_needs_no_key(keyed: KeyedCors) -> None:
    lb = serve(keyed)
    headers = {"Origin": APP, "Access-Control-Request-Method": "GET"}
    response = lb.request("OPTIONS", "http://proxy:8090/?url=http://a.example/", headers=headers)
    assert response.status == 204


def test_rules_add_up(keyed: KeyedCors) -> None:
    lb = serve(keyed, f"origins = {APP}")
    assert call(lb, X_Api_Key=KEY, Origin=APP).status == 200
    assert call(lb, X_Api_Key=KEY).status == 200
    assert call(lb, X_Api_Key=KEY, Origin="https://evil.example").status == 403
    assert call(lb, Origin=APP).status == 401


def test_origins_and_targets_of_a_key(keyed: KeyedCors) -> None:
    lb = serve(keyed, origins=[APP], targets=["api.example.com/v1/*"])
    assert call(lb, X_Api_Key=KEY, Origin=APP).status == 200
    assert call(lb, X_Api_Key=KEY, Origin="https://b.example").status == 403
    for url in ("http://api.example.com/v2/", "http://other.example.com/v1/"):
        assert call(lb, url, X_Api_Key=KEY, Origin=APP).status == 403


def test_a_redirect_to_a_target_that_the_key_does_not_allow(keyed: KeyedCors) -> None:
    lb = serve(keyed, targets=["api.example.com"])
    api(lb).handler = Answer(302, b"", {"Location": "http://other.example.com/"})
    other = lb.origin("other", "10.1.0.2:80")
    assert call(lb, X_Api_Key=KEY).status == 403
    assert other.accepted == 0


def test_expiry(keyed: KeyedCors) -> None:
    lb = serve(keyed, expires=0.0)
    assert call(lb, X_Api_Key=KEY).status == 401


def test_a_change_of_the_file_takes_effect_within_two_seconds(keyed: KeyedCors) -> None:
    lb = serve(keyed)
    assert call(lb, X_Api_Key=KEY).status == 200
    keyed.write(KeyRecord("second", hashed("another")), KeyRecord("third", hashed("third")))
    lb.advance(2.0)
    assert call(lb, X_Api_Key=KEY).status == 401
    assert call(lb, X_Api_Key="another").status == 200


def test_a_file_that_goes_wrong_changes_nothing(keyed: KeyedCors) -> None:
    lb = serve(keyed)
    for text in ("{", ""):
        keyed.path.write_text(text)
        lb.advance(2.0)
        assert call(lb, X_Api_Key=KEY).status == 200
    keyed.path.unlink()
    lb.advance(2.0)
    assert call(lb, X_Api_Key=KEY).status == 200
    keyed.write(KeyRecord("new", hashed("new")))
    lb.advance(2.0)
    assert call(lb, X_Api_Key=KEY).status == 401


def test_a_key_header_of_another_name(keyed: KeyedCors) -> None:
    lb = serve(keyed, "key_header = Authorization")
    assert call(lb, Authorization=KEY).status == 200
    assert api(lb).requests[0].header("Authorization") == ""


def test_mistakes(keyed: KeyedCors) -> None:
    with pytest.raises(ConfigErrors, match="No such file"):
        LB.from_config(keyed.text())
    keyed.path.write_text("[]")
    with pytest.raises(ConfigErrors, match="not an object with a list"):
        LB.from_config(keyed.text())


@pytest.mark.parametrize("in_query", [False, True])
def test_a_limit_by_key_counts_keys_in_the_query_too(keyed: KeyedCors, in_query: bool) -> None:
    lb = serve(keyed, "limits = few\n[limit few]\nrate = 1/1h\nkey = {header:X-Api-Key}")
    given = {"more": f"&key={KEY}"} if in_query else {"X_Api_Key": KEY}
    assert [call(lb, **given).status for _ in range(2)] == [200, 429]
    log = "".join(lb.log_lines())
    assert "limit few, key app" in log
    assert KEY[:4] not in log


def test_a_second_referer_with_the_key_goes_nowhere(keyed: KeyedCors) -> None:
    lb = serve(keyed)
    client = lb.connect("cors")
    client.send(
        f"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nX-Api-Key: {KEY}\r\n"
        f"Referer: https://a.example/\r\nReferer: https://b.example/?key=other\r\n\r\n".encode()
    )
    assert client.take().startswith(b"HTTP/1.1 200 ")
    assert api(lb).requests[0].header("Referer") == ""


def test_other_forms_with_a_key_in_the_header(keyed: KeyedCors) -> None:
    quota = Quota(requests=Rate(3, 3600, 3))
    rules = {"targets": ["api.example.com/v1/*"], "methods": ["GET"], "quota": quota}
    lb = serve(keyed, **rules)

    def status(path: str, method: str = "GET", **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return lb.request(method, f"http://proxy:8090{path}", headers=sent).status

    good = "/http://api.example.com/v1/x?key=theirs"
    assert status(good) == 401
    assert status(good, X_Api_Key="wrong") == 401
    assert status("/http://api.example.com/v2/", X_Api_Key=KEY) == 403
    assert status(good, "POST", X_Api_Key=KEY) == 403
    assert status(good, X_Api_Key=KEY) == 200
    assert status("/api.example.com/v1/x", X_Api_Key=KEY) == 200
    assert status("/", X_Api_Key=KEY, X_Target_URL="http://api.example.com/v1/x") == 200
    assert status(good, X_Api_Key=KEY) == 429
    assert api(lb).requests[0].target == "/v1/x?key=theirs"
    for request in api(lb).requests:
        assert KEY not in f"{request.target} {request.headers}"


@pytest.mark.parametrize("key", [KEY, "S3CRET%2DKEY"])
def test_a_url_that_contains_the_key_is_not_sent(keyed: KeyedCors, key: str) -> None:
    lb = serve(keyed)
    for path in (f"/http://api.example.com/?key={key}", f"/api.example.com/{key}"):
        found = lb.get(f"http://proxy:8090{path}", headers={"X-Api-Key": KEY})
        assert found.status == 400
        assert b"contains the key" in found.body
    assert call(lb, f"http://api.example.com/?a={key}", X_Api_Key=KEY).status == 400
    assert call(lb, f"http://api.example.com/?a={key}", more=f"&key={KEY}").status == 400
    assert api(lb).requests == []
    assert key not in "".join(lb.log_lines())
