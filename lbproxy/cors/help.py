"""PURE. The pages of a CORS proxy: a description with a form to try at ``/``, the exits at
``/status``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from typing import Final

__all__ = ["HELP_FIELDS", "help_page", "status_page"]

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:2em auto;padding:0 1em}"
    "pre{background:#f4f4f4;padding:1em;overflow:auto;max-height:20em}input{width:70%}"
    "td,th{text-align:left;padding-right:2em}"
)
_SCRIPT: Final = """
document.getElementById("try").addEventListener("submit", async event => {
  event.preventDefault();
  const out = document.getElementById("out");
  const url = document.getElementById("url").value;
  out.textContent = "...";
  try {
    const response = await fetch("/?url=" + encodeURIComponent(url));
    const text = await response.text();
    out.textContent = response.status + "\\n" + text.slice(0, 20000);
  } catch (error) {
    out.textContent = String(error);
  }
});
"""
_EXAMPLES: Final = {
    "query": 'fetch("/?url=" + encodeURIComponent("https://api.example.com/data"))',
    "path": 'fetch("/https://api.example.com/data")',
    "header": 'fetch("/", {headers: {"X-Target-URL": "https://api.example.com/data"}})',
}


def _hash(text: str) -> str:
    return "'sha256-" + b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"


HELP_FIELDS: Final = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Cache-Control", b"no-cache"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (
        b"Content-Security-Policy",
        (
            "default-src 'none'; base-uri 'none'; form-action 'none'; connect-src 'self';"
            f" script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}"
        ).encode("ascii"),
    ),
)
"""The header fields of the page."""


def help_page(forms: Sequence[str]) -> bytes:
    """Return the page as HTML. ``forms``: the enabled forms of calls."""
    examples = "\n".join(text for form, text in _EXAMPLES.items() if form in forms)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CORS proxy</title>
<style>{_STYLE}</style></head><body>
<h1>CORS proxy</h1>
<p>Pages of allowed origins can read URLs of other origins through this proxy, which adds the
CORS headers that the target does not send. Cookies are not passed in either direction, and
private addresses cannot be reached.</p>
<pre>{examples}</pre>
<form id="try"><input id="url" type="url" required value="https://example.com/">
<button>Try</button></form>
<pre id="out"></pre>
<p>The form works if the proxy is open, or allows requests without Origin.</p>
<script>{_SCRIPT}</script></body></html>
""".encode()


def status_page(exits: Sequence[tuple[str, Sequence[str], str]]) -> bytes:
    """Return the page that lists the exits: name, further names, and kind of each."""
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{escape(', '.join(names))}<td>{kind}"
        for name, names, kind in exits
    )
    table = f"<table><tr><th>colo=<th>also<th>by{rows}</table>" if exits else ""
    words = (
        "Calls choose an exit by its name."
        if exits
        else "There is one exit. <code>colo=</code> is accepted and has no effect."
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CORS proxy: exits</title>
<style>{_STYLE}</style></head><body>
<h1>Exits</h1>
<p>The proxy works. {words}</p>
{table}</body></html>
""".encode()
