"""The table of crawlers."""

from __future__ import annotations

import pytest

from lbproxy.challenge.crawlers import CRAWLERS, claimed_crawler

BING = b"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"


def test_names_in_user_agents() -> None:
    found = claimed_crawler([b"curl/8", BING])
    assert found is not None and found.name == "Bing"
    assert claimed_crawler([b"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"]) is None
    assert claimed_crawler([]) is None


@pytest.mark.parametrize(
    ("host", "owned"),
    [
        ("crawl-66-249-66-1.googlebot.com", True),
        ("Crawl.GoogleBot.com.", True),
        ("evilgooglebot.com", False),
        ("googlebot.com.evil.example", False),
        ("googlebot.com", False),
        ("", False),
    ],
)
def test_hosts(host: str, owned: bool) -> None:
    google = next(one for one in CRAWLERS if one.name == "Google")
    assert google.owns(host) is owned
