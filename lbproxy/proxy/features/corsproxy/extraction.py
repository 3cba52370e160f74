"""DATA. Extracts elements from HTML in a separate process, which ends after its answer.

The HTML parser is a C library. While it runs, it blocks its process. Some documents of a few
hundred kilobytes become gigabytes in memory, because each paragraph repeats the formatting elements
that were left open. The process has limits of memory and time, so a failure affects only itself.

``python -m lbproxy.proxy.features.corsproxy.extraction`` reads a line with a JSON list of the
selector and the content type, and then the document.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Final

import lbproxy
from lbproxy.cors.convert import ConvertError, extract

__all__ = ["extract_apart", "main"]

SECONDS: Final = 5
"""Maximum duration of one extraction."""

_MEMORY: Final = 256 << 20  # bytes, of which Python itself takes some 50 MB
_GROWTH: Final = 128  # factor of the document's size; usual HTML takes 50 times its size
_NICENESS: Final = 5  # the event loop, which serves all traffic, has precedence
_REFUSED: Final = 3  # exit status; the reason is on standard error
_WORDS_MAX: Final = 300


def extract_apart(selector: str, body: bytes, content_type: str = "") -> bytes:
    """Return the result of :func:`~lbproxy.cors.convert.extract`, or raise ConvertError.

    This call blocks.
    """
    order = json.dumps([selector, content_type]).encode("ascii") + b"\n"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lbproxy.proxy.features.corsproxy.extraction"],
            input=order + body,
            capture_output=True,
            check=False,
            timeout=SECONDS,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise ConvertError("the document takes too long") from None
    except OSError as error:
        raise ConvertError(f"no process for it: {error.strerror}") from None
    if done.returncode == 0 and done.stdout:
        return done.stdout
    if done.returncode == _REFUSED:
        raise ConvertError(done.stderr.decode("utf-8", "replace")[:_WORDS_MAX])
    raise ConvertError("the document takes too much memory or time")


def _environment() -> dict[str, str]:
    """Return the environment of the process, without lbproxy's, which may hold secrets."""
    ours = str(Path(lbproxy.__file__).resolve().parents[1])
    path = os.environ.get("PYTHONPATH")
    known = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {
        **known,
        "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours,
        "LBPROXY_COMPILED": "0",
    }


def _limit(size: int) -> None:
    """Limit this process for a document of ``size`` bytes. Lower limits stay in effect."""
    memory = _MEMORY + _GROWTH * size
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        own = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (own, own))


def main() -> None:
    """Extract the elements, write the JSON, and exit."""
    os.nice(_NICENESS)
    selector, content_type = json.loads(sys.stdin.buffer.readline())
    body = sys.stdin.buffer.read()
    _limit(len(body))
    try:
        found = extract(selector, body, content_type)
    except ConvertError as error:
        sys.stderr.buffer.write(str(error).encode("utf-8", "replace"))
        sys.exit(_REFUSED)
    sys.stdout.buffer.write(found)


if __name__ == "__main__":
    main()
