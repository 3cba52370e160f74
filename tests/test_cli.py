"""The ``lbproxy`` command, as a person or a script uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lbproxy.cli import main
from lbproxy.cli.base import COMMANDS
from lbproxy.cli.tables import plain
from lbproxy.tls.certificates import self_signed

GOOD = """\
[frontend web]
listen = tcp:8080
routes =
    host old.example.com -> redirect 301 https://new.example.com{uri}
    path /users/*        -> users
    default              -> app
deny = 198.51.100.0/24

[backend app]
servers =
    a 10.0.0.1:8000
    spare 10.0.0.9:8000 backup

[backend users]
balance = hash cookie user
servers =
    a 10.0.0.1:8000
    b 10.0.0.2:8000

[frontend db]
mode = tcp
listen = tcp:5432
routes =
    sni *.db.example -> pg

[backend pg]
mode = tcp
balance = first
servers = db1 10.0.0.21:5432
"""

TEN_MISTAKES = """\
[lbproxy]
timout_shutdown = 10s

[frontend web]
mode = htp
listen = tcp:99999
routes =
    hots api.example.com -> app
    host a.example.com -> nosuch
colour = blue

[backend app]
balance = leastcon
servers =
    a 10.0.0.1:8000 weight=many
check = http GET /healthz every=2parsecs

[frontend db]
mode = tcp
listen = tcp:5432
backend = pg

[backend pg]
balance = hash header X-User
servers = db1 10.0.0.21:5432
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("good.ini").write_text(GOOD)
    Path("bad.ini").write_text(TEN_MISTAKES)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, list(words))

    return invoke


def test_check_says_what_it_found_and_what_to_do_next(run):
    result = run("check", "good.ini")
    assert result.exit_code == 0
    assert "2 frontends with 2 listeners, 3 backends with 5 servers" in result.output
    assert "lbproxy run good.ini" in result.output


def test_check_reports_ten_mistakes_at_once_each_with_its_line(run):
    result = run("check", "bad.ini")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("bad.ini:")]
    found = [int(line.split(":")[1]) for line in lines if line.split(":")[1].isdigit()]
    assert found == [2, 5, 6, 8, 9, 10, 13, 15, 16, 24]
    assert "did you mean 'leastconn'?" in result.stderr
    assert "10 errors" in result.stderr


def test_check_for_programs(run):
    bad = run("check", "bad.ini", "--json")
    assert bad.exit_code == 1
    errors = json.loads(bad.stdout)["errors"]
    assert len(errors) == 10
    assert {"file", "line", "section", "key", "message"} <= set(errors[0]) | set(
        errors[0].get("where", {})
    )
    good = run("check", "good.ini", "--json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["ok"] is True


def test_check_of_a_file_that_is_not_there(run):
    result = run("check", "none.ini")
    assert result.exit_code == 1
    assert "none.ini" in result.stderr
    assert "Traceback" not in result.stderr


WITH_FILES = """\
[frontend web]
listen = tls:8443 certificates=certs/
filters = picky.py:Picky
backend = app
[backend app]
servers = a 10.0.0.1:8000
"""
PICKY = """\
from lbproxy.http.filter import Filter


class Picky(Filter):
    name = "picky"

    def __init__(self, options, env):
        super().__init__(options, env)
        raise RuntimeError("not today")
"""


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_check_looks_into_keys_and_makes_filters(run, words):
    Path("lb.ini").write_text(WITH_FILES)
    Path("picky.py").write_text(PICKY)
    Path("certs").mkdir()
    result = run("check", "lb.ini", *words)
    assert result.exit_code == 1
    assert "no certificate in this folder" in result.output
    assert "RuntimeError: not today" in result.output
    certificate, key = self_signed(["a.example"])
    Path("certs/a.pem").write_bytes(certificate + self_signed(["a.example"])[1])
    assert "does not match" in run("check", "lb.ini", *words).output
    Path("certs/a.pem").write_bytes(certificate + key)
    Path("picky.py").write_text(PICKY.replace("raise", "self.error ="))
    assert run("check", "lb.ini", *words).exit_code == 0


def test_check_names_a_certificate_that_no_client_gets(run):
    Path("lb.ini").write_text(WITH_FILES.replace("filters = picky.py:Picky\n", ""))
    Path("certs").mkdir()
    for name in ("a", "b"):
        Path(f"certs/{name}.pem").write_bytes(b"".join(self_signed(["a.example"])))
    result = run("check", "lb.ini")
    assert result.exit_code == 0
    assert "certs/b.pem is never used" in result.output
    assert "certs/a.pem is never used" not in result.output


def test_check_of_a_configuration_that_serves_nothing(run):
    Path("empty.ini").write_text("")
    result = run("check", "empty.ini")
    assert (result.exit_code, "no [frontend NAME]" in result.output) == (1, True)
    found = json.loads(run("check", "empty.ini", "--json").output)
    assert "no [frontend NAME]" in found["errors"][0]["message"]


def test_explain_a_request(run):
    result = run(
        "explain", "good.ini", "GET", "http://x.example.com:8080/users/7", "-H", "Cookie: user=7"
    )
    assert result.exit_code == 0
    assert "route  ->  path /users/* -> users" in result.output
    assert "backend    users, balance hash" in result.output
    again = run(
        "explain", "good.ini", "GET", "http://x.example.com:8080/users/7", "-H", "Cookie: user=7"
    )
    assert again.output == result.output, "the same user always goes to the same server"


def test_explain_and_replay_need_no_certificates(run):
    """Of the servers that will run the configuration; ``check`` wants them."""
    Path("tls.ini").write_text(
        "[frontend web]\nlisten = tls:8443 certificates=/etc/certs/site.pem\n"
        "routes = default -> reply 204\n"
    )
    assert "no such file" in run("check", "tls.ini").output
    assert "answered with 204" in run("explain", "tls.ini", "GET", "https://a.example:8443/").output
    Path("access.log").write_text('1.2.3.4 - - [29/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 1')
    result = run("replay", "access.log", "--old", "tls.ini", "--new", "tls.ini")
    assert result.exit_code == 0, result.output


def test_explain_as_json_and_a_redirect(run):
    result = run("explain", "good.ini", "GET", "http://old.example.com:8080/a?b", "--json")
    data = json.loads(result.output)
    assert data["action"] == "answered with 301 to https://new.example.com/a?b"
    assert [step["taken"] for step in data["routes"]] == [True, False, False]


def test_explain_a_connection(run):
    result = run("explain", "good.ini", "TCP", "5432", "--sni", "one.db.example")
    assert result.exit_code == 0
    assert "pick       db1" in result.output
    lost = run("explain", "good.ini", "TCP", "5432")
    assert lost.exit_code == 1
    assert "no_route" in lost.output


def test_explain_a_client_that_is_denied(run):
    result = run("explain", "good.ini", "GET", "http://x:8080/", "--client", "198.51.100.3")
    assert result.exit_code == 1
    assert "denied" in result.output


def test_explain_believes_trusted_proxies_and_nobody_else(run):
    Path("trust.ini").write_text(
        """\
[frontend web]
listen = tcp:8080
trusted_proxies = 192.0.2.0/24
routes =
    client 10.0.0.0/8      -> inside
    header X-Forwarded-For -> claims
    default                -> outside
"""
        + "".join(
            f"[backend {name}]\nservers = a 10.0.0.1:80\n"
            for name in ("inside", "claims", "outside")
        )
    )
    ask = ["explain", "trust.ini", "GET", "http://x:8080/", "-H", "X-Forwarded-For: 10.1.1.1"]
    believed = run(*ask, "--client", "192.0.2.7").output
    assert "192.0.2.7 is admitted, a trusted proxy that speaks for 10.1.1.1" in believed
    assert "route  ->  client 10.0.0.0/8 -> inside" in believed
    assert "route  ->  default -> outside" in run(*ask, "--client", "198.51.100.7").output


def test_explain_judges_the_client_and_the_peer(run):
    Path("lists.ini").write_text(
        "[frontend web]\nlisten = tcp:8080\nbackend = app\ntrusted_proxies = 192.0.2.0/24\n"
        "deny = 6.6.6.6 192.0.2.0/24\ndeny_peers = 192.0.2.99\n"
        "[backend app]\nservers = a 10.0.0.1:80\n"
    )
    ask = ["explain", "lists.ini", "GET", "http://x:8080/", "--client"]
    assert (
        "refuse 6.6.6.6 with 403" in run(*ask, "192.0.2.7", "-H", "X-Forwarded-For: 6.6.6.6").output
    )
    assert "denied" not in run(*ask, "192.0.2.7", "-H", "X-Forwarded-For: 1.1.1.1").output
    assert "denied: allow_peers/deny_peers" in run(*ask, "192.0.2.99").output
    assert "denied: allow/deny" in run(*ask, "6.6.6.6").output


def test_explain_connect_is_refused(run):
    result = run("explain", "good.ini", "CONNECT", "http://x.example.com:8080/")
    assert (result.exit_code, "ends       405" in result.output) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("GET", "not a url"),
        ("GET", "ftp://x/"),
        ("TCP", "notaport"),
        ("GET", "http://x:8080/", "-H", "nocolon"),
        ("GET", "http://x:8080/", "--client", "nobody"),
    ],
)
def test_explain_says_what_is_wrong_with_its_arguments(run, words):
    result = run("explain", "good.ini", *words)
    assert result.exit_code == 2
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr.strip()


def test_explain_where_nobody_listens(run):
    result = run("explain", "good.ini", "GET", "http://x:9999/")
    assert result.exit_code == 1
    assert "listens on port 9999" in result.output


def test_the_reference_knows_every_balancer(run):
    result = run("config", "reference")
    assert result.exit_code == 0
    for name in ("roundrobin", "leastconn", "hash", "ewma", "timeout_connect", "set-header"):
        assert name in result.output


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("G T", "http://x:8080/"), "400"),
        (("PRI", "http://x:8080/"), "501"),
        (("GET", "http://x:8080/a b"), "400"),
        (("GET", "http://x:8080/", "-H", "Host: a b"), "400"),
        (("GET", "http://x:8080/" + "a" * 9000), "414"),
    ],
)
def test_explain_refuses_what_traffic_refuses(run, words, answer):
    result = run("explain", "good.ini", *words)
    assert result.exit_code == 1
    assert f"ends       {answer}" in result.output


def test_explain_wants_the_url_as_it_is_on_the_wire(run):
    result = run("explain", "good.ini", "GET", "http://x:8080/größe")
    assert result.exit_code == 2
    assert "%XX" in result.stderr


def test_check_looks_for_the_folder_of_the_log(run):
    Path("log.ini").write_text("[lbproxy]\naccess_log = nowhere/a.log\n" + GOOD)
    result = run("check", "log.ini")
    assert result.exit_code == 1
    assert result.stderr.startswith("log.ini:2: ")
    assert "there is no folder" in result.stderr


def test_what_clients_send_does_not_drive_the_terminal():
    assert plain("GET /é?a=b") == "GET /é?a=b"
    assert plain("\x1b[2J\x9bhi\r\n\u202e") == "?[2J?hi???"


@pytest.mark.parametrize(
    "command", ["sticky {} --forget", "state reset {}", "servers {}", "sessions {}"]
)
@pytest.mark.parametrize("name", ["app/", "/a", "/"])
def test_a_name_that_is_missing_does_not_mean_all(run, command, name):
    result = run(*command.format(name).split(), "--admin", "http://127.0.0.1:9")
    assert result.exit_code == 2
    assert f"{name!r} is neither BACKEND nor BACKEND/SERVER" in result.output


def test_each_command_is_in_the_table_of_its_module() -> None:
    """Modules are imported by need; the table must know all of them."""
    for module, names in COMMANDS.items():
        before = set(main.commands)
        import_module(f"lbproxy.cli.{module}")
        assert set(main.commands) - before <= set(names)
        assert set(names) <= set(main.commands)
    assert set(main.list_commands(None)) == set(main.commands)  # type: ignore[arg-type]


def test_a_command_does_not_wait_for_the_others() -> None:
    """The version, and commands that ask a running process, load neither Twisted nor the proxy."""
    code = (
        "import sys\nfrom lbproxy.cli import main\nmain(['--version'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith(('twisted', 'lbproxy.proxy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_reference_and_the_schema_for_programs(run):
    assert "lbproxy" in json.loads(run("config", "reference", "--json").output)["sections"]
    assert json.loads(run("config", "schema").output)["type"] == "object"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0 and "_LBPROXY_COMPLETE" in done.output


def test_names_of_servers_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = {
        "COMP_WORDS": "lbproxy drain us",
        "COMP_CWORD": "2",
        "_LBPROXY_COMPLETE": "bash_complete",
    }
    code = [sys.executable, "-c", "from lbproxy.cli import main; main(prog_name='lbproxy')"]

    def offered() -> list[str]:
        done = subprocess.run(
            code, capture_output=True, text=True, env=os.environ | words, cwd=tmp_path
        )
        return [line.partition(",")[2] for line in done.stdout.split()]

    assert offered() == [], "no configuration here"
    (tmp_path / "lb.ini").write_text(GOOD)
    assert offered() == ["users/a", "users/b"]
    words["COMP_WORDS"] = "lbproxy servers us"
    assert offered() == ["users", "users/a", "users/b"]
    (tmp_path / "lb.ini").write_text(TEN_MISTAKES)
    assert offered() == []


def test_check_without_files(run):
    text = Path("good.ini").read_text() + (
        "[certificate x]\ncertificate = nowhere.pem\n[frontend log]\nlisten = tcp:9999\n"
        "access_log = no/such/folder/log\nroutes = default -> reply 200\n"
    )
    Path("ci.ini").write_text(text)
    assert run("check", "ci.ini").exit_code == 1
    result = run("check", "--no-files", "ci.ini")
    assert result.exit_code == 0, result.output
    assert json.loads(run("check", "--no-files", "--json", "ci.ini").stdout)["ok"] is True
    assert run("check", "--no-files", "bad.ini").exit_code == 1


def test_check_of_standard_input():
    good = "[frontend a]\nlisten = tcp:1\nbackend = b\n[backend b]\nservers = a 10.0.0.1:1\n"
    result = CliRunner().invoke(main, ["check", "-"], input=good)
    assert result.exit_code == 0 and "lbproxy run" not in result.output
    wrong = CliRunner().invoke(main, ["check", "-"], input=good.replace("tcp:1", "tcp:x"))
    assert wrong.exit_code == 1 and wrong.stderr.startswith("<stdin>:2: [frontend a] listen:")
    assert CliRunner().invoke(main, ["check", "-"], input=b"\xff").exit_code == 1


def test_check_counts_servers_from_dns(run):
    Path("dns.ini").write_text(
        GOOD.replace("    b 10.0.0.2:8000", "    u-{1..4} dns:u.internal:80")
    )
    assert "with 4 servers and up to 4 servers from DNS" in run("check", "dns.ini").output


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("deny = 198.51.100.0/24", "deny = 198.51.100.0/24\n\ncache = nosuch", 9),
        ("[frontend web]", "[lbproxy]\n\nsecret = file:nowhere\n[frontend web]", 3),
        ("[frontend web]", "[lbproxy]\nadmin = tcp:0\nadmin_tokens = nowhere\n[frontend web]", 3),
    ],
)
def test_a_mistake_found_late_has_the_line_of_its_key(run, old: str, new: str, line: int):
    Path("late.ini").write_text(GOOD.replace(old, new, 1))
    output = run("check", "late.ini").output
    assert f"late.ini:{line}: " in output and "late.ini: 1 error" in output
