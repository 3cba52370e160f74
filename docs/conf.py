"""Sphinx: ``make docs``."""

from importlib import import_module
from inspect import cleandoc

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from zope.interface import Attribute
from zope.interface.interface import Method

from lbproxy import __version__

project = "lbproxy"
author = "The lbproxy authors"
copyright = "The lbproxy authors"
version = release = __version__

man_pages = [  # make man
    ("commands", "lbproxy", "a TCP and HTTP load balancer and reverse proxy", author, 1),
    ("reference", "lb.ini", "configuration of lbproxy", author, 5),
]
man_show_urls = False
today = "2026"  # in the manual pages, which change with their contents alone

html_theme = "furo"
html_title = f"lbproxy {__version__}"
html_show_sourcelink = False
exclude_patterns = ["_build", "examples", "man"]
highlight_language = "none"
nitpicky = False
extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True


class AutoInterface(SphinxDirective):
    """``.. autointerface:: module.IName``: a zope Interface with its attributes and methods."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of a class description made from the interface."""
        module, _, name = self.arguments[0].rpartition(".")
        interface = getattr(import_module(module), name)
        lines = [f".. py:class:: {self.arguments[0]}", "", *_indented(interface.__doc__, 3)]
        for member in interface.namesAndDescriptions():
            lines += ["", *_member(*member)]
        node = nodes.section()
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), 0, node)
        return node.children


def _member(name: str, described: Attribute) -> list[str]:
    if isinstance(described, Method):
        head = f"   .. py:method:: {name}{described.getSignatureString()}"
    else:
        head = f"   .. py:attribute:: {name}"
    return [head, "", *_indented(described.__doc__, 6)]


def _indented(text: str, columns: int) -> list[str]:
    return [" " * columns + line for line in cleandoc(text or "").splitlines()]


def _plain_links(app: Sphinx, tree: nodes.document, name: str) -> None:
    """Replace references to other pages by their text: a manual page has no other pages."""
    if app.builder.name == "man":
        for link in list(tree.findall(nodes.reference)):
            if link.get("internal"):
                link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    """Register the directive and the event handler."""
    app.connect("doctree-resolved", _plain_links)
    app.add_directive("autointerface", AutoInterface)
