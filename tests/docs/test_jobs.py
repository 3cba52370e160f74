"""The usual jobs of docs/migration.rst run: right backend, right probe, failover."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.errors import ConfigErrors
from lbproxy.config.foreign import foreign_key, foreign_option, foreign_plugin, foreign_section
from lbproxy.config.sections import MACROS, SECTIONS
from lbproxy.registry import load_config, parse_config
from lbproxy.testing import LB
from lbproxy.testing.origin import Answer
from tests.proxy.test_tcp_tls import client_hello

from .pages import DOCS, EXAMPLES, furnish

JOBS = EXAMPLES / "jobs"
ECHO = "echo"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The jobs, with the certificates and secrets that they name."""
    furnish(tmp_path)
    examples = tmp_path / "docs" / "examples"
    for name in ("certs", "secrets"):
        shutil.copytree(examples / name, examples / "jobs" / name)
    monkeypatch.chdir(examples / "jobs")
    return examples / "jobs"


@contextmanager
def running(folder: Path, name: str, **changes: str) -> Iterator[Any]:
    """The load balancer of a job, with ``changes`` of whole lines by their key."""
    text = (folder / f"{name}.ini").read_text(encoding="utf-8")
    for key, line in changes.items():
        text = re.sub(rf"^{key} = .*$", line, text, flags=re.MULTILINE)
    with LB.from_config(text) as lb:
        yield lb


def probe(name: str, backend: str) -> tuple[str, Any]:
    """Name and options of the check of a backend."""
    check = load_config(f"{name}.ini").backend(backend).check
    assert check is not None
    return check.probe.name, check.probe.options


def reached(lb: Any, frontend: str, data: bytes = b"hello") -> str:
    """Which of the servers that echo their name a TCP client reaches, "" for none."""
    client = lb.connect(frontend)
    client.send(data)
    lb.advance(0.1)
    found = client.received.decode("latin-1")
    client.close()
    return found


def names(lb: Any, *servers: tuple[str, str]) -> None:
    """TCP servers that answer with their names."""
    for name, address in servers:
        lb.tcp_origin(name, address, lambda data, name=name: name.encode())


def role(state: dict[str, str]) -> Callable[[str], Callable[[Any], int]]:
    """Patroni's REST API, by who is the primary in ``state``."""

    def of(name: str) -> Callable[[Any], int]:
        def answer(request: Any) -> int:
            wanted = "primary" if name == state["primary"] else "replica"
            return 200 if request.path == f"/{wanted}" else 503

        return answer

    return of


def test_patroni(folder: Path) -> None:
    state = {"primary": "db1"}
    with running(folder, "patroni") as lb:
        names(lb, *((f"db{n}", f"10.0.0.2{n}:5432") for n in (1, 2, 3)))
        for n in (1, 2, 3):
            lb.origin(f"api{n}", f"10.0.0.2{n}:8008", role(state)(f"db{n}"))
        lb.advance(3)
        assert reached(lb, "pg-write") == "db1"
        assert reached(lb, "pg-read") in ("db2", "db3")
        session = lb.connect("pg-write")
        session.send(b"x")
        state["primary"] = "db3"
        lb.advance(4)
        assert session.closed, "nobody writes to the old primary"
        assert reached(lb, "pg-write") == "db3"
        assert reached(lb, "pg-read") in ("db1", "db2")


def test_galera(folder: Path) -> None:
    kind, options = probe("galera", "one")
    assert kind == "mysql" and options.galera
    with running(folder, "galera", check="check = tcp every=1s fall=2 rise=1") as lb:
        names(lb, *((f"n{n}", f"10.0.0.3{n}:3306") for n in (1, 2, 3)))
        lb.advance(3)
        assert {reached(lb, "write") for _ in range(3)} == {"n1"}
        assert {reached(lb, "read") for _ in range(6)} == {"n1", "n2", "n3"}
        lb.origins["n1"].stop()
        lb.advance(3)
        assert {reached(lb, "write") for _ in range(3)} == {"n2"}


def test_rabbitmq(folder: Path) -> None:
    kind, options = probe("rabbitmq", "nodes")
    assert (kind, options.user) == ("amqp", "lb")
    with running(folder, "rabbitmq", check="check = tcp every=1s fall=2 rise=1") as lb:
        names(lb, *((f"rabbit{n}", f"10.0.0.4{n}:5672") for n in (1, 2, 3)))
        for n in (1, 2, 3):
            lb.origin(f"ui{n}", f"10.0.0.4{n}:15672")
        lb.advance(3)
        sessions = [lb.connect("amqp") for _ in range(3)]
        for session in sessions:
            session.send(b"AMQP")
        assert sorted(one.received for one in sessions) == [b"rabbit1", b"rabbit2", b"rabbit3"]
        lb.origins["rabbit2"].unreachable()
        lb.advance(6)
        assert [one.closed for one in sessions].count(True) == 1, "its clients go elsewhere"
        lb.origins["ui1"].stop()
        assert {lb.get("http://x:15672/").status for _ in range(4)} == {200}


def test_redis_sentinel(folder: Path) -> None:
    master = {"is": 1}

    def redis(number: int) -> Callable[[bytes], bytes]:
        def answer(data: bytes) -> bytes:
            if b"PING" in data:
                return b"+PONG\r\n"
            if b"ROLE" not in data:
                return f"r{number}".encode()
            if master["is"] == number:
                return b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
            return b"*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n"

        return answer

    def sentinel(data: bytes) -> bytes:
        return f"*2\r\n$9\r\n10.0.0.5{master['is']}\r\n$4\r\n6379\r\n".encode()

    with running(folder, "redis-sentinel") as lb:
        for n in (1, 2, 3):
            lb.tcp_origin(f"r{n}", f"10.0.0.5{n}:6379", redis(n))
            lb.tcp_origin(f"s{n}", f"10.0.0.5{n}:26379", sentinel)
        lb.advance(6)
        assert reached(lb, "redis", b"GET x") == "r1"
        master["is"] = 2
        lb.advance(12)
        assert reached(lb, "redis", b"GET x") == "r2"


def test_kubernetes_api(folder: Path) -> None:
    config = load_config("kubernetes-api.ini").backend("control-plane")
    kind, options = probe("kubernetes-api", "control-plane")
    assert (kind, options.target) == ("http", "/readyz") and config.check is not None
    assert config.check.tls, "the API speaks TLS, which the frontend does not open"
    with running(folder, "kubernetes-api", check="check = tcp every=1s fall=2 rise=1") as lb:
        names(lb, *((f"cp{n}", f"10.0.0.6{n}:6443") for n in (1, 2, 3)))
        lb.advance(2)
        assert {reached(lb, "api") for _ in range(6)} == {"cp1", "cp2", "cp3"}
        lb.origins["cp3"].stop()
        lb.advance(3)
        assert {reached(lb, "api") for _ in range(6)} == {"cp1", "cp2"}


def test_wordpress(folder: Path) -> None:
    with running(folder, "wordpress") as lb:
        for n in (1, 2):
            lb.origin(f"w{n}", f"10.0.0.7{n}:80")
        lb.advance(3)
        plain = lb.get("http://blog.example:8080/a?b=1")
        assert (plain.status, plain.header("Location")) == (301, "https://blog.example/a?b=1")
        page = lb.get("https://blog.example:8443/")
        assert page.status == 200 and page.header("Strict-Transport-Security")
        assert lb.get("https://blog.example:8443/xmlrpc.php").status == 403
        login = lb.get("https://blog.example:8443/wp-login.php")
        cookie = login.header("Set-Cookie").partition(";")[0]
        again = {
            lb.get("https://blog.example:8443/wp-admin/", headers={"Cookie": cookie}).server
            for _ in range(4)
        }
        assert again == {login.server}
        lb.origins[login.server].stop()
        assert lb.get("https://blog.example:8443/wp-admin/", headers={"Cookie": cookie}).server


def test_mastodon(folder: Path) -> None:
    with running(folder, "mastodon") as lb:
        for n in (1, 2):
            lb.origin(f"web{n}", f"10.0.0.8{n}:3000")
            lb.origin(f"s{n}", f"10.0.0.8{n}:4000")
        lb.advance(3)
        assert lb.get("https://m.example:8443/home").server.startswith("web")
        assert lb.get("https://m.example:8443/api/v1/streaming/user").server.startswith("s")
        assert lb.get("https://m.example:8443/api/v1/streamings").server.startswith("web")
        lb.origins["s1"].stop()
        assert lb.get("https://m.example:8443/api/v1/streaming").server == "s2"


def test_nextcloud(folder: Path) -> None:
    maintenance = {"n1": "false", "n2": "false"}

    def cloud(name: str) -> Callable[[Any], Answer]:
        return lambda request: Answer(body=f'{{"maintenance":{maintenance[name]}}}'.encode())

    with running(folder, "nextcloud") as lb:
        for n in (1, 2):
            lb.origin(f"n{n}", f"10.0.0.9{n}:80", cloud(f"n{n}"))
        lb.origin("push", "10.0.0.91:7867")
        lb.advance(3)
        assert lb.get("https://c.example:8443/push/ws").server == "push"
        moved = lb.get("https://c.example:8443/.well-known/caldav")
        assert moved.status == 301 and moved.header("Location").endswith("/remote.php/dav/")
        assert {lb.get("https://c.example:8443/").server for _ in range(4)} == {"n1", "n2"}
        maintenance["n1"] = "true"
        lb.advance(10)
        assert {lb.get("https://c.example:8443/").server for _ in range(4)} == {"n2"}


def test_jupyter(folder: Path) -> None:
    with running(folder, "jupyter") as lb:
        lb.origin("hub", "10.0.0.101:8000")
        lb.origin("spare", "10.0.0.102:8000")
        lb.advance(3)
        assert lb.get("https://j.example:8443/hub/login").server == "hub"
        lb.origins["hub"].stop()
        lb.advance(10)
        assert lb.get("https://j.example:8443/hub/login").server == "spare"


def test_sni_passthrough(folder: Path) -> None:
    kind, _ = probe("sni-passthrough", "web")
    assert kind == "tls"
    with running(folder, "sni-passthrough", check="check = tcp every=1s fall=2 rise=1") as lb:
        names(lb, ("m1", "10.0.0.111:443"), ("w1", "10.0.0.112:443"), ("w2", "10.0.0.113:443"))
        lb.advance(3)
        assert reached(lb, "tls", client_hello("mail.example.com")) == "m1"
        assert reached(lb, "tls", client_hello("www.example.com")).startswith("w")
        assert reached(lb, "tls", client_hello("www.example.net")) == ""
        lb.origins["w1"].stop()
        lb.advance(3)
        assert {reached(lb, "tls", client_hello("a.example.com"))[:2] for _ in range(3)} == {"w2"}


def test_ab_test(folder: Path) -> None:
    with running(folder, "ab-test") as lb:
        lb.origin("a", "10.0.0.121:8000")
        lb.origin("b", "10.0.0.122:8000")
        lb.advance(3)
        seen = [lb.get("http://s.example:8080/") for _ in range(50)]
        assert [one.server for one in seen].count("b") == 5
        visitor = next(one for one in seen if one.server == "b")
        cookie = visitor.header("Set-Cookie").partition(";")[0]
        again = [lb.get("http://s.example:8080/", headers={"Cookie": cookie}) for _ in range(5)]
        assert {one.server for one in again} == {"b"}
        assert lb.get("http://s.example:8080/", headers={"X-Version": "b"}).server == "b"
        lb.origins["b"].stop()
        assert lb.get("http://s.example:8080/", headers={"Cookie": cookie}).server == "a"


def test_blue_green(folder: Path) -> None:
    with running(folder, "blue-green") as lb:
        for n in (1, 2):
            lb.origin(f"blue{n}", f"10.0.0.13{n}:8000")
            lb.origin(f"green{n}", f"10.0.0.14{n}:8000")
        lb.advance(3)

        def colours(**headers: str) -> set[str]:
            found = (lb.get("http://s.example:8080/", headers=headers).server for _ in range(6))
            return {name.rstrip("12") for name in found}

        assert colours() == {"blue"}
        assert colours(**{"X-Preview": "green"}) == {"green"}
        for name in ("green1", "green2"):
            lb.service.ready("app", name)
        lb.advance(15)
        for name in ("blue1", "blue2"):
            lb.service.drain("app", name)
        assert colours() == {"green"}
        lb.origins["green1"].stop()
        lb.advance(5)
        assert {lb.get("http://s.example:8080/").server for _ in range(3)} == {"green2"}


def test_every_job_is_tested_and_in_the_page() -> None:
    found = {path.stem for path in JOBS.glob("*.ini")}
    tests = {name.removeprefix("test_").replace("_", "-") for name in globals() if "test_" in name}
    assert len(found) == 12 and found <= tests
    page = (DOCS / "migration.rst").read_text(encoding="utf-8")
    assert all(f"examples/jobs/{name}.ini" in page for name in found)


def test_the_words_of_the_tables_have_an_answer() -> None:
    """What the first columns name is explained, unless it is a word of lbproxy as well."""
    page = (DOCS / "migration.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^((?:``[\w -]+``(?:, )?)+)  ", page, flags=re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"``([\w -]+)``", row)]
    assert len(words) > 45
    for word in words:
        last = word.split()[-1]
        ours = last in (*SECTIONS, *MACROS)
        answers = (
            foreign_section(word),
            foreign_key(word) if not word.startswith("balance ") else "",
            foreign_option(word),
            foreign_plugin("balancer", last),
        )
        assert ours or any(answers), word


@pytest.mark.parametrize(
    "line",
    ["bind *:80", "server a 10.0.0.1:80 check", "option httpchk", "cookie SRV insert"],
)
def test_lines_of_haproxy_in_a_listen_section(line: str) -> None:
    with pytest.raises(ConfigErrors) as error:
        parse_config(f"[listen web]\n{line.replace(' ', ' = ', 1)}\n")
    assert "in lbproxy this is" in str(error.value)
