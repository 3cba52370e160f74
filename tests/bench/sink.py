"""A TCP server that takes all and says at the end how many bytes that were:

``python sink.py PORT``.
"""

from __future__ import annotations

import socket
import sys
from threading import Thread

__all__ = ["serve"]


def serve(port: int) -> None:
    """Until the process is ended."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            Thread(target=_drain, args=(connection,), daemon=True).start()


def _drain(connection: socket.socket) -> None:
    buffer = bytearray(1024 * 1024)
    total = 0
    with connection:
        while count := connection.recv_into(buffer):
            total += count
        connection.sendall(b"%d\n" % total)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
