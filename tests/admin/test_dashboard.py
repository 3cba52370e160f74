"""The dashboard's files as they are served; what they do is tested in
tests/live/test_dashboard.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbproxy.admin.parts.dashboard import FILES

from .kit import TEXT, admin

FOLDER = Path(__file__).resolve().parents[2] / "lbproxy" / "admin" / "dashboard"


def test_no_token_is_needed_for_what_holds_no_data(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("read grafana 0123456789abcdef-read\n")
    tokens.chmod(0o600)
    text = TEXT.replace("[lbproxy]", f"[lbproxy]\nadmin_tokens = {tokens}")
    with admin(text) as client:
        for path, name in FILES.items():
            answer = client.ask("GET", path)
            assert answer.status == 200, path
            assert answer.response.body == (FOLDER / name).read_bytes()
            policy = answer.response.header("Content-Security-Policy")
            assert "default-src 'self'" in policy and "unsafe" not in policy
            assert answer.response.header("X-Content-Type-Options") == "nosniff"
        assert client.ask("GET", "/").response.header("Content-Type") == "text/html; charset=utf-8"
        assert client.ask("GET", "/api/v1/state").status == 401


def test_every_file_is_served_and_is_packaged() -> None:
    there = {str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*") if p.is_file()}
    assert there - set(FILES.values()) == {"uplot/LICENSE", "uplot/VERSION"}
    assert set(FILES.values()) <= there
    packaged = (FOLDER.parents[2] / "setup.cfg").read_text()
    assert "admin/dashboard/*, admin/dashboard/uplot/*" in packaged


OURS = [
    name
    for name in FILES.values()
    if name.endswith((".html", ".css", ".js", ".svg")) and "uplot" not in name
]


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not re.findall(r"https?://(?!www\.w3\.org/)", text)
    if name.endswith(".html"):
        assert not re.findall(r"<script(?![^>]*src=)|<style|\bon\w+=|style=", text)


def test_the_page_names_files_that_are_served() -> None:
    text = (FOLDER / "index.html").read_text()
    named = set(re.findall(r'(?:src|href)="(dashboard/[^"]+)"', text))
    for script in OURS:
        if script.endswith(".js"):
            names = re.findall(r'from "\./([^"]+)"', (FOLDER / script).read_text())
            named |= {f"dashboard/{name}" for name in names}
    assert {f"/{name}" for name in named} == set(FILES) - {"/"}
