"""A writer of small files in MaxMind's format (version 2.0), for tests."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

__all__ = ["write_mmdb"]

_MARKER = b"\xab\xcd\xefMaxMind.com"


def _control(kind: int, size: int) -> bytes:
    assert size < 285
    low = bytes([(kind << 5 if kind < 8 else 0) | min(size, 29)])
    more = bytes([kind - 7]) if kind >= 8 else b""
    return low + more + (bytes([size - 29]) if size >= 29 else b"")


def _number(value: int, kind: int = 6) -> bytes:
    raw = value.to_bytes(8, "big").lstrip(b"\0")
    return _control(kind, len(raw)) + raw


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        raw = value.encode()
        return _control(2, len(raw)) + raw
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(_encoded, value))
    pairs = (_encoded(key) + _encoded(one) for key, one in value.items())
    return _control(7, len(value)) + b"".join(pairs)


def write_mmdb(path: Path, networks: Mapping[str, Any]) -> None:
    """Write the records of ``networks``, IPv4 and IPv6; none lies in another."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for text, record in networks.items():
        network = ip_network(text)
        number, length = int(network.network_address), network.prefixlen
        if network.version == 4:  # IPv4 is ::/96
            length += 96
        at = 0
        for bit in range(length):
            side = number >> (127 - bit) & 1
            if bit == length - 1:
                nodes[at][side] = ("data", len(data))
            else:
                if nodes[at][side] is None:
                    nodes.append([None, None])
                    nodes[at][side] = ("node", len(nodes) - 1)
                at = nodes[at][side][1]
        data += _encoded(record)
    count = len(nodes)
    tree = b""
    for pair in nodes:
        for one in pair:
            if one is None:
                value = count
            elif one[0] == "node":
                value = one[1]
            else:
                value = count + 16 + one[1]
            tree += value.to_bytes(4, "big")
    metadata = {
        "node_count": count,
        "record_size": _number(32, 5),
        "ip_version": _number(6, 5),
        "database_type": "Test",
        "languages": ["en"],
        "binary_format_major_version": _number(2, 5),
        "binary_format_minor_version": _number(0, 5),
        "build_epoch": _number(1, 9),
        "description": {"en": "test"},
    }
    path.write_bytes(tree + bytes(16) + data + _MARKER + _encoded(metadata))
