"""``lbproxy keys``: keys are printed once and stored as hashes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lbproxy.cli import main
from lbproxy.cors.keys import KeyRing
from lbproxy.proxy.features.corsproxy.usagefile import UsageFile


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words])


def ring(path: Path) -> KeyRing:
    return KeyRing.read(path.read_text())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "apikeys.json"


def test_add_list_revoke(file: Path) -> None:
    where = ["--file", str(file)]
    added = run("add", "app", "--origin", "https://a.example", "--target", "b.example/v1/*", *where)
    assert added.exit_code == 0, added.output
    key = added.stdout.strip()
    assert len(key) == 32
    assert key not in file.read_text()
    found = ring(file).find(key, 0.0)
    assert found is not None
    assert (found.name, found.origins, found.targets) == (
        "app",
        ("https://a.example",),
        ("b.example/v1/*",),
    )
    assert file.stat().st_mode & 0o777 == 0o640
    assert run("add", "app", *where).exit_code == 2
    second = run("add", "temporary", "--expires", "30d", *where)
    assert second.exit_code == 0
    assert second.stdout != added.stdout
    listed = run("list", *where)
    assert listed.stdout.splitlines()[0] == "app origin=https://a.example target=b.example/v1/*"
    assert listed.stdout.splitlines()[1].startswith("temporary expires=")
    file.chmod(0o600)
    assert run("revoke", "app", *where).stdout == "revoked app\n"
    assert ring(file).find(key, 0.0) is None
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("revoke", "app", *where).exit_code == 2


def test_the_file_that_a_configuration_names(tmp_path: Path) -> None:
    config = tmp_path / "lb.ini"
    text = "[frontend cors]\nmode = corsproxy\nlisten = tcp:8090\n"
    config.write_text(text + "keys = apikeys.json\n")
    assert run("add", "app", "--config", str(config)).exit_code == 0
    assert [one.name for one in ring(tmp_path / "apikeys.json").records] == ["app"]
    config.write_text(text + "open = yes\n")
    result = run("list", "--config", str(config))
    assert result.exit_code == 2
    assert "names no file of keys; use --file" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "a b"], "is not the name of a key"),
        (["add", "a", "--origin", "a.example"], "is not an origin"),
        (["add", "a", "--target", "*"], "is not a target"),
        (["add", "a", "--expires", "soon"], "not a duration"),
        (["list"], "no such file"),
    ],
)
def test_mistakes(file: Path, words: list[str], message: str) -> None:
    result = run(*words, "--file", str(file))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not file.exists()


def test_a_file_that_is_wrong_is_not_replaced(file: Path) -> None:
    file.write_text("{")
    assert run("add", "a", "--file", str(file)).exit_code == 2
    assert file.read_text() == "{"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_the_owner_of_the_file_stays(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    os.chown(folder, 4001, 4002)
    file = folder / "apikeys.json"
    for name, owner in (("a", (4001, 4002)), ("b", (4003, 4004))):
        assert run("add", name, "--file", str(file)).exit_code == 0
        assert (file.stat().st_uid, file.stat().st_gid) == owner
        os.chown(file, 4003, 4004)
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_to_the_file_stays(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real.json")
    assert run("add", "a", "--file", str(link)).exit_code == 0
    assert link.is_symlink()
    assert [one.name for one in ring(tmp_path / "real.json").records] == ["a"]


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    result = run("add", "a", "--file", str(tmp_path / "missing" / "keys.json"))
    assert result.exit_code == 2
    assert "No such file or directory" in result.stderr


def test_rules_and_usage(file: Path) -> None:
    where = ["--file", str(file)]
    words = ["--requests", "5/1h", "--bytes", "1g/1d", "--concurrent", "4", "--method", "get"]
    added = run("add", "app", *words, "--referrer", "a.example/*", *where)
    assert added.exit_code == 0, added.output
    listed = run("list", *where).stdout
    rules = "method=GET referrer=a.example/* requests=5/1h bytes=1g/1d concurrent=4"
    assert listed == f"app {rules}\n"
    assert "requests 0 of 5" in run("usage", *where).stdout
    assert not Path(f"{file}.usage").exists()
    usage = UsageFile(f"{file}.usage", subjects=10)
    digest = ring(file).records[0].sha256
    with usage.locked() as table:
        table.add(digest, 1_800_000_000.0, requests=7.0, bytes_out=2048.0)
    usage.close()
    shown = run("usage", "app", *where)
    assert shown.exit_code == 0, shown.output
    assert "2027-01-15T08:00:00Z" in shown.stdout
    (found,) = json.loads(run("usage", "app", "--json", *where).stdout)
    assert (found["requests"], found["bytes_out"], found["quotas"]["requests"]) == (7, 2048, [0, 5])
    assert run("usage", "other", *where).exit_code == 2


def test_usage_from_a_file_that_is_none(file: Path) -> None:
    where = ["--file", str(file)]
    assert run("add", "app", *where).exit_code == 0
    Path(f"{file}.usage").write_text("other")
    result = run("usage", *where)
    assert result.exit_code == 2
    assert "not a file of usage" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--requests", "5"], "is not a rate"),
        (["--bytes", "1g/1ms"], "less than a second"),
        (["--method", "a b"], "not a method"),
        (["--referrer", "https://a.example"], "is not a target"),
    ],
)
def test_mistakes_of_rules(file: Path, words: list[str], message: str) -> None:
    result = run("add", "app", *words, "--file", str(file))
    assert result.exit_code == 2
    assert message in result.stderr
