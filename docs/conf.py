"""Sphinx: ``make docs``."""

from lbproxy import __version__

project = "lbproxy"
author = "The lbproxy authors"
copyright = "The lbproxy authors"
version = release = __version__

html_theme = "furo"
html_title = f"lbproxy {__version__}"
html_show_sourcelink = False
exclude_patterns = ["_build", "examples"]
highlight_language = "none"
nitpicky = False
