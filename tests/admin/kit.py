"""An admin API in memory, and somebody who asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from lbproxy.testing import LoadBalancerFixture

ADMIN = "127.0.0.1:8404"
TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[frontend web]
listen = tcp:8080
routes =
    host old.example -> redirect 301 https://new.example{uri}
    path /static/*   -> static
backend = app

[backend app]
rebalance = tcp
servers =
    a 10.0.0.1:8000 weight=3
    b 10.0.0.2:8000

[backend static]
servers = s1 10.0.1.1:8000

[frontend db]
mode = tcp
listen = tcp:5432
backend = pg

[backend pg]
servers = db1 10.0.2.1:5432
"""


@frozen
class Answer:
    """``data``: the JSON, or None."""

    status: int
    data: Any
    response: Any

    @property
    def message(self) -> str:
        """Of an error."""
        return str(self.data["error"]["message"])


class AdminClient:
    """Asks the API of ``lb`` at ``target``."""

    def __init__(self, lb: LoadBalancerFixture, target: str = ADMIN, **headers: str) -> None:
        self.lb = lb
        self.target = target
        self.headers = headers

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        host: str = "localhost",
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own."""
        lines = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            lines.setdefault("Content-Type", "application/json")
        elif raw is None and method not in ("GET", "HEAD"):
            lines.setdefault("X-Requested-With", "test")
        client = self.lb.connect(self.target)
        url = f"http://{host}{path if path.startswith('/') else '/api/v1/' + path}"
        response = self.lb.request(method, url, headers=lines, body=data, via=client)
        client.close()
        kind = response.header("Content-Type")
        parsed = json.loads(response.body) if kind == "application/json" and response.body else None
        return Answer(response.status, parsed, response)

    def get(self, path: str, **options: Any) -> Any:
        """The JSON of a GET that succeeds."""
        answer = self.ask("GET", path, **options)
        assert answer.status == 200, answer.data
        return answer.data


@contextmanager
def admin(text: str = TEXT, **options: Any) -> Iterator[AdminClient]:
    """A load balancer with an admin API, and its client."""
    with LoadBalancerFixture.from_config(text, **options) as lb:
        lb.origin("a", "10.0.0.1:8000")
        lb.origin("b", "10.0.0.2:8000")
        lb.origin("s1", "10.0.1.1:8000")
        yield AdminClient(lb)
