"""Sphinx: ``make docs``."""

from importlib import import_module
from inspect import cleandoc
from pydoc import locate
from sys import modules

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
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
nitpicky = True
nitpick_ignore_regex = [  # no inventories are fetched: the pages build without a network
    (r"py:.*", r"(?!lbproxy\b)[a-z_]+\..*"),  # twisted.internet.defer.Deferred
    (r"py:.*", r"bool|bytes|dict|float|frozenset|int|list|object|set|str|tuple|type"),
    (r"py:.*", r"Any|Callable|Final|Iterable|Iterator|Literal|Mapping|Path|Protocol|Sequence"),
    (r"py:class", r".*\.(_\w+|\w*T)|Service"),  # private classes, type variables, Twisted's
]
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
        lines = _class(module, name, interface.__doc__)
        for member in interface.namesAndDescriptions():
            lines += ["", *_member(*member)]
        return _parsed(self, lines)


class AutoNamed(SphinxDirective):
    """``.. autonamed:: module.Class``: a class with its text, without constructor and members."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of a class description made from the docstring."""
        module, _, name = self.arguments[0].rpartition(".")
        return _parsed(self, _class(module, name, getattr(import_module(module), name).__doc__))


def _class(module: str, name: str, text: str) -> list[str]:
    return [f".. py:class:: {name}", f"   :module: {module}", "", *_indented(text, 3)]


def _parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    node = nodes.section()
    directive.state.nested_parse(
        StringList(lines, source=directive.arguments[0]), directive.content_offset, node
    )
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


def _by_name(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Element
) -> nodes.Element | None:
    """Resolve a name of lbproxy written without its module, or with the module that defines it.

    A public class has a name of its own in all of lbproxy. What is not described itself leads to
    the class or the module it belongs to.
    """
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    if "." in target and not target.startswith("lbproxy.") and not target[:1].isupper():
        return None
    objects = env.get_domain("py").objects
    own, *around = _candidates(target)
    if node.get("reftype") in ("attr", "data", "func", "meth"):
        around += [(node.get("py:class") or "").rpartition(".")[2], node.get("py:module") or ""]
    for wanted in filter(None, (own, *around)):
        found = {
            (entry.docname, entry.node_id): name
            for name, entry in objects.items()
            if name == wanted or name.endswith(f".{wanted}")
        }
        if len(found) != 1:
            continue
        ((place, name),) = found.items()
        if wanted == own or _has(locate(name), target.rpartition(".")[2]):
            return make_refnode(app.builder, node.get("refdoc", ""), *place, [content])
    return None


def _has(owner: object, name: str) -> bool:
    """Whether a class or module, or the module of a class, has such a name."""
    module = modules.get(getattr(owner, "__module__", ""))
    return (
        hasattr(owner, name)
        or name in getattr(owner, "__annotations__", ())
        or hasattr(module, name)
    )


def _candidates(target: str) -> list[str]:
    """Return the names to look for: the object itself, else its class or its module."""
    *_, owner, name = ("", *target.split("."))
    if owner[:1].isupper():
        return [f"{owner}.{name}", owner]
    if name[:1].isupper() and not name.isupper():
        return [name]
    return [target, target.rpartition(".")[0]]


def setup(app: Sphinx) -> None:
    """Register the directives and the event handlers."""
    app.connect("doctree-resolved", _plain_links)
    app.connect("missing-reference", _by_name)
    app.add_directive("autointerface", AutoInterface)
    app.add_directive("autonamed", AutoNamed)
