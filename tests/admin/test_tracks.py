"""Tracks over the API: list, show, set and clear."""

from __future__ import annotations

from .kit import admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[track hits]
window = 5m

[frontend web]
listen = tcp:8080
tracks = hits
routes =
    track hits > 50 -> reply 403 no
    default         -> app

[backend app]
servers = a 10.0.0.1:8000
"""


def test_counts_are_shown_and_changed() -> None:
    with admin(TEXT) as client:
        for _ in range(3):
            client.lb.get("http://h:8080/x")
        client.lb.get("http://h:8080/x", client="2001:db8::1")
        (found,) = client.get("tracks")
        assert (found["name"], found["count"], found["keys"]) == ("hits", "requests", 2)
        rows = client.get("tracks/hits")["items"]
        assert rows == [
            {"key": "203.0.113.9", "count": 3},
            {"key": "2001:db8:0:0:0:0:0:0", "count": 1},
        ]
        one = client.get("tracks/hits?key=2001:db8::77")["items"]
        assert one == [{"key": "2001:db8:0:0:0:0:0:0", "count": 1}]
        answer = client.ask("POST", "tracks/hits/set", {"key": "203.0.113.9", "count": 51})
        assert answer.data == {"key": "203.0.113.9", "count": 51}
        assert client.lb.get("http://h:8080/x").status == 403
        assert client.get("state")["tracks"]["hits"]["keys"] == 2
        client.ask("POST", "tracks/hits/set", {"key": "203.0.113.9", "count": 0})
        assert client.lb.get("http://h:8080/x").status == 200
        assert client.ask("POST", "tracks/hits/clear").data == {"cleared": 2}
        assert client.get("tracks/hits")["items"] == []


def test_what_is_refused() -> None:
    with admin(TEXT) as client:
        assert client.ask("GET", "tracks/none").status == 404
        assert client.ask("POST", "tracks/hits/set", {"key": "x", "count": -1}).status == 400
        assert client.ask("POST", "tracks/hits/set", {"key": "x"}).status == 400
