"""The addresses of this machine."""

from __future__ import annotations

import socket
from pathlib import Path

from lbproxy.net.interfaces import local_addresses

TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.2.0/24 2 0 2
        |-- 10.1.2.0
           /24 link UNICAST
        |-- 10.1.2.3
           /32 host LOCAL
        |-- 10.1.2.255
           /32 link BROADCAST
Local:
        |-- 10.1.2.3
           /32 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
"""
V6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000042acfffe110002 02 40 20 80     eth0
"""


def test_the_kernels_lists(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(TRIE)
    (tmp_path / "if_inet6").write_text(V6)
    found = local_addresses(tmp_path)
    assert found == ["10.1.2.3", "127.0.0.1", "::1", "fe80::42:acff:fe11:2"]


def test_a_kernel_without_ipv6(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(TRIE)
    assert local_addresses(tmp_path) == ["10.1.2.3", "127.0.0.1"]


def test_without_these_files(tmp_path: Path) -> None:
    for address in local_addresses(tmp_path):
        socket.inet_aton(address)


def test_this_machine() -> None:
    assert "127.0.0.1" in local_addresses()
