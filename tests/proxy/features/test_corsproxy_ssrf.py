"""No form of a forbidden URL makes the CORS proxy connect to anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("ada_url")

from lbproxy.guard.special import special_reason
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer
from tests.guard.test_target import FORMS

TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[frontend cors]
mode = corsproxy
open = yes
listen = tcp:8090
"""
ALLOWED = "10.1.0.1"
VISIBLE = [url for url in FORMS if url.isascii() and url.isprintable()]
"""Forms that a head can carry without encoding."""


class Watched:
    """An open CORS proxy, and every address that it has dialled."""

    def __init__(self) -> None:
        self.lb: LoadBalancerFixture = LB.from_config(TEXT)
        self.dialled: list[tuple[str, int]] = []
        self.location = ""
        connect = self.lb.reactor.connectTCP
        self.watching = False

        def connect_watched(host: str, port: int, *args: Any, **options: Any) -> Any:
            if options.get("bindAddress") is None and port != 8090:
                self.dialled.append((host, port))
            return connect(host, port, *args, **options)

        self.lb.reactor.connectTCP = connect_watched  # type: ignore[method-assign]
        self.resolver.table["moves.example"] = [ALLOWED]
        self.lb.origin(
            "moves", f"{ALLOWED}:80", lambda request: Answer(307, b"", {"Location": self.location})
        )

    @property
    def resolver(self) -> Any:
        """The fake resolver."""
        return self.lb.reactor.nameResolver

    def get(self, target: str, headers: dict[str, str] | None = None) -> int:
        """Status of a call."""
        return self.lb.get(f"http://proxy:8090{target}", headers=headers or {}).status


@pytest.fixture(scope="module")
def proxy() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.lb.close()


@pytest.fixture(autouse=True)
def forget(proxy: Watched) -> None:
    proxy.dialled.clear()


def encoded(url: str) -> str:
    return quote(url, safe="", errors="surrogatepass")


@pytest.mark.parametrize("url", FORMS)
def test_a_form_reaches_nothing(proxy: Watched, url: str) -> None:
    assert proxy.get(f"/?url={encoded(url)}") in (400, 403, 404, 414)
    assert proxy.dialled == []


@pytest.mark.parametrize("url", [url for url in VISIBLE if " " not in url and "#" not in url])
def test_nor_does_it_as_a_path_or_a_header(proxy: Watched, url: str) -> None:
    # without a scheme, a path names a host; then it is a form of its own
    statuses = {proxy.get(f"/{url}"), proxy.get(f"/?{url}"), proxy.get(f"/?url={url}")}
    assert statuses <= {200, 400, 403, 404, 414, 502}
    assert all(not special_reason_of(host) for host, _ in proxy.dialled)
    if url.strip():
        assert proxy.get("/", {"X-Target-URL": url}) in (400, 403, 414, 431)


def special_reason_of(host: str) -> str:
    from ipaddress import ip_address

    return "" if host.startswith("10.1.0.") else special_reason(ip_address(host))


@pytest.mark.parametrize("url", [url for url in VISIBLE if url == url.strip() and len(url) <= 8000])
def test_a_redirect_to_it_is_not_followed(proxy: Watched, url: str) -> None:
    proxy.location = url
    status = proxy.get("/?url=http://moves.example/")
    assert status in (307, 403, 502)
    assert {host for host, _ in proxy.dialled} <= {ALLOWED}


def test_a_name_that_changes_its_address(proxy: Watched) -> None:
    proxy.resolver.table["rebinds.example"] = ["10.1.0.9"]
    assert proxy.get("/?url=http://rebinds.example/") == 502
    proxy.resolver.table["rebinds.example"] = ["127.0.0.1"]
    assert proxy.get("/?url=http://rebinds.example/") == 403
    assert {host for host, _ in proxy.dialled} == {"10.1.0.9"}


def test_own_listeners(proxy: Watched) -> None:
    text = TEXT.replace("10.1.0.0/24", "127.0.0.0/8") + "guard_ports = 8090\n"
    lb = LB.from_config(text)
    url = "http://proxy:8090/?url=http%3A%2F%2F127.0.0.1%3A8090%2F"
    assert lb.get(url).status == 403
    lb.close()


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ADDRESSES, min_size=1, max_size=4))
def test_answers_of_a_resolver(proxy: Watched, addresses: list[str]) -> None:
    proxy.dialled.clear()
    proxy.resolver.table["any.example"] = addresses
    status = proxy.get("/?url=http://any.example/")
    bad = [one for one in addresses if special_reason_of(one)]
    assert status == (403 if bad else 502)
    assert bad == [] or proxy.dialled == []
    assert {host for host, _ in proxy.dialled} <= set(addresses)
