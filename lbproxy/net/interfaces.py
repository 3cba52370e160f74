"""DATA. The addresses of this machine, as the kernel lists them; read when a configuration
loads.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address
from pathlib import Path

__all__ = ["local_addresses"]

_LOCAL_V4 = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")


def local_addresses(proc: Path = Path("/proc/net")) -> list[str]:
    """Return the IP addresses of all interfaces, without duplicates.

    ``proc``: directory of the kernel's files. If they do not exist, the result contains the
    addresses of the machine's own name, as far as they are known.
    """
    found: dict[str, None] = {}
    try:
        found.update(dict.fromkeys(_LOCAL_V4.findall((proc / "fib_trie").read_text())))
        for line in (proc / "if_inet6").read_text().splitlines():
            found[str(IPv6Address(bytes.fromhex(line.split()[0])))] = None
    except OSError:
        if not found:
            found.update(dict.fromkeys(_of_own_name()))
    return list(found)


def _of_own_name() -> list[str]:
    try:
        return socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        return []
