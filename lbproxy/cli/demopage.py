"""CONTROL. The page of ``lbproxy demo`` that calls an API of another origin, with and without the
CORS proxy.
"""

from __future__ import annotations

from typing import Final

__all__ = ["demo_page"]

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lbproxy demo: CORS proxy</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em }
section { border: 1px solid #888; border-radius: .4em; padding: 0 1em 1em; margin: 1em 0 }
pre { background: #f4f4f4; color: #222; padding: .7em; overflow: auto; white-space: pre-wrap }
.bad { border-left: .5em solid #b00020 } .good { border-left: .5em solid #197b30 }
</style></head><body>
<h1>A page that calls an API of another origin</h1>
<p>This page is of <code id="origin"></code>. The API is at <code>%(api)s</code> and sends no CORS
headers, so browsers do not let the page read it.</p>
<section id="direct"><h2>Without the proxy</h2>
<pre>fetch("%(api)s")</pre><pre class="out">...</pre></section>
<section id="proxied"><h2>Through the proxy</h2>
<pre>fetch("%(proxy)s/?url=" + encodeURIComponent("%(api)s"))</pre>
<pre class="out">...</pre></section>
<section id="refused"><h2>What the proxy refuses</h2>
<pre>fetch("%(proxy)s/?url=" + encodeURIComponent("http://169.254.169.254/"))</pre>
<pre class="out">...</pre></section>
<p><button id="again">Again</button> <a href="%(proxy)s/">The proxy's own page</a> has a form to
try. Its configuration is <code>[frontend cors]</code> in the lb.ini of the demo.</p>
<script>
const api = "%(api)s", through = url => "%(proxy)s/?url=" + encodeURIComponent(url);
document.getElementById("origin").textContent = location.origin;
async function show(id, url) {
  const section = document.getElementById(id), out = section.querySelector(".out");
  out.textContent = "...";
  try {
    const response = await fetch(url);
    const cache = response.headers.get("X-Cache-Status");
    const lines = [response.status + (cache ? " (cache: " + cache + ")" : "")];
    lines.push((await response.text()).slice(0, 2000));
    out.textContent = lines.join("\\n");
    section.className = response.ok ? "good" : "bad";
  } catch (error) {
    out.textContent = error.name + ": " + error.message;
    section.className = "bad";
  }
  document.body.dataset[id] = out.textContent;
}
function all() {
  show("direct", api);
  show("proxied", through(api));
  show("refused", through("http://169.254.169.254/"));
}
document.getElementById("again").addEventListener("click", all);
all();
</script></body></html>
"""


def demo_page(api: str, proxy: str) -> bytes:
    """Return the page. ``api``: a URL of another origin. ``proxy``: the URL of the CORS proxy."""
    return (_PAGE % {"api": api, "proxy": proxy}).encode()
