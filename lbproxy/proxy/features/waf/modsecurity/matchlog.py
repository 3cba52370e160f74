"""DATA. The file in memory to which libmodsecurity writes the rules that matched, as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from lbproxy.proxy.features.waf.modsecurity.bindings import Library, RulesError, RuleSet
from lbproxy.proxy.features.waf.modsecurity.directives import FIRST_ID, audit_directives
from lbproxy.proxy.features.waf.modsecurity.segments import is_key_free, removed_at_end

__all__ = ["MatchLog"]

_TRIES: Final = 100
"""Maximum number of files whose key is compared with those of the shared memory segments."""

_PROBE: Final = f'SecRuleEngine On\nSecAction "id:{FIRST_ID},phase:1,pass,log,msg:probe"\n'


class MatchLog:
    """The log of this process. Raises RulesError if the library cannot write it.

    ``directives``: those by which rules write it.
    """

    def __init__(self, library: Library) -> None:
        self._file = _file()
        self.directives = audit_directives(_path(self._file))
        if not _opened:
            _opened.append(_open(library, self._file))

    def take(self) -> Iterator[dict[str, Any]]:
        """Yield the messages of the transaction that has just ended, and clear the file."""
        size = os.fstat(self._file).st_size
        if not size:
            return
        text = os.pread(self._file, size, 0).decode("utf-8", "replace")
        os.ftruncate(self._file, 0)
        for line in text.splitlines():
            if not line.strip():
                continue
            try:
                yield from json.loads(line)["transaction"]["messages"]
            except (ValueError, LookupError, TypeError):
                continue


@cache
def _file() -> int:
    """Return the file. All judges of a process share it, because the library keeps closed files, by
    their paths.
    """
    files: list[int] = []
    try:
        while len(files) < _TRIES:
            files.append(os.memfd_create("lbproxy-waf", os.MFD_CLOEXEC))
            if is_key_free(_path(files[-1])):
                break
        return files.pop()
    finally:
        for file in files:  # each had another key, as long as all were open
            os.close(file)


def _path(file: int) -> str:
    return f"/proc/self/fd/{file}"


_opened: Final[list[RuleSet]] = []
"""The rules that keep the file open in the library, once they are loaded."""


def _open(library: Library, file: int) -> RuleSet:
    """Let the library open the file, and write to it. Return rules that keep it open.

    The library reports no error if it cannot open a log file.
    """
    rules = library.rule_set()
    with removed_at_end():
        rules.add(_PROBE + audit_directives(_path(file)))
    run = rules.transaction("probe")
    run.connection(("192.0.2.1", 1), ("192.0.2.2", 80))
    run.request_line(b"GET", b"/", "1.1")
    run.request_headers(())
    run.close()
    if not os.fstat(file).st_size:
        rules.close()
        raise RulesError(
            "libmodsecurity cannot open its log; maybe the system has no shared memory segment"
            " left: compare 'ipcs -m' with kernel.shmmni"
        )
    os.ftruncate(file, 0)
    return rules
