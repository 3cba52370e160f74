"""What the package index shows: the description, and addresses of the project.

A release names the address of its repository in ``LBPROXY_URL``. Links and pictures point there;
without it there are none, because a relative picture is broken outside the repository.
"""

from __future__ import annotations

import re
from pathlib import Path

PICTURE = re.compile(r"\.\. image:: (?P<path>\S+)\n(?:   :.*\n)*\n?")


def description(readme: Path, url: str) -> str:
    """README with pictures at ``url``, or without pictures where ``url`` is empty."""
    text = readme.read_text(encoding="utf-8")
    if not url:
        return PICTURE.sub("", text)
    return PICTURE.sub(
        lambda found: found[0].replace(found["path"], f"{url}/raw/main/{found['path']}"), text
    )


def addresses(url: str) -> dict[str, str]:
    """``project_urls`` of a repository."""
    if not url:
        return {}
    files = f"{url}/blob/main"
    return {
        "Source": url,
        "Documentation": f"{files}/docs/index.rst",
        "Changelog": f"{files}/CHANGELOG.rst",
        "Issues": f"{url}/issues",
        "Security": f"{files}/SECURITY.rst",
    }
