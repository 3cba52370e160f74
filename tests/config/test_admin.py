"""``[lbproxy] admin``: where, for whom, and what is refused."""

from __future__ import annotations

import pytest

from lbproxy.config.dump import MASK, as_json
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.model import Address
from lbproxy.registry import parse_config

SITE = "[frontend web]\nlisten = tcp:8080\nbackend = app\n[backend app]\nservers = a 10.0.0.1:80\n"


def test_where(tmp_path) -> None:
    config = parse_config(
        "[lbproxy]\nadmin =\n    tcp:8404:interface=127.0.0.1 role=read\n"
        "    unix:run/lb.sock:mode=660\n    [::1]:9000\n" + SITE,
        base_dir=str(tmp_path),
    )
    one, two, three = config.settings.admin
    assert (one.address, one.role) == (Address("tcp", "127.0.0.1", 8404), "read")
    assert two.address == Address("unix", path=str(tmp_path / "run/lb.sock"))
    assert (two.mode, two.role) == (0o660, "write")
    assert three.address == Address("tcp", "::1", 9000)


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (
            "admin = tcp:8404",
            r":2: \[lbproxy\] admin: 'tcp:8404' can be reached from other machines",
        ),
        ("admin = 0.0.0.0:8404", "set admin_tokens"),
        ("admin = tcp6:8404", "can be reached from other"),
        ("admin =\n    unix:a.sock\n    10.0.0.1:8404", ":4: "),
        ("admin = tls:8404", "needs certificates="),
        ("admin = tcp:8404:interface=127.0.0.1 certificates=a.pem", "only for tls:"),
        ("admin = tcp:8404:interface=127.0.0.1 client_ca=a.pem", "only for tls:"),
        ("admin = tcp:8404:interface=127.0.0.1 mode=660", "only for unix sockets"),
        ("admin = unix:a.sock:mode=660 mode=600", "given twice"),
        ("admin = unix:a.sock role=admin", "allowed: read, write"),
        ("admin = unix:a.sock rol=read", "did you mean 'role'?"),
        ("admin = systemd:domain=INET:index=0", "write tcp:PORT, tls:PORT"),
        ("admin = role=read", "an address is missing"),
        ("admin = tcp:8404\nadmin_tokens = nowhere", "no such file: .*nowhere"),
        ("admin = tls:8404 certificates=nowhere.pem", "no such file or folder"),
        ("admin = 127.0.0.1:8404\n    127.0.0.1:8404", "the same address as at"),
        ("admin = tcp:8080:interface=127.0.0.1\nadmin_tokens = nowhere", "no such file"),
        ("admin = *:8080\nadmin_tokens = nowhere", "the same address as at"),
        ("admin_token = x", "did you mean 'admin_tokens'?"),
    ],
)
def test_mistakes(lines: str, wrong: str, tmp_path) -> None:
    with pytest.raises(ConfigErrors, match=wrong):
        parse_config(f"[lbproxy]\n{lines}\n{SITE}", base_dir=str(tmp_path))


def test_other_machines_with_tokens(tmp_path) -> None:
    (tmp_path / "tokens").write_text("")
    config = parse_config(
        f"[lbproxy]\nadmin = tcp:8404\nadmin_tokens = tokens\n{SITE}", base_dir=str(tmp_path)
    )
    assert config.settings.admin_tokens == str(tmp_path / "tokens")


def test_secrets_are_masked() -> None:
    config = parse_config(
        f"{SITE}filters =\n    set-header request Authorization 'Bearer abc'\n    set-header "
        "request X-A shown\n"
    )
    plain = as_json(config)["backends"]["app"]["filters"]
    assert plain[0]["options"]["value"] == "Bearer abc"
    masked = as_json(config, mask=True)["backends"]["app"]["filters"]
    assert [one["options"]["value"] for one in masked] == [MASK, "shown"]
