"""DATA. ``python -m lbproxy.proxy.features.waf.modsecurity.process FD``: a process that judges.

With the word ``check`` in place of ``FD`` it only loads the rules named on standard input, and
prints their errors.

``FD`` is its end of a socket pair. The first message has the rules. The answer to it has a
``problem`` if they cannot be loaded. After that, each question gets an answer. The process exits
when the other end is closed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final

from lbproxy.proxy.features.waf.modsecurity.judge import RuleJudge, RulePart
from lbproxy.proxy.features.waf.modsecurity.messages import (
    LENGTH,
    Question,
    RuleAnswer,
    unframed,
    write_answer,
)

__all__ = ["main", "serve"]

NICENESS: Final = 5
"""On a busy machine the event loop has precedence, because it serves all traffic."""


def receive(sock: socket.socket, size: int) -> bytes | None:
    """Return exactly ``size`` bytes, None at the end of the stream."""
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        got = sock.recv_into(view[at:])
        if not got:
            return None
        at += got
    return bytes(data)


def receive_message(sock: socket.socket) -> list[bytes] | None:
    """Return the fields of the next message, None at the end of the stream."""
    head = receive(sock, LENGTH.size)
    if head is None:
        return None
    message = receive(sock, LENGTH.unpack(head)[0])
    return None if message is None else unframed(message)


def serve(sock: socket.socket) -> None:
    """Answer questions until the other end is closed."""
    first = receive_message(sock)
    if first is None:
        return
    settings = json.loads(first[0])
    try:
        judge = RuleJudge([RulePart(**one) for one in settings["parts"]], settings["limit"])
    except ValueError as error:
        sock.sendall(write_answer(RuleAnswer(problem=str(error))))
        return
    sock.sendall(write_answer(RuleAnswer()))
    while (fields := receive_message(sock)) is not None:
        sock.sendall(write_answer(judge.judge(Question.of(fields))))


def check() -> None:
    """Load rules and discard them. Exit with status 1 and the reason if that fails."""
    settings = json.load(sys.stdin)
    try:
        RuleJudge([RulePart(**one) for one in settings["parts"]], settings["limit"]).close()
    except ValueError as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(1)


def main() -> None:
    """Serve on the descriptor from the command line, or check rules."""
    if sys.argv[1] == "check":
        check()
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the process ends with its socket
    os.nice(NICENESS)
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(sock)


if __name__ == "__main__":
    main()
