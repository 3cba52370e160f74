"""Units of work of pytest-xdist."""

from __future__ import annotations

import pytest

pytest.importorskip("xdist")

from tests.support.schedule import scope_of, scope_order


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/http/test_scan.py::test_a", "tests/http/test_scan.py"),
        ("tests/http/test_scan.py::TestB::test_c[x::y/z]", "tests/http/test_scan.py"),
        ("tests/live/test_soak.py::test_soak[epoll]", "test_soak[epoll]"),
    ],
)
def test_a_file_is_a_unit(nodeid: str, scope: str) -> None:
    assert scope_of(nodeid) == scope


def test_real_servers_come_first() -> None:
    units = [
        *("tests/http/test_scan.py", "tests/live/test_http.py", "tests/admin/test_auth.py"),
        *("test_soak[epoll]", "tests/support/test_servers.py"),
    ]
    assert sorted(units, key=scope_order) == [
        *("tests/live/test_http.py", "test_soak[epoll]", "tests/support/test_servers.py"),
        *("tests/http/test_scan.py", "tests/admin/test_auth.py"),
    ]
