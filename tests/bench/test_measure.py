"""The bench's arithmetic and its table; running it is not a test."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from socket import create_server
from threading import Thread
from time import sleep

import pytest

from tests.bench.__main__ import chosen
from tests.bench.caching import Varnish, popular
from tests.bench.heads import browser_mix
from tests.bench.lab import Lab
from tests.bench.load import Load
from tests.bench.load_paced import paced
from tests.bench.measure import Result, Sample, _brief, _ratio, _summary, measure
from tests.bench.proxies import HAProxy, Job, Words
from tests.bench.report import header, table
from tests.bench.scenarios import SCENARIOS, Scenario


def samples(*figures):
    return [Sample(figure, 1000.0, 5.0, 9.0, 10_000_000, 1) for figure in figures]


def test_medians_spread_and_ratio():
    ours = _summary("lbproxy", samples(30.0, 10.0, 20.0))
    assert (ours.figure, ours.spread, ours.errors, ours.runs) == (20.0, 1.0, 3, 3)
    rivals = [_summary("haproxy", samples(40.0)), _summary("nginx", samples(16.0))]
    assert _ratio((ours, *rivals)) == 1.25
    assert _ratio((ours,)) == 0.0


def test_table():
    ours, rival = _summary("lbproxy", samples(20.0)), _summary("haproxy", samples(10.0))
    result = Result("x", "request", "us/request", (ours, rival), ("nginx: not here",), 2.0)
    first, _, second, _, missing = table(result).splitlines()
    assert first.split()[-1] == header().split()[-1].replace("ratio", "2.00")
    assert "2.00" not in second
    assert missing == "    x: without nginx: not here"


def test_a_proxy_that_is_not_meant_is_not_missed(monkeypatch):
    job = Job(words={"lbproxy": Words()})
    scenario = Scenario("x", lambda lab: job, lambda proxy, seconds: Load(1, 1.0))
    monkeypatch.setattr("tests.bench.measure.PROXIES", {"varnish": Varnish, "haproxy": HAProxy})
    with Lab() as lab:
        result = measure(scenario, lab, rounds=1, seconds=1.0, say=lambda text: None)
    assert result.missing == ("haproxy: haproxy cannot do this",)


def test_popular_targets():
    found = list(islice(popular(), 20_000))
    counts = Counter(found).most_common()
    assert counts[0][1] > 20 * counts[999][1]
    sizes = Counter(target.split(b"/")[2] for target, _ in counts)
    assert sizes[b"1k"] > 5 * sizes[b"64k"] > 25 * sizes[b"1m"] > 0


def test_choice(monkeypatch):
    monkeypatch.setenv("SCENARIO", "tcp-rr-*, idle-10k")
    assert chosen("SCENARIO", list(SCENARIOS)) == [
        "tcp-rr-1",
        "tcp-rr-50",
        "tcp-rr-1000",
        "idle-10k",
    ]
    monkeypatch.setenv("SCENARIO", "nosuch")
    with pytest.raises(SystemExit, match="there are: http-browser"):
        chosen("SCENARIO", list(SCENARIOS))


def test_a_failure_is_told_in_one_line():
    assert _brief(RuntimeError("x did nothing:\nTraceback\n  File\nOSError: no\n")) == (
        "x did nothing: ... OSError: no"
    )
    assert _brief(OSError()) == "OSError"
    assert len(_brief(RuntimeError("y" * 1000))) == 160


def test_lateness_and_notes_are_shown():
    paced = [Sample(20.0, 4000.0, 5.0, 9.0, 10_000_000, 0, late) for late in (10.0, 30.0, 20.0)]
    result = Result("x", "request", "us", (_summary("nginx", paced),), (), 0.0, "a note")
    assert table(result).splitlines()[1:] == [
        "    nginx: 99% of requests sent within 20 us of due",
        "    x: a note",
    ]


def test_paced_load_counts_from_the_due_time(tmp_path):
    replay = tmp_path / "requests"
    replay.write_bytes(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock = listener.accept()[0]
            with sock:
                while sock.recv(1000):
                    sleep(0.02)
                    sock.sendall(answer)

        Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        # one connection answers 50 requests a second; 100 a second are due
        load = paced(port, 0.3, replay=replay, rate=100, connections=1)
    assert load.done == 30 and not load.errors
    assert load.late_us > 200_000 and load.p99_us > 200_000 and load.p50_us > 20_000


def test_paced_load_counts_errors(tmp_path):
    replay = tmp_path / "requests"
    replay.write_bytes(b"GET /1 HTTP/1.1\r\n\r\n")
    with create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock = listener.accept()[0]
            with sock:
                while sock.recv(1000):
                    sock.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

        Thread(target=serve, daemon=True).start()
        load = paced(listener.getsockname()[1], 0.1, replay=replay, rate=100, connections=1)
    assert load.errors == load.done == 10


def test_the_mix_differs_and_takes_turns():
    mix = list(browser_mix(200, 20))
    assert len(set(mix)) == 200
    agents = [re.search(rb"User-Agent: ([^\r]*)", request)[1] for request in mix]
    assert agents[:20] == agents[20:40]
