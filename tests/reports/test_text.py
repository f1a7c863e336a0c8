"""Text of other people in a page stays text."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from workbench.reports.text import json_inside, visible


def test_what_cannot_be_seen_is_written_out():
    assert visible("a\x1b[2Jb") == "a\\x1b[2Jb"
    assert visible("safe\u202egnp.exe") == "safe\\u202egnp.exe"
    assert visible("\udcff\0") == "\\udcff\\x00"
    assert visible("two\r\nlines\tand a tab") == "two\nlines\tand a tab"
    assert visible("Größe 大きさ حجم ½") == "Größe 大きさ حجم ½"


@given(st.text())
def test_nothing_that_is_left_controls_the_page(text):
    told = visible(text)
    assert all(letter.isprintable() or letter in "\n\t" for letter in told)
    told.encode()  # no lone surrogate is left


VALUES = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@given(VALUES)
def test_json_neither_ends_nor_begins_an_element(value):
    told = json_inside({"value": value})
    assert not set("<>&") & set(told)
    assert told.isascii()
    json.loads(told)


def test_json_holds_numbers_as_they_are_and_null_for_what_is_none():
    assert json.loads(json_inside([0.1, math.nan, math.inf, -2, True])) == [0.1, None, None, -2, True]
    assert json.loads(json_inside("</script><b>&amp;")) == "</script><b>&amp;"
