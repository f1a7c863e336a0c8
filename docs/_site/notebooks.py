"""Notebooks from their percent-format sources, with what a page needs to know of them."""

import jupytext
from nbformat import NotebookNode


def read(text: str) -> NotebookNode:
    """The notebook of a .py source; its language colours the cells also where they were not executed."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    return notebook
