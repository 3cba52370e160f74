"""PURE. Crawlers whose operators publish their addresses by DNS.

The reverse name of the address ends in one of the crawler's domains, and that name resolves to the
address. Each operator documents this procedure for its crawlers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

__all__ = ["CRAWLERS", "Crawler", "claimed_crawler"]


@frozen
class Crawler:
    """A crawler. ``words``: lower-case words, one of which is in its User-Agent. ``domains``: those
    of its hosts.
    """

    name: str
    words: tuple[bytes, ...]
    domains: tuple[str, ...]

    def owns(self, host: str) -> bool:
        """Return whether ``host``, the name of an address, is in one of the domains."""
        host = host.rstrip(".").lower()
        return any(host.endswith("." + domain) for domain in self.domains)


CRAWLERS: Final = (
    Crawler(
        "Google",
        (b"googlebot", b"google-inspectiontool", b"adsbot-google", b"mediapartners-google"),
        ("googlebot.com", "google.com"),
    ),
    Crawler("Bing", (b"bingbot", b"adidxbot", b"bingpreview"), ("search.msn.com",)),
    Crawler("Apple", (b"applebot",), ("applebot.apple.com",)),
    Crawler("Yandex", (b"yandex",), ("yandex.ru", "yandex.net", "yandex.com")),
    Crawler("Baidu", (b"baiduspider",), ("baidu.com", "baidu.jp")),
    Crawler("Seznam", (b"seznambot",), ("seznam.cz",)),
    Crawler("Petal", (b"petalbot",), ("petalsearch.com",)),
    Crawler("Qwant", (b"qwantbot", b"qwantify"), ("qwant.com",)),
    Crawler("Mojeek", (b"mojeekbot",), ("mojeek.com",)),
)


def claimed_crawler(agents: Iterable[bytes]) -> Crawler | None:
    """Return the crawler that the values of User-Agent name, or None."""
    for agent in agents:
        lower = agent.lower()
        for one in CRAWLERS:
            if any(word in lower for word in one.words):
                return one
    return None
