"""The budgets notice one superfluous copy of the fields of each request."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.count.budget import complaints
from tests.count.measure import Figure, count
from tests.count.parent import ROOT, counted_in
from tests.support.required import program

ROW = "browser"
PLACE = "        self._last = not head.keep_alive\n"
COPY = """\
        copied = [
            (head.lines.name_at(index), head.lines.value_at(index))
            for index in range(head.lines.count)
        ]
        assert copied is not None
"""


@pytest.mark.long
@pytest.mark.compiled
def test_an_extra_copy_of_the_fields_exceeds_the_budget(tmp_path: Path) -> None:
    """Compiles a copy of the sources in which the request parser copies every field."""
    program("valgrind")
    program("strace")
    ours = count(ROW, "lbproxy")
    root = tmp_path / "changed"
    copytree(ROOT, root, ignore=ignore_patterns(".*", "build", "*.so", "_build", "*.egg-info"))
    source = root / "lbproxy/http/h1_request.py"
    text = source.read_text()
    assert text.count(PLACE) == 1
    source.write_text(text.replace(PLACE, PLACE + COPY))
    changed = Figure(ROW, "lbproxy", *counted_in(root, [ROW])[ROW])
    allowed = {ROW: (ours.instructions, ours.calls)}
    assert complaints(allowed, [ours]) == []
    (complaint,) = complaints(allowed, [changed])
    assert "instructions are" in complaint
