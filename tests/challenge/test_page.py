"""The page: what it carries, who gets it."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from lbproxy.challenge.page import PAGE_POLICY, PATH, challenge_page, refusal_text, takes_html
from tests.support.proof import read_challenge


def test_the_meta_tag_has_token_bits_and_path() -> None:
    page = challenge_page("TOKEN", 18, "id-1")
    assert read_challenge(page) == ("TOKEN", 18, PATH)
    assert page.count(b"id-1") == 1


def test_a_request_id_is_text() -> None:
    assert b"<b>" not in challenge_page("T", 18, "<b>")
    assert b"<b>" in refusal_text("<b>")  # text/plain


def test_the_page_is_well_formed_and_says_what_happens_without_a_script() -> None:
    class Tags(HTMLParser):
        open: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Tags()
    parser.open = []
    page = challenge_page("T", 18, "id").decode()
    parser.feed(page)
    assert not parser.open
    assert re.search(r"<noscript>.*needs JavaScript.*</noscript>", page, re.DOTALL)
    assert '<html lang="en">' in page and 'role="status"' in page and page.count("<h1>") == 1
    assert not re.search(r"https?://", page), "no third party"


def test_the_policy_allows_the_script_of_the_page_and_no_other() -> None:
    page = challenge_page("T", 18, "id").decode()
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in PAGE_POLICY.decode()
    assert PAGE_POLICY.startswith(b"default-src 'none'")


@pytest.mark.parametrize(
    ("method", "accept", "shown"),
    [
        (b"GET", b"text/html,application/xhtml+xml,*/*;q=0.8", True),
        (b"GET", b"application/json, TEXT/HTML ; q=0.1", True),
        (b"GET", b"text/html;q=0", False),
        (b"GET", b"text/html;q=0.000, */*", False),
        (b"GET", b"*/*", False),
        (b"GET", b"text/htmlx", False),
        (b"GET", None, False),
        (b"POST", b"text/html", False),
        (b"HEAD", b"text/html", False),
    ],
)
def test_who_gets_the_page(method: bytes, accept: bytes | None, shown: bool) -> None:
    assert takes_html(method, accept) is shown
