"""HTTPS towards clients and towards servers, as curl and nginx see it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.live.clients import connect, run
from tests.live.test_http import web
from tests.support import tls
from tests.support.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-tls")]


@pytest.fixture(scope="module")
def certificates(live_folder):
    """A folder with a certificate for two names and one with a wildcard; the authority
    beside it.
    """
    folder = live_folder / "certs"
    folder.mkdir()
    tls.write(tls.issue("one.test", "two.test"), folder, "a-pair")
    tls.write(tls.issue("*.wild.test"), folder, "b-wild", both=False)
    tls.ca_file(live_folder)
    return folder


@pytest.fixture
def site(balancer, nginx_pair, certificates):
    """lbproxy with a listener for TLS 1.2 and 1.3 and one for TLS 1.3 alone, before two origins."""
    port, strict = free_port(), free_port()
    listen = (
        f"    tls:{port}:interface=127.0.0.1 certificates={certificates}\n"
        f"    tls:{strict}:interface=127.0.0.1 certificates={certificates} min_version=1.3\n"
    )
    servers = "".join(f"    {origin.name} {origin.address}\n" for origin in nginx_pair)
    lb = balancer(
        f"[frontend web]\nlisten =\n{listen}backend = app\n[backend app]\nservers =\n{servers}"
    )
    return lb, port, strict


@pytest.fixture
def fetch(curl, live_folder, certificates):
    """``fetch(port, name, path, options...)`` by curl, which verifies the certificate."""

    def call(port, name, path, *options, check=True):
        command = [curl, "--http1.1", "-sS", "--cacert", str(live_folder / "ca.pem")]
        command += ["--resolve", f"*:{port}:127.0.0.1", *options, f"https://{name}:{port}{path}"]
        return run(command, check=check)

    return call


def test_curl_verifies(site, fetch):
    lb, port, _ = site
    done = fetch(port, "one.test", "/hello?[1-20]")
    assert Counter(done.stdout.split("\n")[:-1]) == {"hello from a": 10, "hello from b": 10}
    records = lb.wait_records(20, method="GET")
    assert {(r["tls_version"], r["sni"], r["alpn"]) for r in records} == {
        ("TLSv1.3", "one.test", "http/1.1")
    }


def test_server_name_chooses_the_certificate(site, fetch):
    _, port, _ = site
    for name in ("one.test", "two.test", "x.wild.test", "y.wild.test"):
        assert fetch(port, name, "/hello").stdout.startswith("hello from")
    for name in ("three.test", "wild.test", "x.y.wild.test"):
        done = fetch(port, name, "/hello", check=False)
        assert done.returncode == 60, (name, done)  # not a certificate for that name


def test_an_authority_that_is_not_trusted(site, curl):
    _, port, _ = site
    command = [curl, "-sS", "--resolve", f"one.test:{port}:127.0.0.1"]
    assert run([*command, f"https://one.test:{port}/hello"], check=False).returncode == 60


def test_versions(site, fetch):
    lb, port, strict = site
    assert fetch(port, "one.test", "/hello", "--tls-max", "1.2").stdout
    assert lb.wait_records(1, method="GET")[0]["tls_version"] == "TLSv1.2"
    assert fetch(strict, "one.test", "/hello", "--tlsv1.3").stdout
    assert fetch(strict, "one.test", "/hello", "--tls-max", "1.2", check=False).returncode == 35
    old = ("--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
    assert fetch(port, "one.test", "/hello", *old, check=False).returncode == 35


def test_alpn(site, openssl):
    _, port, _ = site
    command = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "one.test"]
    assert "ALPN protocol: http/1.1" in run([*command, "-alpn", "h2,http/1.1"]).stdout
    assert "No ALPN negotiated" in run(command).stdout


def test_handshakes_that_are_none(site, fetch):
    """Garbage, a client that says nothing, and one that speaks HTTP: the others do not notice."""
    _, port, _ = site
    with connect(port) as silent, connect(port) as plain, connect(port) as noise:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        noise.sendall(bytes(range(256)) * 10)
        for _ in range(5):
            assert fetch(port, "two.test", "/small").stdout.startswith("xxx")
        silent.sendall(b"\x16\x03")


def test_large_answers_and_bodies(site, curl, live_folder, tmp_path):
    lb, port, _ = site
    path = tmp_path / "up"
    path.write_bytes(bytes(20_000_000))
    command = [curl, "--http1.1", "-sS", "--cacert", str(live_folder / "ca.pem")]
    command += ["--resolve", f"one.test:{port}:127.0.0.1"]
    url = f"https://one.test:{port}"

    def both():
        assert (
            run([*command, "-X", "POST", "-T", str(path), f"{url}/upload"]).stdout == "20000000\n"
        )
        size = run(
            [*command, "-o", "/dev/null", "-w", "%{size_download}", f"{url}/1g", "-r", "0-99999999"]
        )
        assert size.stdout == "100000000"

    _, growth = lb.growth(both)
    assert growth < 30


@pytest.fixture
def secure_origin(nginx, tmp_path):
    """nginx with a certificate for ``app.test`` only."""
    tls.ca_file(tmp_path)
    pem = tls.write(tls.issue("app.test"), tmp_path, "origin")
    return nginx("a", certificate=pem)


def secure(origin, words):
    return f"127.0.0.1:{origin.tls_port} tls {words}"


def test_server_with_the_right_name(balancer, secure_origin, curl, tmp_path):
    port = free_port()
    words = f"sni=app.test ca={tmp_path}/ca.pem"
    check = "check = http GET /healthz expect=200 every=100ms rise=1"
    lb = balancer(web(port, secure(secure_origin, words), check=check))
    for _ in range(3):
        done = run([curl, "-sS", f"http://127.0.0.1:{port}/hello"])
        assert done.stdout == "hello from a\n"
    assert [r["reused"] for r in lb.wait_records(3, method="GET")] == [False, True, True]


@pytest.mark.parametrize(
    "words",
    ["sni=other.test ca={}/ca.pem", "ca={}/ca.pem", "sni=app.test"],
    ids=["wrong-name", "address-not-in-certificate", "authority-not-trusted"],
)
def test_server_that_does_not_verify(balancer, secure_origin, curl, tmp_path, words):
    port = free_port()
    lb = balancer(web(port, secure(secure_origin, words.format(tmp_path))))
    done = run(
        [curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/hello"]
    )
    assert done.stdout == "502"
    (record,) = lb.wait_records(1, method="GET")
    assert (record["status"], record["close"]) == (502, "server_tls")
    assert record["detail"]


def test_check_over_tls_takes_a_server_with_the_wrong_name_down(balancer, secure_origin, tmp_path):
    words = f"sni=other.test ca={tmp_path}/ca.pem"
    check = "check = http GET /healthz expect=200 every=100ms fall=1"
    lb = balancer(web(free_port(), secure(secure_origin, words), check=check))
    lb.wait_output("server app/a is down")
