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


def _escape_stars(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def]
    """Escapes the stars of shapes such as [n, *z_shape], which are not emphasis."""
    lines[:] = [re.sub(r"(?<=[\[ ,(])\*(?=\w)", r"\*", line) for line in lines]


def setup(app):  # type: ignore[no-untyped-def]
    """Inserts what is generated from the code into the pages, before they are parsed."""
    app.connect("source-read", lambda app, name, text: text.__setitem__(0, insert_generated(text[0])))
    app.connect("autodoc-process-docstring", _escape_stars)
