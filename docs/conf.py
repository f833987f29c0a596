"""Configuration of the documentation site, which `make docs` builds."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for tools

import gankit  # noqa: E402
from tools.reference import insert_generated  # noqa: E402

project, author, version = "gankit", "gankit contributors", gankit.__version__
copyright = author  # noqa: A001
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "literal"  # the docstrings mark code by single backticks
nitpicky = False

html_theme = "furo"
html_title = f"gankit {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("Images", "LabelRequest", "ArrayLike", "Mode")}
autodoc_default_options = {"members": True}
maximum_signature_line_length = 90
napoleon_numpy_docstring = False


_COLON = "\0"  # stands for a colon while napoleon looks for types


def _hide_colons(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def]
    """Keeps napoleon from reading the sentence `Where it runs: …` of an attribute as its type."""
    if what in ("attribute", "property"):
        lines[:] = [line.replace(":", _COLON) for line in lines]


def _clean(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def]
    """Restores colons, and escapes the stars of shapes such as [n, *z_shape], which are not emphasis."""
    lines[:] = [re.sub(r"(?<=[\[ ,(])\*(?=\w)", r"\*", line).replace(_COLON, ":") for line in lines]


def _shorten_signature(app, what, name, obj, options, signature, result):  # type: ignore[no-untyped-def]
    """Names type aliases, and omits the constructor that users never call."""
    if name == "gankit.Generator":
        return "", None
    alias = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
    return signature and (alias.sub(r"\1", signature), alias.sub(r"\1", result or "") or None)


def setup(app):  # type: ignore[no-untyped-def]
    """Inserts what is generated from the code into the pages, before they are parsed."""
    app.connect("source-read", lambda app, name, text: text.__setitem__(0, insert_generated(text[0])))
    app.connect("autodoc-process-docstring", _hide_colons, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", _clean, priority=600)
    app.connect("autodoc-process-signature", _shorten_signature)
