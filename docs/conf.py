"""How the site is made of docs/, notebooks/ and docstrings: by `make docs`, with warnings as errors.

The source is the whole repository, so that a link leads to the same page here as on GitHub. Nothing is fetched, neither
when the site is built nor when it is read.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from ipython_pygments_lexers import IPython3Lexer
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inspect import stringify_signature

import fraiseql_events

project = "fraiseql_events"
version = release = fraiseql_events.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*.ipynb", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = [".venv", "docs/_build"]
highlight_language = "text"
smartquotes_action = "D"  # dashes: quotes are often of code
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(collections|datetime|os|pathlib|pa|pd|pl|pyarrow|typing)\..+"),  # of other libraries
    ("py:class", "Any|Callable.*|F|Iterator|Literal|Mapping|Path|Sequence|datetime"),
    ("py:obj", "[a-z_]+"),  # an argument, or a column
]

myst_heading_anchors = 3
nb_execution_mode = "off"

default_role = "py:obj"
add_module_names = False
python_maximum_signature_line_length = 80
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
templates_path = ["_templates"]
html_additional_pages = {"index": "redirect.html"}

#: `EventClient` and `serve` make these; nobody else does.
MADE_BY_OTHERS = ("EventStream", "Live", "Service")


def _as_written(app: Sphinx, what: str, name: str, thing: Any, *_: Any) -> tuple[str, str | None] | None:
    """A signature as it stands in the source, where types have short names."""
    if name.rpartition(".")[2] in MADE_BY_OTHERS:
        return "", None
    if what not in ("function", "method", "class"):
        return None
    signature = inspect.signature(thing)
    shown = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    text = stringify_signature(signature.replace(parameters=shown), show_return_annotation=False)
    returned = signature.return_annotation
    return text, None if returned in (inspect.Signature.empty, "None", "Any") else returned


def _keep_colon(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in a property's first line for its type: so that is a comment."""
    if what == "property":
        lines[:0] = ["..", ""]


def _types_beside_names(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Napoleon writes an attribute's type behind its description."""
    attribute = r"(\.\. attribute:: \w+\n)((?:(?!\.\. attribute::).)*?)\n   (:type: [^\n]+\n)"
    lines[:] = re.sub(attribute, r"\1   \3\2", "\n".join(lines), flags=re.DOTALL).split("\n")


def setup(app: Sphinx) -> None:
    """Colours `%fraiseql` and `!ls` in cells; shows a method once where type checkers see it for each kind of frame."""
    app.add_lexer("python", IPython3Lexer)
    analyzer = ModuleAnalyzer.for_module("fraiseql_events.client")
    analyzer.analyze()
    analyzer.overloads.clear()
    app.connect("autodoc-process-signature", _as_written)
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)  # before Napoleon
    app.connect("autodoc-process-docstring", _types_beside_names, priority=600)  # behind Napoleon
