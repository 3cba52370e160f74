"""The CORS policy of a CORS proxy: credentials, and filters that have other ideas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("ada_url")

from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer

APP = "https://app.example.com"
TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[limit one]
rate = 1/1h
key = {{client_ip}}
[frontend cors]
mode = corsproxy
listen = tcp:8090
{more}
"""
Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a proxy, with keys that are their own names."""
    made = []

    def start(more: str = "", *records: KeyRecord) -> LoadBalancerFixture:
        if records:
            path = tmp_path / "keys.json"
            path.write_text(KeyRing(records).dump())
            more += f"\nkeys = {path}"
        lb = LB.from_config(TEXT.format(more=more))
        made.append(lb)
        lb.reactor.resolver.table["api.example.com"] = ["10.1.0.1"]
        lb.reactor.resolver.table["other.example.com"] = ["10.1.0.2"]
        return lb

    yield start
    for lb in made:
        lb.close()


def call(
    lb: LoadBalancerFixture, host: str = "api.example.com", method: str = "GET", **headers: str
) -> Response:
    sent = {"Origin": APP, **{name.replace("_", "-"): value for name, value in headers.items()}}
    target = f"http://proxy:8090/?url={quote(f'http://{host}/', safe='')}"
    return lb.request(method, target, headers=sent)


def allowing(response: Response) -> list[tuple[str, str]]:
    """The fields of the policy, without the list of exposed ones."""
    found = [pair for pair in response.headers if pair[0].lower().startswith("access-control-")]
    return sorted(pair for pair in found if pair[0] != "Access-Control-Expose-Headers")


ORIGIN = ("Access-Control-Allow-Origin", APP)
CREDENTIALS = ("Access-Control-Allow-Credentials", "true")


def test_cookies_go_to_targets_that_the_key_lists(make: Make) -> None:
    listed = KeyRecord("listed", hashed("listed"), targets=["api.example.com"])
    lb = make("credentials = yes", listed, KeyRecord("any", hashed("any")))
    target = lb.origin("api", "10.1.0.1:80", Answer(200, b"", {"Set-Cookie": "x=y"}))
    found = call(lb, Cookie="a=b", X_Api_Key="listed")
    assert allowing(found) == [CREDENTIALS, ORIGIN]
    assert found.header("Set-Cookie") == ""
    assert allowing(call(lb, Cookie="a=b", X_Api_Key="any")) == [ORIGIN]
    assert [one.header("Cookie") for one in target.requests] == ["a=b", ""]


def test_a_redirect_to_another_origin_drops_cookies(make: Make) -> None:
    listed = KeyRecord("k", hashed("k"), targets=["api.example.com", "other.example.com"])
    lb = make("credentials = yes", listed)
    lb.origin("api", "10.1.0.1:80", Answer(302, b"", {"Location": "http://other.example.com/"}))
    other = lb.origin("other", "10.1.0.2:80")
    assert call(lb, Cookie="a=b", X_Api_Key="k").status == 200
    assert other.requests[0].header("Cookie") == ""


def test_credentials_in_preflights_and_errors(make: Make) -> None:
    lb = make("credentials = yes", KeyRecord("k", hashed("k")))
    asked = {"Access_Control_Request_Method": "PUT"}
    preflight = call(lb, method="OPTIONS", **asked)
    assert CREDENTIALS in allowing(preflight)
    assert allowing(call(lb)) == [CREDENTIALS, ORIGIN]
    lb = make("", KeyRecord("k", hashed("k")))
    assert CREDENTIALS not in allowing(call(lb, method="OPTIONS", **asked))
    assert allowing(call(lb)) == [ORIGIN]


FILTERS = """
filters =
    set-header response Access-Control-Allow-Origin *
    add-header response Access-Control-Allow-Origin https://evil.example
    add-header response access-control-allow-credentials true
    add-header response Access-Control-Allow-Private-Network true
"""


def test_the_policy_wins_over_filters(make: Make) -> None:
    lb = make(f"origins = {APP}{FILTERS}")
    lb.origin("api", "10.1.0.1:80", Answer(200, b"", {"Access-Control-Allow-Origin": "*"}))
    found = call(lb)
    assert allowing(found) == [ORIGIN]
    exposed = [value for name, value in found.headers if name == "Access-Control-Expose-Headers"]
    assert len(exposed) == 1
    assert allowing(call(lb, Origin="https://evil.example")) == []
    assert allowing(call(lb, host="127.0.0.1")) == [ORIGIN]


def test_pages_can_read_what_limits_and_filters_answer(make: Make) -> None:
    lb = make(f"origins = {APP}\nlimits = one")
    lb.origin("api", "10.1.0.1:80")
    assert call(lb).status == 200
    refused = call(lb)
    assert refused.status == 429
    assert allowing(refused) == [ORIGIN]
    assert refused.header("Vary") == "Origin"


def test_the_help_page_is_for_no_other_origin(make: Make) -> None:
    lb = make(f"origins = {APP}")
    assert allowing(lb.get("http://proxy:8090/", headers={"Origin": APP})) == []


def test_fields_of_the_connection_of_a_target_are_stripped(make: Make) -> None:
    lb = make(f"origins = {APP}")
    fields = {
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "timeout=5",
        "X-A": "1",
    }
    lb.origin("api", "10.1.0.1:80", Answer(200, b"", fields))
    found = call(lb)
    assert found.header("X-A") == "1"
    assert found.header("X-Hop") == found.header("Keep-Alive") == ""


def test_fields_of_the_connection_of_a_client_are_stripped(make: Make) -> None:
    lb = make(f"origins = {APP}")
    target = lb.origin("api", "10.1.0.1:80")
    assert call(lb, Connection="X-Hop", X_Hop="1", X_A="1").status == 200
    (request,) = target.requests
    assert (request.header("X-A"), request.header("X-Hop")) == ("1", "")
