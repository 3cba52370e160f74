"""Who somebody is: token files."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from lbproxy.admin.auth import Identity, Role, TokenError, Tokens

LONG = "0123456789abcdef0123"


def test_tokens_name_somebody_with_a_role() -> None:
    hashed = sha256(b"another-long-token-x").hexdigest()
    tokens = Tokens.parse(f"# who\nread grafana {LONG}  # scrapes\nwrite alice sha256:{hashed}\n")
    assert tokens.identify(LONG.encode()) == Identity("grafana", Role.READ)
    assert tokens.identify(b"another-long-token-x") == Identity("alice", Role.WRITE)
    assert tokens.identify(hashed.encode()) is None, "the hash is not the token"
    assert tokens.identify(b"") is None
    assert tokens.identify(LONG.encode()[:-1]) is None


def test_nobody_may_more_than_the_listener() -> None:
    assert Identity("alice", Role.WRITE).at_most(Role.READ).role is Role.READ
    assert Identity("grafana", Role.READ).at_most(Role.WRITE).role is Role.READ


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no token"),
        ("# only a comment", "no token"),
        (f"read {LONG}", ":1: not ROLE NAME TOKEN"),
        (f"\nadmin x {LONG}", ":2: unknown role 'admin'"),
        ("read x short", "less than 16"),
        ("read x sha256:12", "64 hexadecimal"),
        (f"read x {LONG}\nwrite x {LONG}1", ":2: the name 'x' is already defined"),
        (f"read x/y {LONG}", ":1: "),
    ],
)
def test_a_token_file_that_cannot_be_used(text: str, wrong: str) -> None:
    with pytest.raises(TokenError, match=wrong):
        Tokens.parse(text)


def test_the_file_is_nobody_elses_business(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"read x {LONG}\n")
    path.chmod(0o644)
    with pytest.raises(TokenError, match="all users of this machine can read it: chmod o-rwx"):
        Tokens.load(str(path))
    path.chmod(0o640)
    assert Tokens.load(str(path)).identify(LONG.encode()) is not None
    with pytest.raises(TokenError, match="No such file"):
        Tokens.load(str(tmp_path / "none"))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TokenError, match="tokens: "):
        Tokens.load(str(path))
