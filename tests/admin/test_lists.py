"""Lists of addresses over the API, with as many changes as operators may make."""

from __future__ import annotations

import json
from typing import Any

from lbproxy.admin.parts import lists
from lbproxy.proxy.features.listing.feature import Listing

from .kit import AdminClient, admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[list office]
addresses = 192.0.2.0/24

[list partners]
addresses = 198.51.100.1

[frontend web]
listen = tcp:8080
allow = list:office list:partners
backend = app

[backend app]
servers = a 10.0.0.1:8000
"""
MANY = 2500


def changed(client: AdminClient) -> list[str]:
    """A list with many changes; returns the additions."""
    feature = Listing.of(client.lb.service.frontends["web"])
    assert feature is not None
    added = [f"10.0.{n >> 8}.{n & 255}" for n in range(MANY)]
    feature.sources["office"].list.edit(added, ["192.0.2.7"])
    return added


def test_all_changes_are_shown_in_slices() -> None:
    with admin(TEXT) as client:
        added = changed(client)
        office, partners = client.get("lists")
        assert (office["name"], partners["name"]) == ("office", "partners")
        assert office["added"] == added and office["removed"] == ["192.0.2.7"]
        assert partners["added"] == [] == partners["removed"] and partners["ranges"] == 1
        feature: Any = Listing.of(client.lb.service.frontends["web"])
        slices = list(lists._texts(list(feature.sources.values())))
        assert max(map(len, slices)) < 20 * lists._SLICE
        assert json.loads(b"".join(lists._texts([]))) == []


def test_the_state_and_the_answer_to_a_change_have_the_last_changes() -> None:
    with admin(TEXT) as client:
        added = changed(client)
        last = client.get("state")["lists"]["office"]
        assert last["added"] == added[-100:] and last["removed"] == ["192.0.2.7"]
        answer = client.ask("POST", "lists/office/add", {"address": "203.0.113.1"})
        assert answer.data["added"] == [*added[-99:], "203.0.113.1"]
        assert client.get("lists/office/contains?address=10.0.0.1") == {"contains": True}


def test_a_process_that_begins_takes_all_changes_over_at_once() -> None:
    """It rebuilt the list for each of them: 10,000 took 25 s."""
    with admin(TEXT) as client:
        feature = Listing.of(client.lb.service.frontends["web"])
        assert feature is not None
        source = feature.sources["partners"]
        before = source.list.version
        client.lb.service._ground.replicated.publish(
            "list:partners", {"add": ["10.0.0.1", "10.0.0.2"], "remove": ["198.51.100.1"]}
        )
        assert source.list.version > before
        assert "10.0.0.2" in source.list and "198.51.100.1" not in source.list
