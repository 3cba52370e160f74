"""PURE. The options of the filter ``rewrite``."""

from __future__ import annotations

from attrs import frozen

from lbproxy.http.rewriter import Rewriter, plain_rewriter, regex_rewriter
from lbproxy.http.template import Template
from lbproxy.model import option

__all__ = ["RewriteOptions"]


@frozen
class RewriteOptions:
    """Options of ``rewrite``."""

    pattern: str = option(
        "string",
        doc="path, ``/prefix/*``, or ``~regex``, compared with the normalised path",
        positional=True,
        example="/api/*",
    )
    replacement: str = option(
        "string",
        doc=(
            "new path: ``*`` stands for the match of the pattern's star, ``$1`` for a group; may "
            "contain {variables}"
        ),
        positional=True,
        example="/*",
    )
    host: str = option(
        "string", "", doc="new Host header; may contain {variables}; empty: unchanged"
    )

    def __attrs_post_init__(self) -> None:
        if "#" in self.replacement:
            raise ValueError(
                f"replacement {self.replacement!r}: a fragment (#) is not sent to servers"
            )
        self.rewriter()
        Template(self.host, early=True)

    def rewriter(self) -> Rewriter:
        """The compiled pattern and replacement."""
        if self.pattern.startswith("~"):
            return regex_rewriter(self.pattern[1:], self.replacement)
        if not self.replacement.startswith(("/", "*", "{")):
            raise ValueError(f"replacement {self.replacement!r} must begin with '/' or '*'")
        return plain_rewriter(self.pattern, self.replacement)
