"""Sphinx: the site of the documentation, from Markdown beside this file and the docstrings of the code."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "scMagnify platform"
author = "the scMagnify platform's authors"
release = version = _project["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = f"{project} {release}"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}
exclude_patterns = ["benchmarks/*"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

templates_path = ["_templates"]
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Annotations hold array shapes (jaxtyping), which are text and not names.
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"  # docstrings write `name`, as Markdown does
suppress_warnings = ["myst.xref_missing"]  # links from deploy/ to files of the repository
