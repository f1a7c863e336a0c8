"""vega.js is a third party's, byte for byte, and no file of a page ends the element that holds it."""

from importlib.metadata import version

import pytest
from reports.bundled import RELEASE, bundled

from workbench.reports.page import resource


def test_the_script_is_what_the_pinned_release_bundles():
    if version("vl-convert-python") != RELEASE:
        pytest.skip(f"vega.js is of vl-convert-python {RELEASE}: python tests/reports/bundled.py makes another")
    assert bundled() == resource("vega.js")


def test_the_script_ends_no_element_that_holds_it():
    for name in ("vega.js", "page.js", "page.css"):
        text = resource(name).lower()
        assert "</script" not in text
        assert "<!--" not in text
        assert "</style" not in text
