"""Which TLS a check speaks: the words of the check, the server's line, and what the probe needs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lbproxy.balance.live import LiveServer
from lbproxy.checks.checktls import CheckTLS
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.model import Address, CheckSpec, ServerSpec
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.tls.parameters import TLSParameters
from tests.support import tls

ADDRESS = Address("tcp", "app.test", 443)
TRAFFIC = TLSParameters(object(), server_side=False)


def asked(check: dict[str, Any], server: dict[str, Any], **probe: Any) -> Any:
    one = CheckTLS(
        CheckSpec(probe=None, **check),
        SimpleNamespace(**probe),
        (),
        lambda server: TRAFFIC if server.spec.tls else None,
    )
    state = LiveServer("app", ServerSpec("a", ADDRESS, **server))
    found = one(state)
    assert one(state) is found, "made once"
    return found


@pytest.mark.parametrize(
    ("check", "server", "probe"),
    [
        ({}, {}, {}),
        ({"no_tls": True}, {"tls": True}, {}),
    ],
)
def test_in_the_clear(check: Any, server: Any, probe: Any) -> None:
    assert asked(check, server, **probe) is None


@pytest.mark.parametrize("check", [{}, {"tls": True}])
def test_as_traffic(check: Any) -> None:
    assert asked(check, {"tls": True}) is TRAFFIC


def host(parameters: Any) -> str:
    return str(parameters.creator.host)


def test_of_its_own() -> None:
    assert host(asked({"tls": True}, {})) == "app.test"
    assert host(asked({}, {}, secure=True)) == "app.test"
    assert host(asked({"tls": True, "sni": "health.test"}, {})) == "health.test"
    assert host(asked({"sni": "health.test"}, {"tls": True, "sni": "x.test"})) == "health.test"
    assert host(asked({"verify": False}, {"tls": True, "sni": "x.test"})) == "x.test"
    elsewhere = {"check_address": Address("tcp", "health.test", 1)}
    assert host(asked({"tls": True}, elsewhere)) == "health.test"


def config(check: str, server: str = "") -> str:
    return (
        "[frontend f]\nmode = tcp\nlisten = tcp:9999\nbackend = b\n"
        f"[backend b]\nservers = a 10.0.0.1:80 {server}\ncheck = {check}\n"
    )


@pytest.mark.parametrize(
    ("check", "server", "message"),
    [
        ("tcp sni=x.test", "", "'sni' has no effect without 'tls'"),
        ("tcp verify=no", "", "'verify' has no effect without 'tls'"),
        ("tcp no_tls sni=x.test", "tls", "'sni' has no effect with 'no_tls'"),
        ("tcp no_tls tls", "", "'tls' has no effect with 'no_tls'"),
        ("tls no_tls", "", "'tls', as written, needs TLS"),
        ("tcp tls ca=nowhere.pem", "", "no such file"),
        ("tcp port=70000", "", "port"),
    ],
)
def test_mistakes(check: str, server: str, message: str) -> None:
    with pytest.raises(ConfigErrors, match=message):
        parse_config(config(check, server))


def test_a_bad_authority_is_found_at_load(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with (
        pytest.raises(ConfigErrors, match=r"\[backend b\] check: .*no certificate"),
        LB.from_config(config(f"tcp tls ca={tmp_path}/ca.pem")),
    ):
        pass


def test_a_server_on_a_socket_needs_a_name(tmp_path: Path) -> None:
    tls.ca_file(tmp_path)
    text = config("tls").replace("10.0.0.1:80", f"unix:{tmp_path}/x")
    with pytest.raises(ConfigErrors, match="set sni"), LB.from_config(text):
        pass
