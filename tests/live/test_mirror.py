"""A mirror under load: nobody's answer changes, whatever the second backend does."""

from __future__ import annotations

import re

import pytest

from tests.live.clients import run
from tests.live.test_http import wrk_is_content
from tests.support.ports import free_port
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-http")]


def requests_in(output: str) -> int:
    found = re.search(r"(\d+) requests in", output)
    assert found, output
    return int(found[1])


@pytest.mark.parametrize("second", ["well", "dead"])
def test_under_load(balancer, nginx_pair, second):
    first, other = nginx_pair
    port, nobody = free_port(), free_port()
    address = other.address if second == "well" else f"127.0.0.1:{nobody}"
    lb = balancer(
        f"[frontend web]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n"
        f"[backend app]\nservers = a {first.address}\nmirror = next share=50% max=50 compare=body\n"
        f"[backend next]\nservers = n {address}\nqueue = 0\n"
    )
    wrk = [program("wrk"), "-t1", "-c16", "-d2s"]
    output = run([*wrk, f"http://127.0.0.1:{port}/hello"]).stdout
    wrk_is_content(output)
    assert requests_in(output) > 20
    if second == "well":
        lb.wait_output("mirror next: GET /hello differs: body")
