"""The script of a page comes from its package, is kept in a cache, and ends no element that holds it."""

import pytest

from workbench.extras import MissingExtra
from workbench.reports import bundle
from workbench.reports.page import resource


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache of this test's own; bundle.vega() as in a new process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle.vega.cache_clear()
    yield tmp_path / "rft-workbench"
    bundle.vega.cache_clear()


def count_bundles(monkeypatch):
    import vl_convert

    made, calls = vl_convert.javascript_bundle, []
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: calls.append(snippet) or made(snippet))
    return calls


def test_the_script_is_bundled_once_and_again_where_its_file_is_damaged(home, monkeypatch):
    calls = count_bundles(monkeypatch)
    first = bundle.vega()
    (path,) = home.glob("vega-*.js")
    assert path.read_text() == first
    bundle.vega.cache_clear()
    assert bundle.vega() == first
    assert len(calls) == 1
    path.write_text(first[:-1])
    bundle.vega.cache_clear()
    assert bundle.vega() == first
    assert path.read_text() == first
    assert len(calls) == 2
    assert "vegaEmbed" in first


def test_a_cache_that_cannot_be_written_is_done_without(home):
    home.parent.joinpath("rft-workbench").write_text("a file in the folder's place")
    assert len(bundle.vega()) > 100_000


def test_without_the_package_its_extra_is_named(home, monkeypatch):
    monkeypatch.setattr(bundle, "PACKAGE", "no-such-package")
    with pytest.raises(MissingExtra, match=r"^vl_convert: must be installed; the extra `sweep` brings it"):
        bundle.vega()


def test_the_script_ends_no_element_that_holds_it():
    for text in (bundle.vega(), resource("page.js"), resource("page.css")):
        assert "</script" not in text.lower()
        assert "<!--" not in text
        assert "</style" not in text.lower()
