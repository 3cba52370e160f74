"""PURE. The page that solves the challenge, and the short text for those that cannot."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Final

from lbproxy.challenge.script import SCRIPT

__all__ = ["PAGE_POLICY", "PATH", "challenge_page", "refusal_text", "takes_html"]

PATH: Final = "/.lbproxy/challenge"
"""Path to which answers are posted."""

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 38rem; margin: 12vh auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; }
small { opacity: .8; }
"""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="lbproxy-challenge" content="{token} {bits} {path}">
<title>One moment, please</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>One moment, please</h1>
<p>This site receives unusually many requests. Your browser does a short calculation to show
that it is not one of the programs that send them. You need not do anything.</p>
<p id="status" role="status" aria-live="polite"></p>
<noscript><p>The calculation needs JavaScript, which is off in your browser. Switch it on for this
site and load the page again. Without JavaScript, please try again later.</p></noscript>
<p><small>Nothing about you is stored or sent to others. If this page does not go away, tell
the operator of the site the request ID {reference}.</small></p>
</main>
<script>{script}</script>
</body>
</html>
"""


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


PAGE_POLICY: Final = (
    f"default-src 'none'; script-src {_source(SCRIPT)}; style-src {_source(_STYLE)};"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
).encode()
"""Content-Security-Policy of the page, which allows only its own script and style."""


def challenge_page(token: str, bits: int, request_id: str) -> bytes:
    """Return the page in HTML."""
    return _PAGE.format(
        token=token,
        bits=bits,
        path=PATH,
        style=_STYLE,
        script=SCRIPT,
        reference=escape(request_id),
    ).encode()


def refusal_text(request_id: str) -> bytes:
    """Return the text for requests that cannot show a page."""
    return (
        "This site accepts only browsers that have passed a check: open one of its pages in a"
        " browser with JavaScript and cookies, then try again.\n"
        f"Request ID: {request_id}\n"
    ).encode("utf-8", "replace")


def takes_html(method: bytes, accept: bytes | None) -> bool:
    """Return whether the client of a request shows pages: a GET that accepts ``text/html``."""
    if method != b"GET" or accept is None:
        return False
    for item in accept.lower().split(b","):
        media, *parameters = (part.strip() for part in item.split(b";"))
        if media == b"text/html":
            return not any(_is_zero(one) for one in parameters)
    return False


def _is_zero(parameter: bytes) -> bool:
    name, _, value = parameter.partition(b"=")
    return name.strip() == b"q" and not value.strip().strip(b"0.")
