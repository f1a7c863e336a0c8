"""A page in a real browser: it loads without a word and without a request, sorts, filters, and switches arms."""

import pytest
from reports.browser import browser, needs_browser
from reports.made import HOSTILE
from reports.test_page import hostile_page, page_of

from workbench.reports.text import visible

pytestmark = needs_browser


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, page in (("plain", page_of()), ("hostile", hostile_page())):
        (folder / f"{name}.html").write_text(page.html(), encoding="utf-8")
    return folder


@pytest.fixture
def plain(paths):
    with browser() as window:
        yield window.open(paths / "plain.html")


def colors(window):
    """Colours of the lines that each figure shows."""
    return set(window.all("figure .mark-line path", "e => e.getAttribute('stroke')"))


def test_it_loads_without_a_word_and_without_a_request(plain):
    assert plain.said() == []
    elsewhere, sent = plain.asked_for()
    assert elsewhere == []
    assert len(sent) == 1  # the page itself
    assert len(plain.all(".plot svg")) == 4 + 1 + 2 + 2 + 4
    assert colors(plain) == {"var(--arm-0)", "var(--arm-1)", "var(--arm-2)"}


def test_a_hostile_name_stays_text(paths):
    with browser() as window:
        window.open(paths / "hostile.html")
        assert window.said() == []
        assert window.asked_for()[0] == []
        assert window.driver.title == HOSTILE[0]
        assert set(map(visible, HOSTILE)) <= set(window.all(".arms label span"))
        told = window.run(
            "const mark = document.querySelector('#figure-auc_gain .mark-symbol path');"
            "mark.dispatchEvent(new PointerEvent('pointermove', {bubbles: true}));"
            "return document.getElementById('vg-tooltip-element');"
        )
        assert window.run("return document.querySelectorAll('img, b, #vg-tooltip-element script').length") == 0
        assert told is not None


def test_an_arm_is_switched_off_and_on_in_all_figures_and_tables_at_once(plain):
    before = plain.all("#table-summary tbody tr:not([hidden]) th")
    assert len(before) == 12
    plain.run("document.querySelector('input[data-arm=\"1\"]').click()")
    plain.settle()
    assert colors(plain) == {"var(--arm-0)", "var(--arm-2)"}
    for figure in ("ranks", "auc_gain", "speedup"):
        marks = plain.all(f"#figure-{figure} .mark-symbol path", "e => e.getAttribute('stroke')")
        assert "var(--arm-1)" not in marks, figure
        assert "var(--arm-2)" in marks, figure
    assert set(plain.all("#table-summary tbody tr:not([hidden]) th")) == {"uniform", "adarft"}
    assert plain.all("#table-summary .count") == ["8 of 12 rows"]
    plain.run("document.querySelector('button[data-all=off]').click()")
    plain.settle()
    assert colors(plain) == set()
    assert plain.all("tbody tr") == []
    plain.run("document.querySelector('button[data-all=on]').click()")
    plain.settle()
    assert len(colors(plain)) == 3
    assert plain.all("#table-summary tbody tr th") == before


def test_tables_sort_by_number_with_the_unknown_last_and_by_text(plain):
    heads, named = "[...document.querySelectorAll('#table-summary thead th')]", "e => e.textContent == arguments[0]"
    sort = f"{heads}.find({named}).querySelector('button').click()"
    values = "e => e.dataset.v"
    place = plain.run(f"return {heads}.findIndex({named}) + 1", "gain in area")
    plain.run(sort, "gain in area")
    first = plain.all(f"#table-summary tbody tr > :nth-child({place})", values)
    known = [float(value) for value in first if value != "nan"]
    assert known == sorted(known, reverse=True)
    assert first[len(known) :] == ["nan"] * 4
    plain.run(sort, "gain in area")
    second = plain.all(f"#table-summary tbody tr > :nth-child({place})", values)
    assert [float(value) for value in second if value != "nan"] == sorted(known)
    assert second[len(known) :] == ["nan"] * 4
    assert plain.all("#table-summary th[aria-sort=ascending] button") == ["gain in area"]
    plain.run(sort, "controller")
    assert plain.all("#table-summary tbody th") == ["adarft"] * 4 + ["band"] * 4 + ["uniform"] * 4
    assert plain.all("#table-summary th[aria-sort=ascending] button") == ["controller"]


def test_rows_are_filtered_by_words_and_all_by_pool(plain):
    search = plain.run("return document.querySelector('#table-summary input[type=search]')")
    search.send_keys("BAND q")
    assert plain.all("#table-summary tbody th") == ["band", "band"]
    assert plain.all("#table-summary .count") == ["2 of 12 rows"]
    assert len(plain.all("#table-costs tbody tr")) == 12  # each table has its own words
    plain.run("const s = document.querySelector('select[data-filter=pool]'); s.value = '0';"
              "s.dispatchEvent(new Event('change'))")  # fmt: skip
    plain.settle()
    assert plain.all("#table-summary tbody tr") == []
    assert len(plain.all("#table-costs tbody tr")) == 6
    assert plain.all("#figure-success .panel-title") == ["p / l", "p / k"]
    assert plain.all("#figure-auc_gain .panel-title") == ["p"]


def test_values_are_told_under_the_pointer(plain):
    from selenium.webdriver.common.action_chains import ActionChains

    plot = plain.run("return document.querySelector('#figure-success .plot svg')")
    plain.run("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(plain.driver).move_to_element(plot).perform()
    plain.settle()
    (told,) = plain.all("#vg-tooltip-element.visible")
    lines = told.splitlines()
    assert lines[0].startswith("step ")
    assert [line.split()[0] for line in lines[1:]] == ["band", "adarft", "uniform"]  # the largest first
    assert all(line.count("[") == 1 for line in lines[1:])


def test_the_keyboard_reaches_what_can_be_used_and_shows_where_it_is(plain):
    from selenium.webdriver.common.keys import Keys

    body = plain.run("return document.body")
    seen = []
    for _ in range(14):
        (body if not seen else plain.driver.switch_to.active_element).send_keys(Keys.TAB)
        seen.append(plain.run("const e = document.activeElement; return [e.tagName, e.textContent, "
                              "getComputedStyle(e).outlineStyle]"))  # fmt: skip
    assert seen[0][:2] == ["A", "Skip to the answer"]
    assert {"A", "SUMMARY", "INPUT"} <= {name for name, *_ in seen}
    assert all(style != "none" for *_, style in seen)
    plain.run("document.querySelector('input[data-arm=\"0\"]').focus()")
    plain.driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert not plain.run("return document.querySelector('input[data-arm=\"0\"]').checked")


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_on_a_phone_nothing_is_wider_than_the_screen(paths, name):
    with browser(360, 760) as window:
        window.open(paths / f"{name}.html")
        assert window.run("return document.documentElement.scrollWidth") == 360
        assert window.run("return document.querySelector('.controls').open") is False


def test_a_dark_screen_and_paper_have_their_colours(paths):
    ask = ("const s = getComputedStyle(document.documentElement);"
           "return [s.getPropertyValue('--paper'), s.getPropertyValue('--arm-0')].map(x => x.trim())")  # fmt: skip
    with browser(prefers_color_scheme="light") as window:
        assert window.open(paths / "plain.html").run(ask) == ["#fff", "#000000"]
    with browser(prefers_color_scheme="dark") as window:
        paper, uniform = window.open(paths / "plain.html").run(ask)
        assert paper == "#15191e"
        assert int(uniform[1:3], 16) > 120  # black is lifted
        window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert window.run(ask) == ["#fff", "#000000"]
