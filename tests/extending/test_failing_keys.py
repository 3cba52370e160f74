"""Keys of limits that raise: ``on_error`` decides."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.proxy.features.limiting.key import FunctionKey
from lbproxy.testing import LB
from tests.extending.seams import TEXT, every, exception, over


@every
@pytest.mark.parametrize(("on_error", "status"), [("open", 200), ("closed", 503)])
def test_keys_of_limits(on_error: str, status: int, error: str, failures: list[str]) -> None:
    sections = f"[limit all]\nrate = 1/s\nkey = {{client_ip}}\non_error = {on_error}\n"
    lb = LB.from_config(TEXT.format(web="limits = all", app="") + sections)
    lb.origin("a", "10.0.0.1:80")
    (feature,) = [
        one for one in lb.service.frontend("web").all_features() if one.name.startswith("limit")
    ]
    limit = feature._uses[0].limit

    def key(traffic: Any) -> Any:
        raise exception(error)

    limit.key = FunctionKey(key, (32, 64))
    assert [lb.get("http://h/").status for _ in range(3)] == [status] * 3
    assert set(failures) == {error}
    over(lb)
