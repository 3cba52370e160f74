"""The challenge in a running lbproxy: Chromium solves it, workers share it, a restart keeps it."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lbproxy.tls.certificates import self_signed
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.proof import read_challenge, solve
from tests.support.required import program

TEXT = """
[lbproxy]
{top}
[frontend web]
listen =
    tcp:{port}:interface=127.0.0.1
    tls:{tls}:interface=127.0.0.1 certificates=site.pem
challenge = {challenge}
challenge_bits = {bits}
backend = app
[backend app]
servers = a 127.0.0.1:{origin}
"""
PAGE = b"<!doctype html><title>The site</title><h1>Welcome</h1>"
HTML = {"Accept": "text/html"}


class Handler(BaseHTTPRequestHandler):
    """The server behind lbproxy: a page under every path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


class Site:
    """lbproxy, one server and how to ask them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.tls = free_ports(2)
        self.origin = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        certificate, key = self_signed(["127.0.0.1"])
        (folder / "site.pem").write_bytes(certificate + key)
        self.lb: LBProcess | None = None

    def start(self, top: str = "", challenge: str = "on", bits: int = 6) -> LBProcess:
        text = TEXT.format(
            top=top, challenge=challenge, bits=bits,
            port=self.port, tls=self.tls, origin=self.origin.server_port,
        )  # fmt: skip
        self.lb = LBProcess(text, self.folder, ports=[self.port, self.tls], timeout=60, forked=True)
        return self.lb

    def stop(self) -> None:
        if self.lb is not None:
            self.lb.child.stop()

    def ask(self, method: str = "GET", path: str = "/", **options: Any) -> Any:
        """Status, Set-Cookie and body of a request on a connection of its own."""
        tls = options.pop("tls", False)
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection("127.0.0.1", self.tls, timeout=60, context=context)
            if tls
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        )
        connection.request(method, path, **options)
        answer = connection.getresponse()
        found = answer.status, answer.getheader("Set-Cookie") or "", answer.read()
        connection.close()
        return found

    def solved(self, **options: Any) -> str:
        """Solve a page; returns the cookie."""
        status, _, page = self.ask(headers=HTML, **options)
        assert status == 403
        token, bits, path = read_challenge(page)
        form = f"token={token}&answer={solve(token, bits)}"
        status, cookie, _ = self.ask("POST", path, body=form, **options)
        assert status == 204
        return str(cookie).partition(";")[0]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()
    made.origin.shutdown()
    made.origin.server_close()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_client_solves_it(site: Site, tls: bool) -> None:
    site.start()
    cookie = site.solved(tls=tls)
    assert cookie.startswith("__Host-lbproxy_pass=" if tls else "lbproxy_pass=")
    assert site.ask(headers={"Cookie": cookie}, tls=tls)[0] == 200
    assert site.ask(tls=tls)[0] == 403


def test_workers_share_it(site: Site) -> None:
    site.start("workers = 2")
    cookie = site.solved()
    found = [site.ask(headers={"Cookie": cookie})[0] for _ in range(12)]
    assert found == [200] * 12


@pytest.mark.long
@pytest.mark.parametrize("top", ["state = lb.state", "workers = 2\nstate = lb.state"])
def test_state_keeps_passes_over_a_restart(site: Site, top: str) -> None:
    site.start(top)
    cookie = site.solved()
    site.stop()
    secret = site.folder / "lb.state.secret"
    assert secret.stat().st_mode & 0o777 == 0o600 and len(secret.read_bytes()) == 32
    site.start(top)
    assert site.ask(headers={"Cookie": cookie})[0] == 200


def test_without_state_a_restart_forgets_them(site: Site) -> None:
    lb = site.start()
    assert "browsers are checked again after a restart" in lb.output()
    cookie = site.solved()
    site.stop()
    site.start()
    assert site.ask(headers={"Cookie": cookie})[0] == 403


@pytest.mark.xdist_group("chromium")
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_chromium_solves_it(site: Site, tls: bool) -> None:
    """Over http, pages have no ``crypto.subtle``; two tabs solve their pages at once."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = program("chromium")
    site.start(bits=12)
    # 127.0.0.1 would be a secure context over http, too
    url = f"https://127.0.0.1:{site.tls}/" if tls else f"http://site.example:{site.port}/"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                  "--host-resolver-rules=MAP site.example 127.0.0.1"],
        )  # fmt: skip
        try:
            context = browser.new_context(ignore_https_errors=True)
            tabs = [context.new_page() for _ in range(2)]
            said: list[str] = []
            for number, tab in enumerate(tabs):
                tab.on("pageerror", lambda error: said.append(str(error)))
                tab.goto(f"{url}tab{number}?q=1", timeout=60_000)
            for number, tab in enumerate(tabs):
                playwright.expect(tab.locator("h1")).to_have_text("Welcome", timeout=60_000)
                assert tab.url == f"{url}tab{number}?q=1"
            assert tabs[0].evaluate("window.isSecureContext") is tls
            assert tabs[0].evaluate("document.cookie") == ""  # HttpOnly
            assert not said
            assert tabs[0].goto(f"{url}more", timeout=60_000).status == 200
        finally:
            browser.close()


@pytest.mark.xdist_group("chromium")
def test_chromium_without_scripts_and_without_cookies(site: Site) -> None:
    """The page explains itself, and does not reload for ever."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = program("chromium")
    site.start(bits=4)
    url = f"http://127.0.0.1:{site.port}/"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            plain = browser.new_context(java_script_enabled=False).new_page()
            plain.goto(url, timeout=60_000)
            assert "needs JavaScript" in plain.content()
            context = browser.new_context()
            forgetful = context.new_page()
            forgetful.route(
                "**/.lbproxy/challenge", lambda route: route.fulfill(status=204, body="")
            )
            forgetful.goto(url, timeout=60_000)
            playwright.expect(forgetful.locator("#status")).to_contain_text(
                "does not keep the cookie", timeout=60_000
            )
        finally:
            browser.close()


def test_the_command_switches_all_workers(site: Site) -> None:
    from click.testing import CliRunner

    from lbproxy.cli import main

    (admin,) = free_ports(1)
    site.start(f"workers = 2\nadmin = tcp:{admin}:interface=127.0.0.1", challenge="off")

    def run(*words: str) -> str:
        address = f"http://127.0.0.1:{admin}"
        result = CliRunner().invoke(main, ["challenge", *words, "--admin", address])
        assert result.exit_code == 0, result.output
        return result.output

    assert site.ask()[0] == 200
    assert run("on").split()[-1] == "on"
    assert until(lambda: {site.ask()[0] for _ in range(8)} == {403})
    assert "web" in run("status")
    run("off", "web")
    assert until(lambda: {site.ask()[0] for _ in range(8)} == {200})


@pytest.mark.long
@pytest.mark.xdist_group("chromium")
def test_the_dashboard_has_buttons(site: Site) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    path = program("chromium")
    (admin,) = free_ports(1)
    site.start(f"admin = tcp:{admin}:interface=127.0.0.1", challenge="off")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{admin}/", timeout=60_000)
            button = page.get_by_role("button", name="Challenge on web", exact=True)
            button.click(timeout=60_000)
            page.locator("#ask-yes").click()
            assert until(lambda: site.ask()[0] == 403)
            button = page.get_by_role("button", name="Challenge auto web", exact=True)
            button.click(timeout=60_000)
            page.locator("#ask-yes").click()
            assert until(lambda: site.ask()[0] == 200)
        finally:
            browser.close()
