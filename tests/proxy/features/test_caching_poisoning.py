"""Fields by which a client may change a response that others get: stripped, or past the cache."""

from __future__ import annotations

import pytest

from lbproxy.testing import LB
from lbproxy.testing.origin import Answer, Request

TEXT = """
[cache main]
[frontend web]
listen = tcp:80
{web}
cache = main
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
CLAIMS = (
    "Forwarded", "X-Forwarded-Host", "X-Forwarded-Scheme", "X-Forwarded-Prefix", "X-Forwarded-Path",
    "X-Forwarded-Uri", "X-Original-Host", "X-Original-URI", "X-Backend-Host",
    "X-HTTP-Host-Override", "X-Envoy-Original-Path", "X-Url-Scheme", "Front-End-Https",
    "x_original_host", "X-Forwarded_Path", "X-Script-Name", "SCRIPT_NAME", "Path-Info", "Proxy",
    "X-Forwarded-Method", "X-Original-Method", "X-Original-Scheme", "X-Original-Proto", "X-Scheme",
    "X-Forwarded-Server", "X-Forwarded-SSL", "X-Forwarded-Https", "X-Forwarded-Context",
    "X-Forwarded-PathBase", "X-Replaced-Path", "X-Envoy-Original-Host", "X-Envoy-Original-Method",
    "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "CF-IPCountry", "CF-Visitor",
    "True-Client-IP", "Fastly-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Real-IP",
    "X-Azure-ClientIP", "X-Azure-SocketIP", "X-AppEngine-User-IP", "Fly-Client-IP", "Client-IP",
    "X-Envoy-External-Address", "X-ProxyUser-Ip", "WL-Proxy-Client-IP", "Proxy-Client-IP",
    "X-Original-Forwarded-For", "Forwarded-For", "CloudFront-Viewer-Address", "Client_IP",
    "CloudFront-Forwarded-Proto", "X-Forwarded-User", "cf_connecting_ip",
    "X-Envoy_External-Address",
)  # fmt: skip
OVERRIDES = (
    "X-Host", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method",
    "X-Method-Override", "X-Override-URL", "X-HTTP-DestinationURL", "X-Wap-Profile",
    "X_Rewrite_Url", "X-Http_Method-Override",
)  # fmt: skip


def answer(name: str) -> object:
    """Return a handler whose answer shows the field ``name``."""

    def handle(request: Request) -> Answer:
        shown = request.header(name) or request.header(name.replace("_", "-"))
        return Answer(200, (shown or "-").encode(), {"Cache-Control": "max-age=60"})

    return handle


@pytest.mark.parametrize("name", CLAIMS + OVERRIDES)
def test_others_do_not_get_what_a_field_of_one_client_has_made(name: str) -> None:
    with LB.from_config(TEXT.format(web="")) as lb:
        lb.origin("a", "10.0.0.1:80", answer(name))
        first = lb.get("http://h/a", headers={name: "evil"})
        assert (first.body == b"evil") is (name in OVERRIDES)
        assert lb.get("http://h/a").body != b"evil"
        again = lb.get("http://h/a", headers={name: "evil"})
        assert again.body == first.body, "a hit does not stand for an override"


@pytest.mark.parametrize("name", CLAIMS[6:13])
def test_a_trusted_proxy_may_send_them(name: str) -> None:
    with LB.from_config(TEXT.format(web="trusted_proxies = 203.0.113.0/24")) as lb:
        lb.origin("a", "10.0.0.1:80", answer(name))
        assert lb.get("http://h/a", headers={name: "kept"}).body == b"kept"
