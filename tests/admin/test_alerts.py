"""Alerts as the API shows them."""

from __future__ import annotations

from .kit import TEXT, admin


def test_alerts_that_fire_are_listed_and_are_in_the_state() -> None:
    with admin("[alerts]\nrules = backend_empty after=0s\n\n" + TEXT) as client:
        assert client.get("alerts") == {"on": True, "sent": 0, "failed": 0, "items": []}
        group = client.lb.service.backends["app"].group
        for server in group.servers.values():
            group.set_health(server, False, "gone")
        client.lb.advance(2)
        (row,) = client.get("alerts")["items"]
        assert (row["name"], row["subject"], row["severity"]) == ("backend_empty", "app", "error")
        assert row["text"] == "backend app has no server" and row["since"] > 1e9
        client.lb.service.alerter._now = lambda: 0.0  # somebody sets the clock
        assert client.get("state")["alerts"]["firing"] == {"backend_empty app": row}


def test_without_a_section() -> None:
    with admin() as client:
        assert client.get("alerts")["on"] is False
