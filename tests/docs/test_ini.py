"""Every configuration in the documentation is one that lbproxy takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import load_config, parse_config
from lbproxy.testing import LB

from .pages import DOCS, EXAMPLES, ROOT, Block, blocks, complete, every, furnish, write_captioned

BLOCKS = every("ini")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.glob("*.ini"))])
def test_example_starts_and_stops(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, lbproxy_factory: object
) -> None:
    monkeypatch.chdir(folder / "docs" / "examples")
    config = load_config(name)
    assert config.frontends
    text = Path(name).read_text(encoding="utf-8")
    with LB.from_config(text) as lb:
        assert all(listener.address is not None for listener in lb.service.listeners)


def test_the_first_example_needs_nothing_but_itself() -> None:
    config = load_config(EXAMPLES / "web.ini")
    addresses = [one.address for frontend in config.frontends for one in frontend.listen]
    servers = [server.target.address for backend in config.backends for server in backend.servers]
    assert all(a is not None and a.host == "127.0.0.1" and a.port > 1024 for a in addresses)
    assert all(a.host == "127.0.0.1" for a in servers)
    assert not config.certificates
    assert config.settings.access_log.path == "stdout"


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_is_good(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    page = (ROOT if block.page == "README.rst" else DOCS) / block.page
    write_captioned(page, folder)
    _write_plugins(block, page, folder)
    for text in complete(re.sub(r"/etc/ssl/\S+", "certs/site.pem", block.text)):
        if block.caption.startswith("wrong"):
            with pytest.raises(ConfigErrors):
                parse_config(text)
            continue
        try:
            parse_config(text)
        except ConfigErrors as errors:
            pytest.fail(f"{block}\n{text}\n{errors}")


def _write_plugins(block: Block, page: Path, folder: Path) -> None:
    """Files of the user's own that a block names hold all Python of its page, unless a caption says
    better.
    """
    for name in re.findall(r"([\w/.-]+\.py):\w", block.text):
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(b.text for b in blocks(page, "python")), encoding="utf-8")


def test_there_are_enough_of_them() -> None:
    assert len(BLOCKS) > 25
    assert len(list(EXAMPLES.glob("*.ini"))) >= 8
