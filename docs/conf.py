"""The site that `make docs` builds: Markdown pages of this folder, the README, results and notebooks as they lie."""

import os
import sys
from importlib.metadata import version as release_of
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

project = "Curriculum workbench"
author = "The authors of the curriculum workbench"
copyright = "the authors, Apache 2.0"
release = version = release_of("curriculum-workbench")

# The source folder is that of the repository, so that one link serves on the site and in the repository.
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "_site"]
root_doc = "README"
include_patterns = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md", "notebooks/*.py", "sims/results/README.md",
    "real_runs/README.md", "real_runs/results/**.md", "examples/my_rule/README.md",
]  # fmt: skip
exclude_patterns = [
    ".*", "build", "dist", "results", "workbench", "tests", "**/__pycache__", "notebooks/results", "*.egg-info",
    "docs/_site",
]  # fmt: skip

# Markdown
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
html_math_renderer = "mathml"  # browsers draw it themselves: no script and no font from elsewhere

# notebooks: percent-format sources, executed once and kept; an edit of a cell runs that notebook again
nb_custom_formats = {".py": "_site.notebooks.read"}
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
profile = ROOT / "build" / "ipython" / "profile_default"  # whatever profile this machine has
profile.mkdir(parents=True, exist_ok=True)
(profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")  # errors; a note on sockets is none
os.environ |= {"IPYTHONDIR": str(profile.parent), "PYTHONPATH": str(ROOT)}
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # nothing is loaded from elsewhere

# reference
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in (
    "ArrayLike", "Array", "BoolArray", "Chances", "FloatArray", "Floats", "Items", "Lanes", "Statistic", "Weights",
)}  # fmt: skip
autodoc_class_signature = "mixed"
maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
default_role = "code"

# HTML
html_theme = "furo"
html_title = "Curriculum workbench"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_extra_path = ["_site/index.html"]
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"
highlight_language = "text"  # equations of docstrings stand as they are written
pygments_style = "tango"
pygments_dark_style = "monokai"
