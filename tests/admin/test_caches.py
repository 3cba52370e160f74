"""Caches over the API: numbers, contents, purges and reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from lbproxy.proxy.features.caching.disk.files import FolderFiles
from lbproxy.testing.origin import Answer

from .kit import AdminClient, admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[cache main]
cookies = key lang
purge_from = 10.9.0.0/16

[frontend web]
listen = tcp:8080
cache = main
backend = app

[backend app]
servers = a 10.0.0.1:8000
"""
HEADERS = {"Cache-Control": "max-age=60", "Cache-Tag": "news", "Vary": "Accept"}


@pytest.fixture
def client() -> Iterator[AdminClient]:
    with admin(TEXT) as made:
        made.lb.origins["a"].handler = Answer(200, b"hello", HEADERS)  # type: ignore[union-attr]
        for path in ("a", "a", "b"):
            made.lb.get(f"http://h:8080/{path}")
        yield made


def test_numbers(client: AdminClient) -> None:
    (found,) = client.get("caches")["items"]
    assert (found["name"], found["objects"], found["hits"], found["misses"]) == ("main", 2, 1, 2)
    assert found["hit_ratio"] == pytest.approx(1 / 3, abs=1e-3)
    assert client.get("state")["caches"]["main"]["objects"] == 2
    text = client.ask("GET", "/metrics").response.text
    assert 'lbproxy_cache_hits_total{cache="main"} 1' in text
    assert 'lbproxy_cache_objects{cache="main"} 2' in text


def test_purges_by_clients_are_counted(client: AdminClient) -> None:
    client.lb.request("PURGE", "http://h:8080/a")
    client.lb.request("PURGE", "http://h:8080/a", client="10.9.8.7")
    client.lb.request("PURGE", "http://h:8080/b")
    text = client.ask("GET", "/metrics").response.text
    assert 'lbproxy_cache_purge_requests_total{cache="main"} 1.0\n' in text
    assert 'lbproxy_cache_purge_refused_total{cache="main"} 2.0\n' in text
    (found,) = client.get("caches")["items"]
    assert (found["purge_requests"], found["purge_refused"]) == (1, 2)


def test_reasons_and_top(client: AdminClient) -> None:
    text = client.ask("GET", "/metrics").response.text
    assert 'lbproxy_cache_misses_by_reason_total{cache="main",reason="uri-miss"} 2' in text
    assert 'lbproxy_cache_bytes_saved_total{cache="main"} 5' in text
    assert client.get("state")["cache_objects"] == {
        "main http://h:8080/a": {"cache": "main", "url": "http://h:8080/a", "hits": 1, "bytes": 5}
    }


def test_one_object(client: AdminClient) -> None:
    (found,) = client.get("caches/main/object?url=http://H:8080/a%23x")["items"]
    assert found["key"] == ["app", "http", "h:8080", "/a"]
    assert "Cache-Tag: news" in found["headers"]
    assert (found["control"], found["directives"]) == ("cache-control", ["max-age=60"])
    assert client.get("caches/main/object?url=http://h:8080/none")["items"] == []
    assert client.get("caches/main/object")["items"] == []


def test_contents(client: AdminClient) -> None:
    found = client.get("caches/main/entries?url=http://h:8080/a")["items"]
    assert [(one["url"], one["hits"], one["rule"]) for one in found] == [
        ("http://h:8080/a", 1, "max-age")
    ]
    assert found[0]["tags"] == ["news"]
    assert len(client.get("caches/main/entries")["items"]) == 2
    pages = [client.get(f"caches/main/entries?limit=1&offset={n}") for n in range(3)]
    assert [(len(one["items"]), one["total"], one["next"]) for one in pages] == [
        (1, 2, 1), (1, 2, None), (0, 2, None)
    ]  # fmt: skip


def test_a_page_reads_its_own_heads_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT.replace("cookies = key lang", f"disk = {tmp_path}/store 256m")
    with admin(text) as made:
        made.lb.origins["a"].handler = Answer(200, bytes(1 << 20), HEADERS)  # type: ignore[union-attr]
        for number in range(12):
            made.lb.get(f"http://h:8080/{number}")
        made.lb.advance(5)
        reads: list[Any] = []
        read = FolderFiles.read_record
        monkeypatch.setattr(FolderFiles, "read_record", lambda *w: reads.append(w) or read(*w))
        found = made.get("caches/main/entries?limit=3&offset=6")
        assert (len(found["items"]), found["total"], found["next"]) == (3, 12, 9)
        assert len(reads) == 3


@pytest.mark.parametrize(
    ("query", "purged"),
    [
        ("url=http://h:8080/a", 1),
        ("url=http://h:8080/other", 0),
        ("prefix=http://h:8080/", 2),
        ("host=H:8080", 2),
        ("tag=news", 2),
        ("tag=other", 0),
        ("all=true", 2),
    ],
)
def test_purges(client: AdminClient, query: str, purged: int) -> None:
    answer = client.ask("POST", f"caches/main/purge?{query}")
    assert (answer.status, answer.data) == (200, {"purged": purged})
    assert client.get("caches")["items"][0]["objects"] == 2 - purged


def test_the_log_says_what_was_purged(client: AdminClient) -> None:
    with capturedLogs() as events:
        client.ask("POST", "caches/main/purge?prefix=http://h:8080/")
    (line,) = [formatEvent(one) for one in events if "purge" in str(formatEvent(one))]
    assert line is not None and line.endswith(
        "POST /api/v1/caches/main/purge main prefix http://h:8080/: 2 purged -> 200"
    )


def test_a_soft_purge_keeps_the_response(client: AdminClient) -> None:
    assert client.ask("POST", "caches/main/purge?all=true&soft=true").data == {"purged": 2}
    assert client.get("caches")["items"][0]["objects"] == 2
    assert "soft purge" in client.lb.get("http://h:8080/a").header("Cache-Status")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("caches/main/purge", 400),
        ("caches/main/purge?url=http://h/&tag=x", 400),
        ("caches/main/purge?url=/a", 400),
        ("caches/main/purge?url=http://", 400),
        ("caches/main/purge?url=ftp://h:8080/a", 400),
        ("caches/main/purge?url=http://u:p@h:8080/a", 400),
        ("caches/main/purge?url=http://h:port/a", 400),
        ("caches/main/purge?prefix=http:///", 400),
        ("caches/main/purge?host=http://h:8080", 400),
        ("caches/main/purge?host=h:8080/", 400),
        ("caches/main/purge?host=*.example.com", 400),
        ("caches/main/purge?prefix=http://h:8080%23/", 400),
        ("caches/other/purge?all=true", 404),
    ],
)
def test_purges_that_are_refused(client: AdminClient, path: str, status: int) -> None:
    assert client.ask("POST", path).status == status


def test_why(client: AdminClient) -> None:
    def why(url: str, **headers: str) -> dict[str, object]:
        body = {"url": url, "headers": [f"{name}: {value}" for name, value in headers.items()]}
        answer = client.ask("POST", "caches/main/why", body)
        assert answer.status == 200, answer.data
        found: dict[str, object] = answer.data
        return found

    (one,) = why("http://h:8080/a")["stored"]  # type: ignore[misc]
    assert (one["use"], one["by"]) == ("serve", "RFC 9111 §4.2")
    (one,) = why("http://h:8080/a", Accept="x")["stored"]  # type: ignore[misc]
    assert (one["use"], one["reason"]) == ("other variant", "accept differs")
    (one,) = why("http://h:8080/a", Cookie="lang=de")["stored"]  # type: ignore[misc]
    assert one["use"] == "other key"
    (one,) = why("http://h:8080/a", **{"Cache-Control": "no-cache"})["stored"]  # type: ignore[misc]
    assert (one["use"], one["by"]) == ("validate", "RFC 9111 §5.2.1.4")
    client.lb.origins["a"].handler = Answer(  # type: ignore[union-attr]
        200, b"x", {"Cache-Control": "private"}
    )
    client.lb.get("http://h:8080/mine")
    found = why("http://h:8080/mine")
    assert (found["stored"], found["not_stored"]) == ([], "private (RFC 9111 §5.2.2.7)")
    found = why("http://h:8080/a?")
    assert (found["url"], found["stored"]) == ("http://h:8080/a?", [])
    refused = client.ask("POST", "caches/main/why", {"url": "mine"})
    assert refused.status == 400
    broken = client.ask("POST", "caches/main/why", {"url": "http://[x/"})
    assert (broken.status, broken.message) == (
        400,
        "url must be a complete URL, such as https://www.example.com/a; '[x' is not a host",
    )


def test_a_url_is_found_as_people_write_it(client: AdminClient) -> None:
    def purged(query: str) -> int:
        found: int = client.ask("POST", f"caches/main/purge?{query}").data["purged"]
        return found

    lb = client.lb
    for query in (
        "url=http://m%C3%BCller.example:8080/gr%C3%B6%C3%9Fe%20a",
        "url=HTTP://xn--mller-kva.example:8080/gr%25C3%25B6%25C3%259Fe%2520a%23part",
        "prefix=http://m%C3%BCller.example:8080/gr%C3%B6",
        "host=M%C3%BCller.example:8080",
    ):
        lb.get("http://xn--mller-kva.example:8080/gr%C3%B6%C3%9Fe%20a")
        assert purged(query) == 1, query
    lb.get("http://xn--mller-kva.example:8080/%C3%B6")
    url = "http://m%C3%BCller.example:8080/%C3%B6"
    assert len(client.get(f"caches/main/entries?url={url}")["items"]) == 1
    assert len(client.get(f"caches/main/object?url={url}")["items"]) == 1
    answer = client.ask("POST", "caches/main/why", {"url": "http://müller.example:8080/ö"})
    assert answer.data["url"] == "http://xn--mller-kva.example:8080/%C3%B6"
    assert len(answer.data["stored"]) == 1


@pytest.mark.parametrize(
    "extra",
    [{"method": "P OST"}, {"method": ""}, {"headers": ["a b: 1"]}, {"headers": ["A: \x00"]}],
)
def test_requests_that_no_client_can_send_are_refused(
    client: AdminClient, extra: dict[str, Any]
) -> None:
    assert client.ask("POST", "caches/main/why", {"url": "http://h/", **extra}).status == 400


def test_why_knows_the_lines_of_the_policy() -> None:
    lines = """\
bypass =
    path /admin/*
    client 10.9.0.0/16 header X-Debug
refresh = header X-Refresh
ttl =
    404 10s
    path /a* 1h"""
    with admin(TEXT.replace("cookies = key lang", lines)) as made:
        made.lb.origins["a"].handler = Answer(200, b"hello", HEADERS)  # type: ignore[union-attr]
        made.lb.get("http://h:8080/a")

        def why(path: str, *headers: str) -> dict[str, Any]:
            body = {"url": f"http://h:8080{path}", "headers": list(headers)}
            found: dict[str, Any] = made.ask("POST", "caches/main/why", body).data
            return found

        found = why("/a")
        assert (found["obstacle"], found["refresh"], found["depends"]) == ("", "", [])
        assert found["ttl"] == ["404 10s", "path /a* 1h"]
        assert found["stored"][0]["use"] == "serve"
        found = why("/admin/x", "X-Debug: 1")
        assert (found["obstacle"], found["ttl"]) == ("bypass path /admin/*", [])
        assert why("/a", "X-Debug: 1")["depends"] == ["bypass client 10.9.0.0/16 header X-Debug"]
        found = why("/a", "X-Refresh: 1")
        assert found["refresh"] == "refresh header X-Refresh"
        assert (found["stored"][0]["use"], found["stored"][0]["by"]) == ("replace", "refresh")


@pytest.mark.parametrize(("fails", "status"), [(False, 200), (True, 500)])
def test_a_purge_whose_client_left_is_recorded(
    client: AdminClient, monkeypatch: pytest.MonkeyPatch, fails: bool, status: int
) -> None:
    waiting: Deferred[int] = Deferred()
    cache = client.lb.service.caches["main"]
    monkeypatch.setattr(type(cache), "purge", lambda *words: waiting)
    peer = client.lb.connect(client.target)
    peer.send(
        b"POST /api/v1/caches/main/purge?all=true HTTP/1.1\r\nHost: localhost\r\n"
        b"X-Requested-With: test\r\nContent-Length: 0\r\n\r\n"
    )
    with capturedLogs() as logs:
        peer.abort()
        client.lb.advance(1)
        assert not [one for one in logs if "who" in one]
        if fails:
            waiting.errback(OSError(28, "No space left on device"))
        else:
            waiting.callback(2)
        client.lb.advance(1)
    (line,) = [formatEvent(one) for one in logs if "who" in one]
    assert "/caches/main/purge" in line and line.endswith(f"-> {status}")
    assert ("main all : 2 purged" in line) is not fails


def test_the_answer_of_a_process_is_bounded(client: AdminClient) -> None:
    """One message of a worker has at most 64 MiB; a byte of a head may take six in JSON."""
    large = {"Cache-Control": "max-age=60"} | {f"X-{n}": "\xff" * 7000 for n in range(4)}
    client.lb.origins["a"].handler = Answer(200, b"hello", large)  # type: ignore[union-attr]
    for number in range(40):
        client.lb.get(f"http://h:8080/large/{number}")
    found = client.lb.service.ask_here("cache", "main", "entries", {"url": ""})
    assert 20 < len(found) < 40
    assert len(json.dumps(found)) < 5_000_000
