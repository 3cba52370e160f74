"""The code blocks of the pages, and a folder in which they run.

Conventions the pages follow:

- a block with ``:caption: FILE`` (or ``:name: FILE``, which docutils knows too) is also written to
  that file, for the other blocks and commands of its page; a file called ``wrong*.ini`` is meant to
  be wrong;
- an ``ini`` block may be a fragment: :func:`complete` adds what it leaves out (backends that are
  only named, servers, the frontend of a backend, sections of keys that stand alone);
- in a ``console`` block, ``$ lbproxy check|explain|config`` is followed by what it prints; a line
  ``...`` stands for any number of lines.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from textwrap import dedent

from attrs import fields_dict, frozen

from lbproxy.config.sections import SECTIONS
from lbproxy.features import declare_keys
from lbproxy.tls.certificates import self_signed

declare_keys()
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.rst", *DOCS.glob("*.rst")])
EXAMPLES = DOCS / "examples"

_BLOCK = re.compile(
    r"^\.\. code-block:: (\w+)\n((?: +:\w+:.*\n)*)\n((?:(?: {3}.*)?\n)+)", re.MULTILINE
)


@frozen
class Block:
    """One code block; ``line`` is where it begins in its page."""

    page: str
    line: int
    language: str
    caption: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, language: str = "") -> list[Block]:
    """The code blocks of a page, of one language or all."""
    text = page.read_text(encoding="utf-8") + "\n"
    found = []
    for match in _BLOCK.finditer(text):
        caption = re.search(r":(?:caption|name): (\S+)", match[2])
        line = text.count("\n", 0, match.start()) + 1
        code = dedent(match[3]).strip("\n") + "\n"
        found.append(Block(page.name, line, match[1], caption[1] if caption else "", code))
    assert len(found) == text.count(".. code-block::"), f"{page.name}: a block was not understood"
    return [block for block in found if language in ("", block.language)]


def every(language: str) -> list[Block]:
    """The blocks of one language in all pages."""
    return [block for page in PAGES for block in blocks(page, language)]


def furnish(folder: Path) -> None:
    """Put into ``folder`` what the pages take for granted: the examples, certificates, a password,
    an ``lb.ini``.
    """
    shutil.copytree(EXAMPLES, folder / "docs" / "examples", dirs_exist_ok=True)
    certificate, key = self_signed(["www.example.com", "localhost"])
    for base in (folder, folder / "docs" / "examples"):
        (base / "certs").mkdir()
        for name in ("site", "client"):
            (base / "certs" / f"{name}.pem").write_bytes(certificate + key)
        (base / "ca.pem").write_bytes(certificate)
        (base / "secrets").mkdir()
        (base / "secrets" / "lb").write_text("a password\n", encoding="utf-8")
    shutil.copy(EXAMPLES / "web.ini", folder / "lb.ini")


def write_captioned(page: Path, folder: Path) -> None:
    """Write the files that a page's captions name."""
    for block in blocks(page):
        if block.caption and not block.caption.startswith("/"):
            (folder / block.caption).write_text(block.text, encoding="utf-8")


def complete(text: str) -> list[str]:
    """Whole configurations of what may be fragments."""
    if not re.search(r"^\[", text, re.MULTILINE):
        return [_whole(_section_of(entry)) for entry in _entries(text)]
    return [_whole(text)]


def _entries(text: str) -> list[str]:
    return [part for part in re.split(r"^(?=\w+ *=)", text, flags=re.MULTILINE) if part.strip()]


def _section_of(entry: str) -> str:
    key = entry.partition("=")[0].strip()
    kind = "backend" if key in fields_dict(SECTIONS["backend"].spec) else "frontend"
    return f"[{kind} fragment]\n{entry}"


def _whole(text: str) -> str:
    sections = {
        match[1].strip(): match[2]
        for match in re.finditer(r"^\[([^]]*)\]\n((?:(?!\[).*\n?)*)", text, re.MULTILINE)
    }
    added = dict.fromkeys(sections, "")
    named: set[str] = set()
    for name, body in sections.items():
        if name.startswith("frontend "):
            named |= set(re.findall(r"(?:^backend *=|->) *([\w.-]+) *$", body, re.MULTILINE))
            if "listen" not in body:
                added[name] += "listen = tcp:9999\n"
            if not re.search(r"^(backend|routes) *=", body, re.MULTILINE):
                added[name] += "backend = stub\n"
                named.add("stub")
        elif name.startswith("backend ") and "servers" not in body:
            added[name] += "servers = stub 127.0.0.1:9\n"
    for name in named:
        added.setdefault(f"backend {name}", "servers = stub 127.0.0.1:9\n")
    backends = {name.removeprefix("backend ") for name in added if name.startswith("backend ")}
    for port, name in enumerate(sorted(backends - named), 9000):
        added[f"frontend for-{name}"] = f"listen = tcp:{port}\nbackend = {name}\n"
    for name, lines in added.items():
        if name in sections:
            text = text.replace(f"[{name}]\n", f"[{name}]\n{lines}")
        else:
            text += f"\n[{name}]\n{lines}"
    return text
