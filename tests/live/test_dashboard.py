"""The dashboard in Chromium, with traffic behind it.

``pytest -m pictures tests/live/test_dashboard.py`` makes the pictures of the documentation anew
(``docs/images``).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.tls.certificates import self_signed
from tests.support.lb_process import LBProcess
from tests.support.origin import RawOrigin
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.servers import program

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.xdist_group("chromium")

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
PATIENCE = 30_000  # ms; other tests may have the processor

TEXT = """
[lbproxy]
admin = tcp:{admin}:interface=127.0.0.1
{more}
[alerts]
rules = certificate limit=30d

[frontend web]
listen =
    tcp:{port}:interface=127.0.0.1
    tls:{tls}:interface=127.0.0.1 certificates=site.pem
routes =
    path /ok /dump -> app
    default        -> api

[frontend db]
mode = tcp
listen = tcp:{db}:interface=127.0.0.1
backend = pg

[backend app]
balance = leastconn
servers =
    a {a} weight=3
    b {b}
    c 127.0.0.1:{closed}
check = tcp every=1s

[backend api]
servers =
    x {a} maxconn=50
    y {b} maxconn=50
retries = 0

[backend pg]
servers = db1 {a}
"""


class Site:
    """lbproxy, its origins, traffic, and its API."""

    def __init__(self, folder: Path, more: str = "", text: str = TEXT) -> None:
        self.origins = [RawOrigin(folder / name).start() for name in ("a", "b")]
        self.admin, self.port = free_port(), free_port()
        (folder / "lb").mkdir(parents=True)
        certificate, key = self_signed(["www.example.com", "*.example.com"], days=21)
        (folder / "lb" / "site.pem").write_bytes(certificate + key)
        self.process = LBProcess(
            text.format(
                admin=self.admin, port=self.port, tls=free_port(), db=free_port(),
                closed=free_port(),
                a=self.origins[0].address, b=self.origins[1].address, more=more,
            ),
            folder / "lb",
            ports=[self.port, self.admin],
            timeout=60,
            forked=True,
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{self.admin}/"
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def traffic(self, *paths: str) -> None:
        """Requests for these paths, one after the other, from now on."""

        def run() -> None:
            while not self._ended.is_set():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                    for path in paths * 20:
                        if self._ended.wait(0.004):
                            break
                        connection.request("GET", path)
                        connection.getresponse().read()
                    connection.close()

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def quiet(self) -> None:
        """No more traffic."""
        self._ended.set()
        for thread in self._threads:
            thread.join(15)

    def api(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        connection.request("GET", f"/api/v1/{path}")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def stop(self) -> None:
        self.quiet()
        self.process.stop()
        for origin in self.origins:
            origin.stop()


class Page:
    """A page of the dashboard; what its console says is kept."""

    def __init__(self, browser: Any, url: str, width: int = 1280, theme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda one: self.said.append(f"{one.type}: {one.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.goto(url)

    def live(self) -> Page:
        playwright.expect(self.page.locator("#link")).to_have_text("live", timeout=PATIENCE)
        return self

    def row(self, table: str, name: str) -> Any:
        """The row of ``table`` that begins with ``name``."""
        return self.page.locator(
            f"#{table}-table tbody tr", has=self.page.get_by_text(name, exact=True)
        )

    def cell(self, table: str, name: str, title: str) -> str:
        return str(self.row(table, name).locator(f"td[data-label='{title}']").inner_text())

    def confirm(self, button: str, value: str | None = None) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()
        dialog = self.page.get_by_role("dialog")
        playwright.expect(dialog).to_be_visible()
        if value is not None:
            dialog.get_by_label("Weight").fill(value)
        dialog.locator("#ask-yes").click()
        playwright.expect(dialog).to_be_hidden()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = program("chromium")
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield made
        made.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Page]]:
    """Opens pages, and closes them; none of them may have said anything on its console."""
    pages: list[Page] = []

    def make(url: str, **options: Any) -> Page:
        pages.append(Page(browser, url, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.context.close()
    for page in pages:
        assert not page.said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    program("chromium")
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.stop()


def test_it_shows_what_the_api_says(site: Site, opened: Callable[..., Page]) -> None:
    page = opened(site.url).live()
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    for n in range(1234):
        connection.request("GET", "/garbage" if n % 100 == 7 else "/ok")
        connection.getresponse().read()
    connection.close()
    api = site.api("frontends/web")
    assert api["responses"]["5xx"] == 13

    def agrees() -> bool:
        requests = page.cell("frontends", "web", "Requests").replace(",", "")
        return requests == str(sum(api["responses"].values()))

    assert until(agrees)
    assert page.cell("frontends", "web", "5xx") == "13"
    assert page.cell("servers", "app/c", "State").endswith("down")
    assert page.cell("backends", "app", "Servers up") == "2 of 3"
    picked = site.api("backends/app/servers/a")["picked"]
    assert page.cell("servers", "app/a", "Requests").replace(",", "") == str(picked)
    assert page.cell("certificates", "www.example.com, *.example.com", "Days left") in ("20", "21")
    alerts = page.page.locator("#alert-list")
    playwright.expect(alerts).to_contain_text("certificate www.example.com expires in")
    events = page.page.locator("#events-table tbody")
    playwright.expect(events).to_contain_text("server app/c is down")
    p50 = page.page.locator("#tiles dd").nth(2).inner_text()
    assert p50.endswith(("ms", "µs", "s")), p50


def test_buttons_do_what_they_say_after_a_question(site: Site, opened: Callable[..., Page]) -> None:
    page = opened(site.url).live()
    playwright.expect(page.row("servers", "app/b")).to_be_visible()
    path = "backends/app/servers/b"
    page.page.get_by_role("button", name="Drain app/b", exact=True).click()
    page.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert site.api(path)["admin"] == "ready", "a question that was answered with no"
    page.confirm("Drain app/b")
    assert until(lambda: site.api(path)["admin"] == "drain")
    state = page.row("servers", "app/b").locator("td[data-label=State]")
    playwright.expect(state).to_contain_text("drain")
    playwright.expect(page.page.locator("#said")).to_have_text("app/b: draining")
    page.confirm("Maint app/b")
    assert until(lambda: site.api(path)["admin"] == "maint")
    page.confirm("Ready app/b")
    assert until(lambda: site.api(path)["admin"] == "ready")
    playwright.expect(state).to_contain_text("up")
    page.confirm("Weight app/b", "7")
    assert until(lambda: site.api(path)["weight"] == 7)
    weight = page.row("servers", "app/b").locator("td[data-label=Weight]")
    playwright.expect(weight).to_have_text("7")
    page.page.get_by_role("button", name="app/b: history").click()
    dialog = page.page.get_by_role("dialog")
    playwright.expect(dialog.locator("li").first).to_contain_text("weight")
    dialog.locator("#ask-yes").click()


def test_filters_and_sessions(site: Site, opened: Callable[..., Page]) -> None:
    page = opened(site.url).live()
    rows = page.page.locator("#servers-table tbody tr")
    playwright.expect(rows).to_have_count(6)
    page.page.get_by_label("Name").fill("api/")
    playwright.expect(rows).to_have_count(2)
    page.page.get_by_label("Name").fill("")
    page.page.get_by_label("State").select_option("down")
    playwright.expect(rows).to_have_count(1)
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    connection.request("GET", "/hang")
    page.page.get_by_text("What runs now").click()
    playwright.expect(page.page.locator("#sessions-table tbody")).to_contain_text("GET /hang")
    assert connection.sock is not None  # reset it: a FIN alone may be half a close
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    playwright.expect(page.page.locator("#sessions-table .empty")).to_be_visible()


def test_keyboard(site: Site, opened: Callable[..., Page]) -> None:
    page = opened(site.url).live()
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.className") == "skip"
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("document.activeElement.id") == "main"
    page.page.get_by_role("button", name="Drain api/x", exact=True).focus()
    page.page.wait_for_timeout(2500)
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.page.evaluate(focused) == "Drain api/x", "the page is drawn anew each second"
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("document.activeElement.id") == "ask-cancel"
    page.page.keyboard.press("Escape")
    assert page.page.evaluate(focused) == "Drain api/x"
    assert site.api("backends/api/servers/x")["admin"] == "ready"


CHECKS = """() => {
  const wrong = [];
  for (const one of document.querySelectorAll("input, select"))
    if (!one.closest("dialog:not([open])") && !one.labels.length) wrong.push(`no label: ${one.id}`);
  for (const one of document.querySelectorAll("button"))
    if (!(one.textContent.trim() || one.getAttribute("aria-label")))
      wrong.push(`no name: ${one.outerHTML}`);
  for (const one of document.querySelectorAll("section"))
    if (!document.getElementById(one.getAttribute("aria-labelledby")))
      wrong.push(`no title: ${one.id}`);
  for (const one of document.querySelectorAll("table")) {
    if (!one.caption) wrong.push("a table without a caption");
    for (const head of one.querySelectorAll("th"))
      if (!head.scope) wrong.push("a heading without a scope");
  }
  for (const one of document.querySelectorAll("[role=img]"))
    if (!one.getAttribute("aria-label")) wrong.push("a picture without words");
  for (const tag of ["header", "main", "nav", "footer"])
    if (document.querySelectorAll(tag).length !== 1) wrong.push(`not one ${tag}`);
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids)
    if (ids.filter((other) => other === id).length > 1) wrong.push(`twice: ${id}`);
  if (document.querySelector("[style*=expression], script:not([src])"))
    wrong.push("an inline script");
  return wrong;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling_and_everything_has_a_name(
    site: Site, opened: Callable[..., Page], theme: str
) -> None:
    page = opened(site.url, width=360, theme=theme).live()
    playwright.expect(page.row("servers", "api/x")).to_be_visible()
    page.page.wait_for_timeout(1500)
    assert page.page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.page.evaluate(CHECKS) == []


LUMINANCE = """(selectors) => {
  const channel = (v) => ((v /= 255), v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const ground = (node) => { for (; node; node = node.parentElement) {
    const c = getComputedStyle(node).backgroundColor;
    if (!/, 0\\)|transparent/.test(c)) return c; } return "rgb(255,255,255)"; };
  const found = {};
  for (const selector of selectors) for (const node of document.querySelectorAll(selector)) {
    const a = light(getComputedStyle(node).color), b = light(ground(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found[selector] = Math.min(found[selector] ?? 99, ratio);
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(site: Site, opened: Callable[..., Page], theme: str) -> None:
    """WCAG 2.2, 1.4.3: contrast of at least 4.5 to 1."""
    page = opened(site.url, theme=theme).live()
    playwright.expect(page.row("servers", "app/c")).to_be_visible()
    selectors = [
        ".pill",
        "td",
        "thead th",
        "nav a",
        "button.plain",
        "#about",
        ".tiles dd",
        ".tiles dt",
        "figcaption span",
    ]
    found = page.page.evaluate(LUMINANCE, selectors)
    assert set(found) == set(selectors)
    assert all(ratio >= 4.5 for ratio in found.values()), found


def test_a_token_is_asked_for_and_a_reader_has_no_buttons(
    tmp_path: Path, opened: Callable[..., Page]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("read grafana 0123456789abcdef-read\nwrite alice 0123456789abcdef-write\n")
    tokens.chmod(0o600)
    made = Site(tmp_path / "site", more=f"admin_tokens = {tokens}")
    try:
        page = opened(made.url)
        dialog = page.page.get_by_role("dialog")
        for token in ("wrong-wrong-wrong-wrong", "0123456789abcdef-read"):
            playwright.expect(dialog).to_be_visible()
            dialog.locator("#ask-input").fill(token)
            page.page.keyboard.press("Enter")
            page.page.wait_for_load_state()
        page.live()
        playwright.expect(page.row("servers", "app/a")).to_be_visible()
        assert page.page.get_by_role("button", name="Drain app/a").count() == 0
        page.page.get_by_role("button", name="Token").click()
        dialog.locator("#ask-input").fill("0123456789abcdef-write")
        page.page.keyboard.press("Enter")
        page.page.wait_for_load_state()
        page.live().confirm("Drain app/a")
        playwright.expect(
            page.row("servers", "app/a").locator("td[data-label=State]")
        ).to_contain_text("drain")
        page.said[:] = [line for line in page.said if "401" not in line]  # the browser's own words
        page.context.close()
    finally:
        made.stop()


def test_sticky_sessions_and_mirrors(tmp_path: Path, opened: Callable[..., Page]) -> None:
    text = TEXT.replace(
        "balance = leastconn\n", "sticky = source\nmirror = api compare=status\n"
    ).replace("retries = 0\n", "sticky = cookie LB\n")
    made = Site(tmp_path / "site", text=text)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=60)
        for path in ["/ok"] * 5 + ["/other"]:
            connection.request("GET", path)
            connection.getresponse().read()
        connection.close()
        page = opened(made.url).live()
        panels = page.page.locator("#panels")

        def shown(title: str, backend: str) -> list[str]:
            row = panels.get_by_role("table", name=title).locator(
                "tbody tr", has=page.page.get_by_text(backend, exact=True)
            )
            return [str(cell) for cell in row.locator("th, td").all_inner_texts()]

        known = ["app", "source", "1", "100,000", "4", "0", "0", "0"]
        assert until(lambda: shown("Sticky sessions", "app") == known), shown(
            "Sticky sessions", "app"
        )
        nothing = ["api", "cookie", "", "", "0", "0", "0", ""]
        assert shown("Sticky sessions", "api") == nothing, "it keeps no table"
        copied = ["app", "api", "5", "0", "5", "0", "0", "0"]
        assert until(lambda: shown("Mirrors", "app") == copied), shown("Mirrors", "app")
        page.context.close()
    finally:
        made.stop()


def test_ten_thousand_servers(tmp_path: Path, opened: Callable[..., Page]) -> None:
    many = "\n".join(f"    s{n} 127.0.{n // 250}.{n % 250 + 1}:9" for n in range(10_000))
    text = TEXT + f"\n[backend many]\nmode = http\nservers =\n{many}\n"
    made = Site(tmp_path / "site", text=text)
    try:
        page = opened(made.url).live()
        rows = page.page.locator("#servers-table tbody tr")
        page.page.locator("#servers-backend").select_option("many")
        playwright.expect(page.page.locator("#servers-table .pages")).to_contain_text("of 10,000")
        playwright.expect(rows).to_have_count(50)
        first = rows.first.inner_text()
        page.page.locator("#servers-table").get_by_role("button", name="Next").click()
        playwright.expect(page.page.locator("#servers-table .pages")).to_contain_text("51 to 100")
        assert rows.first.inner_text() != first
        page.page.locator("#servers-name").fill("many/s9999")
        playwright.expect(rows).to_have_count(1)
        began = time.monotonic()
        for _ in range(20):
            page.page.evaluate(
                "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
            )
        assert time.monotonic() - began < 30, "it is drawn, and does not freeze"
        page.context.close()
    finally:
        made.stop()


@pytest.mark.pictures
def test_pictures_for_the_documentation(tmp_path: Path, opened: Callable[..., Page]) -> None:
    made = Site(tmp_path / "site")
    IMAGES.mkdir(exist_ok=True)
    try:
        for _ in range(3):
            made.traffic("/ok", "/dump", "/chunked", "/slow", "/ok", "/interim", "/ok", "/garbage")
        for name, width, theme in (
            ("light", 1280, "light"),
            ("dark", 1280, "dark"),
            ("phone", 360, "dark"),
        ):
            page = opened(made.url, width=width, theme=theme).live()
            page.page.wait_for_timeout(40_000)
            height = 1500 if width > 1000 else 1100
            page.page.set_viewport_size({"width": width, "height": height})
            page.page.wait_for_timeout(1500)
            page.page.screenshot(path=str(IMAGES / f"dashboard-{name}.png"))
            page.context.close()
    finally:
        made.stop()


DOWN = """
[lbproxy]
admin = tcp:{admin}:interface=127.0.0.1

[cache main]

[frontend web]
listen = tcp:{port}:interface=127.0.0.1
cache = main
backend = app

[backend app]
check = tcp every=1s
servers =
    a 127.0.0.1:{closed}
    b 127.0.0.1:{closed}
    c 127.0.0.1:{closed}
    d 127.0.0.1:{closed}
    e 127.0.0.1:{closed}
    f 127.0.0.1:{closed}
"""


@pytest.fixture(scope="module")
def down(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    program("chromium")
    made = Site(tmp_path_factory.mktemp("down"), text=DOWN)
    yield made
    made.stop()


def test_all_servers_down_is_not_calm(down: Site, opened: Callable[..., Page]) -> None:
    """Although alerts are off."""
    page = opened(down.url).live()
    assert until(lambda: down.api("backends/app")["up"] == 0)
    alerts = page.page.locator("#alert-list")
    playwright.expect(alerts.locator("li.error")).to_contain_text("No usable server in app.")
    playwright.expect(alerts.locator("li.off")).to_contain_text("Alerts are off")
    playwright.expect(alerts.locator("li.none")).to_have_count(0)


def test_plots_begin_with_a_gap_and_not_with_zero(down: Site, opened: Callable[..., Page]) -> None:
    page = opened(down.url).live()
    found = page.page.evaluate(
        """async () => {
          const { History } = await import("./dashboard/history.js");
          const made = new History();
          const state = (at, total) => ({
            at, process: { bounds: [1] }, backends: {}, servers: {},
            frontends: { web: { mode: "tcp", closes: { ok: total }, refused: 0, connections: 0,
                                bytes_in: total, bytes_out: total } },
          });
          for (const second of [0, 1, 2]) made.add(state(second, 5000 + 10 * second));
          return made.series;
        }"""
    )
    assert found["requests"] == [None, 10, 10] and found["out"] == [None, 10, 10]
    assert found["errors"] == [None, 0, 0]


def test_a_panel_shows_rates_and_not_totals(down: Site, opened: Callable[..., Page]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", down.port, timeout=60)
    for _ in range(20):
        connection.request("GET", "/")
        connection.getresponse().read()
    connection.close()
    assert until(lambda: down.api("caches")["items"][0]["misses"] >= 20)
    page = opened(down.url).live()
    table = page.page.locator("#panels").get_by_role("table", name="Caches")
    misses = table.locator("td[data-label='Misses/s']")
    playwright.expect(misses).to_have_text("0", timeout=PATIENCE)


def test_a_phone_shows_little_for_each_server(down: Site, opened: Callable[..., Page]) -> None:
    assert until(lambda: down.api("backends/app")["up"] == 0)
    page = opened(down.url, width=390).live()
    playwright.expect(page.row("servers", "app/f")).to_be_visible()
    sizes = page.page.evaluate(
        "[...document.querySelectorAll('#servers-table tbody tr')].map((one) => one.clientHeight)"
    )
    assert len(sizes) == 6 and max(sizes) < 200, sizes
    wide = page.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, "it scrolls sideways"
    assert page.page.evaluate("document.documentElement.scrollHeight") < 4500
