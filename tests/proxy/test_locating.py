"""``[lbproxy] geoip``: conditions, variables and log fields by country and network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("maxminddb")

from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.proxy.features.locating.table import GeoTable
from lbproxy.registry import parse_config
from lbproxy.testing import LB

from ..support.mmdb import write_mmdb

COUNTRIES: dict[str, Any] = {
    "203.0.113.0/24": {"country": {"iso_code": "DE"}},
    "198.51.100.0/24": {"registered_country": {"iso_code": "at"}},
    "2001:db8::/32": {"country": {"iso_code": "CH"}},
    "192.0.2.0/24": {"country": {"iso_code": 7}},
}
SYSTEMS: dict[str, Any] = {"203.0.113.0/25": {"autonomous_system_number": 64500}}


@pytest.fixture
def files(tmp_path: Path) -> str:
    write_mmdb(tmp_path / "country.mmdb", COUNTRIES)
    write_mmdb(tmp_path / "asn.mmdb", SYSTEMS)
    return f"{tmp_path}/country.mmdb {tmp_path}/asn.mmdb"


def web(files: str, condition: str, more: str = "") -> str:
    return f"""
[lbproxy]
geoip = {files}
access_log = a.log "%{{client_ip}} %{{country}} %{{asn}}"
{more}
[frontend web]
listen = tcp:80:interface=\\:\\:
filters = set-header response always X-Where {{country}}/{{asn}}
routes =
    {condition} -> reply 403 no
    default -> reply 200 ok
"""


def ask(lb: Any, client: str) -> tuple[int, str]:
    made = lb.connect("web", client=client)
    made.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    head = made.received.decode()
    return int(head[9:12]), head.partition("X-Where: ")[2].partition("\r\n")[0]


def test_conditions_variables_and_logs(files: str) -> None:
    with LB.from_config(web(files, "client country:de country:CH asn:64501")) as lb:
        assert ask(lb, "203.0.113.9") == (403, "DE/64500")
        assert ask(lb, "203.0.113.200") == (403, "DE/")
        assert ask(lb, "198.51.100.1") == (200, "AT/")
        assert ask(lb, "2001:db8::1") == (403, "CH/")
        assert ask(lb, "192.0.2.1") == (200, "/")
        assert ask(lb, "10.0.0.1") == (200, "/")
        assert lb.log_lines("a.log")[:2] == ["203.0.113.9 DE 64500", "203.0.113.200 DE -"]
    with LB.from_config(web(files, "not client asn:AS64500 10.0.0.0/8")) as lb:
        found = [ask(lb, ip)[0] for ip in ("203.0.113.9", "10.0.0.1", "203.0.113.200")]
        assert found == [200, 200, 403]


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_json_lines_end_with_the_location(files: str, mode: str) -> None:
    text = f"""
[lbproxy]
geoip = {files}
access_log = a.log
[frontend web]
mode = {mode}
listen = tcp:80
backend = app
[backend app]
mode = {mode}
servers = a 10.0.0.1:80
"""
    places = {"203.0.113.9": ("DE", 64500), "203.0.113.200": ("DE", None), "10.0.0.1": ("", None)}
    without = text.replace(f"geoip = {files}\n", "")

    def last_line(lb: Any, client: str) -> dict[str, Any]:
        made = lb.connect("web", client=client)
        if mode == "http":
            made.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        made.abort()
        lb.advance(1)
        return dict(json.loads(lb.log_lines("a.log")[-1]))

    with LB.from_config(text) as lb:
        (lb.origin if mode == "http" else lb.tcp_origin)("a", "10.0.0.1:80")
        for client, place in places.items():
            line = last_line(lb, client)
            assert (line["client_ip"], line["country"], line["asn"]) == (client, *place)
            assert list(line)[-2:] == ["country", "asn"]
        assert lb.service.reload(without).ok
        assert "country" not in last_line(lb, "203.0.113.9")
        assert lb.service.reload(text).ok
        assert last_line(lb, "203.0.113.9")["country"] == "DE"


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_refused_connections_are_logged_with_the_location(files: str, mode: str) -> None:
    text = f"""
[lbproxy]
geoip = {files}
access_log = a.log
[frontend web]
mode = {mode}
listen = tcp:80
deny = 203.0.113.9
backend = app
[backend app]
mode = {mode}
servers = a 10.0.0.1:80
"""

    def last_line(text: str) -> str:
        with LB.from_config(text) as lb:
            lb.connect("web", client="203.0.113.9")
            assert lb.service.frontend("web").counters.log_errors == 0
            return lb.log_lines("a.log")[-1]

    line = json.loads(last_line(text))
    assert (line["close"], line["country"], line["asn"]) == ("denied", "DE", 64500)
    written = text.replace("a.log", 'a.log "%{client_ip} %{country} %{asn}"')
    assert last_line(written) == "203.0.113.9 DE 64500"


@pytest.mark.parametrize(
    ("condition", "logged"),
    [
        ("client country:DE", ["203.0.113.9", "203.0.113.77"]),
        ("not client country:DE", ["192.0.2.1"]),
        ("client asn:64500", ["203.0.113.9", "203.0.113.77"]),
        ("client list:known", ["203.0.113.77"]),
        ("track hot >= 1", ["203.0.113.9", "192.0.2.1"]),
        ("track paths >= 1", ["203.0.113.9", "192.0.2.1"]),
    ],
)
def test_conditions_of_logs(files: str, condition: str, logged: list[str]) -> None:
    """Of requests, and of a connection that was refused."""
    text = f"""
[lbproxy]
geoip = {files}
access_log = a.log "%{{client_ip}}" if {condition}
[list known]
addresses = 203.0.113.77
[track hot]
key = {{client_ip}}
[track paths]
key = {{path}}
[frontend web]
listen = tcp:80
deny = 203.0.113.77
tracks =
    hot
    paths
routes = default -> reply 200 ok
"""
    with LB.from_config(text) as lb:
        lb.get("http://x/", client="203.0.113.9")
        lb.get("http://x/", client="192.0.2.1")
        lb.connect("web", client="203.0.113.77")
        assert lb.log_lines("a.log") == logged
        assert lb.service.frontend("web").counters.log_errors == 0


def test_a_limit_by_network(files: str) -> None:
    text = web(files, "path /none", "[limit one]\nrate = 2/1h\nkey = {country}{asn}").replace(
        "filters", "limits = one\nfilters"
    )
    with LB.from_config(text) as lb:
        clients = ("203.0.113.1", "203.0.113.2", "203.0.113.3", "10.0.0.1", "10.0.0.2", "10.0.0.3")
        assert [ask(lb, ip)[0] for ip in clients] == [200, 200, 429, 200, 200, 200]


def test_a_changed_file_is_opened_and_a_broken_one_is_not(files: str, tmp_path: Path) -> None:
    table = GeoTable(files.split())
    assert table.find("203.0.113.9").country == "DE" and not table.changed
    write_mmdb(tmp_path / "new", {"203.0.113.0/24": {"country": {"iso_code": "FR"}}})
    (tmp_path / "new").replace(tmp_path / "country.mmdb")
    assert table.changed
    table.use(table.opened())
    assert table.find("203.0.113.9").country == "FR" and not table.changed
    (tmp_path / "bad").write_bytes(b"nothing")
    (tmp_path / "bad").replace(tmp_path / "country.mmdb")
    with pytest.raises(ValueError, match="geoip: "):
        table.opened()
    assert table.find("203.0.113.9").country == "FR"
    os.unlink(tmp_path / "asn.mmdb")
    with pytest.raises(OSError):
        assert table.changed


def test_explain_knows_the_files(files: str) -> None:
    config = parse_config(web(files, "client country:DE"))
    assert "403" in explain_http(config, "GET", "http://h/", [], "203.0.113.9").action
    assert "200" in explain_http(config, "GET", "http://h/", [], "10.0.0.1").action


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("client country:DEU", "write a code of two letters, such as DE"),
        ("client asn:x", "write a number, such as 64500"),
        ("client asn:0", "write a number, such as 64500"),
        ("client land:DE", "land:DE"),
    ],
)
def test_mistakes(files: str, condition: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(web(files, condition))
    assert words in str(caught.value)


def test_files_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"nothing")
    for text, words in (
        (web(f"{tmp_path}/bad", "client country:DE"), "geoip: "),
        (web(f"{tmp_path}/none", "client country:DE"), "No such file"),
        (
            web("x", "client country:DE").replace("geoip = x", ""),
            "the condition client country: or asn: needs [lbproxy] geoip",
        ),
    ):
        with pytest.raises(ConfigErrors) as caught:
            LB.from_config(text)
        assert words in str(caught.value)
