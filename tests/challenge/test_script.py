"""The program of the page, run by node with as much of a browser as it uses."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from lbproxy.challenge.script import SCRIPT
from tests.support.proof import solve

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")

TOKEN, BITS = "A" * 36, 6

BROWSER = """
"use strict";
const [script, token, bits, loads] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const kept = new Map(), seen = [];
let clock = 1.7e12;
Date.now = () => clock;

function load([seconds, status]) {
  clock += seconds * 1000;
  const line = {textContent: ""}, calls = [];
  const page = {said: null, sent: null, reload: null};
  const setTimeout = (call, delay) => calls.push([call, delay]);
  const location = {reload: () => { page.reload = page.delay || 0; }};
  const document = {
    querySelector: () => ({getAttribute: () => token + " " + bits + " /p"}),
    getElementById: () => line,
  };
  const sessionStorage = {
    getItem: (name) => kept.has(name) ? kept.get(name) : null,
    setItem: (name, value) => { kept.set(name, String(value)); },
  };
  class XMLHttpRequest {
    open() {}
    setRequestHeader() {}
    send(body) { page.sent = body; this.status = status; status ? this.onload() : this.onerror(); }
  }
  new Function("document", "sessionStorage", "XMLHttpRequest", "location", "navigator", "window",
               "setTimeout", script)(
    document, sessionStorage, XMLHttpRequest, location, {cookieEnabled: true}, {}, setTimeout);
  while (calls.length) {
    const [call, delay] = calls.shift();
    page.delay = delay;
    call();
  }
  page.said = line.textContent;
  seen.push(page);
}

loads.forEach(load);
console.log(JSON.stringify(seen));
"""


def load(*loads: tuple[float, int]) -> list[dict[str, Any]]:
    """Load the page as often, each so many seconds after the one before; the answer gets the
    status, 0 for none.
    """
    assert NODE is not None
    given = json.dumps([SCRIPT, TOKEN, BITS, loads])
    done = subprocess.run(
        [NODE, "-e", BROWSER], input=given, capture_output=True, text=True, timeout=60, check=True
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_it_sends_the_least_answer_and_loads_the_page_again() -> None:
    (page,) = load((0, 204))
    assert page["sent"] == f"token={TOKEN}&answer={solve(TOKEN, BITS)}"
    assert (page["said"], page["reload"]) == ("Done. The page is loading.", 0)


def test_it_stops_if_the_browser_keeps_no_cookie_and_works_when_it_is_loaded_again() -> None:
    pages = load(*[(1, 204)] * 5)
    assert [page["sent"] is not None for page in pages] == [True, True, True, False, True]
    assert "does not keep the cookie" in pages[3]["said"] and pages[3]["reload"] is None


def test_a_pass_that_has_ended_is_no_lost_cookie() -> None:
    """A tab that stays open for hours meets the page now and then."""
    assert all(page["said"].startswith("Done.") for page in load(*[(3600, 204)] * 6))


@pytest.mark.parametrize("status", [0, 403, 429, 503])
def test_a_failure_is_tried_again_and_is_no_lost_cookie(status: int) -> None:
    for page in load(*[(4, status)] * 6):
        assert page["sent"] is not None
        assert 3000 <= page["reload"] <= 7000
