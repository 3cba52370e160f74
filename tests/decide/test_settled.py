"""Configurations that ``check`` judges without Twisted, and those that need the assembly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lbproxy.cli.base import COMMANDS
from lbproxy.cli.offline import NO_FILES
from lbproxy.decide.settled import is_settled
from lbproxy.registry import parse_config

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

PLAIN = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1
access_log = stdout json

[frontend web]
mode = http
listen = tcp:8080
allow = 10.0.0.0/8
filters = set-header response X-A b
routes =
    path /old/* -> redirect 301 /new/
    host a.example.com -> app
    default -> app

[backend app]
balance = hash uri
check = http GET /healthz every=2s
passive = errors=5
retry_budget = 20%
hedge = 1s
servers =
    a 10.0.0.1:8000 weight=3
    b 10.0.0.2:8000 backup
"""


def test_a_plain_configuration_is_settled() -> None:
    assert is_settled(parse_config(PLAIN))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("listen = tcp:8080", "listen = tls:8443 certificates=web.pem"),
        ("8000 weight=3", "8000 tls"),
        ("every=2s", "every=2s tls"),
        ("check = http GET /healthz every=2s", "check = redis"),
        ("balance = hash uri", f"balance = {EXAMPLES}/alphabetical.py:Alphabetical"),
        ("hedge = 1s", "sticky = cookie LB"),
        ("hedge = 1s", "guard = public-only"),
        ("access_log = stdout json", "access_log = /nonexistent/folder/access.log"),
        ("access_log = stdout json", "secret = 0123456789abcdef0123456789abcdef"),
        ("access_log = stdout json", "admin_tokens = tokens"),
        ("allow = 10.0.0.0/8", "cache = main"),
        ("[frontend web]", "[cache main]\n[frontend web]"),
        ("[frontend web]", "[alerts]\nquiet = 22:00-06:00\n[frontend web]"),
    ],
)
def test_what_reading_cannot_judge_needs_the_assembly(old: str, new: str) -> None:
    assert old in PLAIN
    config = parse_config(PLAIN.replace(old, new), files=NO_FILES)
    assert not is_settled(config)


def modules_after(folder: Path, *words: str) -> set[str]:
    """The modules that a command has imported when it ends, and their packages."""
    code = (
        "import sys\nfrom lbproxy.cli import main\n"
        f"try:\n    main({list(words)!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert not done.stderr.startswith("Traceback"), done.stderr
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"twisted", "OpenSSL", "cryptography", "asyncio"}


@pytest.mark.parametrize(
    "words",
    [
        ("check", "lb.ini"),
        ("check", "--no-files", "lb.ini"),
        ("explain", "lb.ini", "GET", "http://a.example.com:8080/"),
        ("status", "-c", "lb.ini"),
        ("drain", "app/a", "--admin", "unix:nobody.sock"),
    ],
    ids=" ".join,
)
def test_commands_of_a_plain_file_do_not_load_twisted(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "lb.ini").write_text(PLAIN)
    assert not modules_after(tmp_path, *words) & HEAVY


SMALL = """\
[frontend web]
mode = http
listen = tcp:8080
routes =
    path /api/* -> api
    default     -> app

[backend app]
servers = a 127.0.0.1:8001

[backend api]
check = http GET /healthz
servers = a 127.0.0.1:8002
"""

SLOW = {
    *("email", "http.client", "importlib.metadata", "re2", "ssl", "urllib.request", "zipfile"),
    *("lbproxy.cache.memory", "lbproxy.observe.alerts", "lbproxy.waf.engine", "lbproxy.waf.own"),
    *("lbproxy.limits.cells", "lbproxy.proxy.features.limiting.key", "lbproxy.waf.rules"),
}
"""Modules for what a small configuration does not use; each takes 3 to 20 ms to import."""

REMOTE = {"email", "http.client", "ssl"}
"""Modules of SLOW that requests to the admin API need."""

HELPED = {"lbproxy.limits.cells", "lbproxy.observe.alerts"}
"""Modules of SLOW that some command has; its help is in the list of all commands."""


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (("check", "lb.ini"), SLOW | {"lbproxy.decide.explain", "lbproxy.decide.posture"}),
        (("check", "--no-files", "lb.ini"), SLOW | {"lbproxy.decide.path"}),
        (("explain", "lb.ini", "GET", "http://a.example.com:8080/"), SLOW),
        (("servers", "-c", "lb.ini"), SLOW - REMOTE | {"lbproxy.decide.path"}),
        (("--help",), SLOW - REMOTE - HELPED | {"lbproxy.decide.path"}),
        (("completion", "bash"), SLOW | {"lbproxy.config.build"}),
    ],
    ids=["check", "no-files", "explain", "servers", "help", "completion"],
)
def test_commands_import_only_what_a_small_file_uses(
    tmp_path: Path, words: tuple[str, ...], unwanted: set[str]
) -> None:
    (tmp_path / "lb.ini").write_text(SMALL)
    assert not modules_after(tmp_path, *words) & (HEAVY | unwanted)


@pytest.mark.parametrize("module", sorted(set(COMMANDS) - {"serve"}))
def test_the_help_of_a_command_does_not_load_twisted(tmp_path: Path, module: str) -> None:
    """Nor does its module, which completion imports."""
    assert not modules_after(tmp_path, COMMANDS[module][0], "--help") & HEAVY
