"""What Sphinx is told. `build.py` puts the sources together and calls it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import logitlab
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "logitlab"
version = release = logitlab.__version__
project_copyright = "the authors of logitlab, MIT"

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton", "mathml", "names"]
nb_execution_mode = "off"  # outputs are those that are committed
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nitpicky = True
default_role = "py:obj"
autodoc_default_options = {"members": True}
autodoc_typehints = "none"  # the sections of a docstring say more
autodoc_class_signature = "mixed"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = f"logitlab {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_search_scorer = str(HERE / "scorer.js")  # the page of a parameter before its function
html_show_search_summary = False  # a page that is a file may not read another one
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _open_one_branch(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let the sidebar open where the reader is: all of it on every page took half of the build."""
    if (whole := context.get("toctree")) is not None:
        context["toctree"] = lambda **options: whole(**(options | {"collapse": True}))


def setup(app: Sphinx) -> None:
    """Change what the theme asks for, before it does."""
    app.connect("html-page-context", _open_one_branch, priority=100)
