"""The access log of a load balancer in memory, as it grows."""

from __future__ import annotations

import json
from typing import Any

from lbproxy.observe.jsonlog import http_line, tcp_line
from lbproxy.testing import LoadBalancerFixture


def follow(lb: LoadBalancerFixture, frontend: str = "web") -> list[dict[str, Any]]:
    """The records of a frontend from now on; the list grows."""
    writers = {"http": http_line(), "tcp": tcp_line()}
    records: list[dict[str, Any]] = []
    lb.service.frontends[frontend].followers = (
        lambda record: records.append(json.loads(writers[record.mode](record))),
    )
    return records
