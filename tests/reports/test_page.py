"""A page as a parser reads it: whole, described, without an address to fetch, and with hostile names as text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from reports.made import HOSTILE, curves_of, tables_of

from workbench.errors import InputError
from workbench.figures import LOOKS, OTHER_MARKERS
from workbench.reports import MOST_BYTES, Cell, Head, Page, Row, Sample, Table
from workbench.reports.comparison import MOST_ARMS, parts_of_comparison
from workbench.reports.page import MARKS
from workbench.reports.text import visible

VOID = {"meta", "link", "input", "img", "br", "hr", "line"}


class Tree(HTMLParser):
    """Elements in order: name, attributes, text of their own, and names of those that are open around them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "of": dict(attributes), "text": "", "within": [one["tag"] for one in self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1]["tag"] == tag and tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1]["tag"] == tag, f"</{tag}> closes <{self.open[-1]['tag']}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [one for one in self.elements if one["tag"] == tag and named.items() <= one["of"].items()]


def page_of(names=("uniform", "adarft", "band"), pools=("p", "q"), learners=("l", "k"), **more):
    ends = {name: 0.4 + 0.05 * i for i, name in enumerate(names)}
    curves = curves_of(ends, pools, learners)
    _, summary, ranking = tables_of(curves)
    arms, figures, tables = parts_of_comparison(curves, summary, ranking)
    content = {"title": "Title", "asked": ["Asked?"], "answer": ["Answer.", "Odds."], "doubts": ["Doubt."],
               "settings": {"steps": "4"}, "again": ["python sims/sweep.py"], "versions": {"numpy": "2"},
               "commit": "abc"} | more  # fmt: skip
    return Page(arms=arms, figures=figures, tables=tables, **content)


def hostile_page():
    samples = [Sample(HOSTILE[0], "level 0", "before training", i % 2 == 0, text, text, "\udcff", {"pool": HOSTILE[1]})
               for i, text in enumerate(HOSTILE)]  # fmt: skip
    return page_of(("uniform", *HOSTILE), HOSTILE[:2], HOSTILE[2:4], title=HOSTILE[0], asked=HOSTILE, answer=HOSTILE,
                   doubts=HOSTILE, settings={text: text for text in HOSTILE}, again=HOSTILE, samples=samples,
                   samples_told=HOSTILE[0], versions={HOSTILE[0]: HOSTILE[1]}, commit=HOSTILE[0],
                   text="\n".join(HOSTILE))  # fmt: skip


@pytest.fixture(scope="module")
def plain():
    html = page_of().html()
    return html, Tree(html)


@pytest.fixture(scope="module")
def hostile():
    html = hostile_page().html()
    return html, Tree(html)


def test_every_element_is_closed_and_the_page_has_its_landmarks_and_one_first_heading(plain):
    _, tree = plain
    assert not tree.open
    assert len(tree.all("main")) == len(tree.all("header")) == len(tree.all("footer")) == len(tree.all("h1")) == 1
    assert tree.all("html")[0]["of"]["lang"] == "en"
    levels = [int(one["tag"][1]) for one in tree.elements if re.fullmatch("h[1-6]", one["tag"])]
    assert all(after <= before + 1 for before, after in zip([0, *levels], levels, strict=False))
    ids = [one["of"]["id"] for one in tree.elements if "id" in one["of"]]
    assert len(set(ids)) == len(ids)
    for name in ("href", "aria-labelledby", "aria-controls"):
        wanted = {one["of"][name].removeprefix("#") for one in tree.elements if name in one["of"]} - {"data:,"}
        assert wanted <= set(ids), name
    for section in tree.all("section"):
        assert section["of"]["aria-labelledby"] in ids
    assert tree.all("nav")[0]["of"]["aria-label"]


def test_the_answer_comes_before_all_else(plain):
    html, tree = plain
    words = [one["text"] for one in tree.all("p")]
    assert words[:3] == ["Asked?", "Answer.", "Odds."]
    assert html.index("Answer.") < html.index("<fieldset") < html.index("<figure")


def test_every_arm_has_the_mark_of_its_look_in_figures_and_in_the_list_of_arms(plain):
    assert len(set(MARKS.values())) == len(MARKS)
    assert {look.marker for look in LOOKS.values()} | set(OTHER_MARKERS) <= set(MARKS)
    _, tree = plain
    drawn = [one["of"]["d"] for one in tree.all("path") if "label" in one["within"]]
    assert drawn == [MARKS[LOOKS[name].marker] for name in ("uniform", "band", "adarft")]


def test_a_doubt_with_lines_of_its_own_is_a_list_in_the_list():
    tree = Tree(page_of(doubts=[["Where adarft does not win:", "p / l"], "Learners are simulated."]).html())
    inner = [one["text"] for one in tree.all("li") if one["within"].count("ul") == 2]
    assert inner == ["p / l"]
    assert "Learners are simulated." in {one["text"] for one in tree.all("li")}


def test_tables_have_captions_and_heads_of_columns_and_rows(plain):
    _, tree = plain
    tables = tree.all("table")
    assert len(tables) == len(tree.all("caption")) == 3
    assert all(head["of"].get("scope") in ("col", "row") for head in tree.all("th"))
    rows = [row for row in tree.all("tr") if "tbody" in row["within"]]
    assert len(rows) == len(tree.all("th", scope="row")) == 12 + 9 + 12
    for head in tree.all("th", scope="col"):
        assert head["of"]["aria-sort"] == "none"
    assert all("button" not in one["within"] for one in tree.all("button"))
    assert all("label" in one["within"] for tag in ("input", "select") for one in tree.all(tag))


def test_figures_are_described_from_their_data_and_captioned(plain):
    _, tree = plain
    figures, told = tree.all("figure"), [one["of"]["aria-label"] for one in tree.all("div", role="img")]
    assert len(figures) == len(tree.all("figcaption")) == len(told) == 5
    assert told[0].startswith("Success over training from step 0 to 4, mean over 4 panels: band from 0.2 to 0.5")
    assert "uniform from 0.2 to 0.4" in told[0]
    names = ["success", "ranks", "auc_gain", "speedup", "targets"]
    assert [one["of"]["data-figure"] for one in figures] == names


def test_nothing_in_it_has_an_address_beside_places_in_the_page(plain, hostile):
    for _, tree in (plain, hostile):
        for one in tree.elements:
            for name, value in one["of"].items():
                if name in ("src", "href", "action", "data", "srcset", "poster", "style") or name.startswith("on"):
                    assert name == "href"
                    assert value.startswith("#") or value == "data:,"


def test_the_policy_lets_only_its_own_scripts_and_style_in(plain):
    html, tree = plain
    (policy,) = (one["of"]["content"] for one in tree.all("meta", http_equiv="Content-Security-Policy"))
    rules = dict(part.split(" ", 1) for part in policy.split("; "))
    assert rules["default-src"] == rules["connect-src"] == rules["form-action"] == rules["base-uri"] == "'none'"
    assert "unsafe" not in policy

    def digests(pattern):
        return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                for text in re.findall(pattern, html, re.DOTALL)]  # fmt: skip

    assert rules["script-src"].split() == digests("<script>(.*?)</script>")
    assert [rules["style-src"]] == digests("<style>(.*?)</style>")
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_the_data_of_the_figures_are_the_numbers_of_the_tables(plain):
    _, tree = plain
    (block,) = tree.all("script", id="data")
    data = json.loads(block["text"])
    assert data["arms"] == ["uniform", "band", "adarft"]  # in the order of legends
    panels = data["figures"]["success"]["panels"]
    assert [panel["title"] for panel in panels] == ["p / l", "p / k", "q / l", "q / k"]
    rows = panels[0]["rows"]
    ends = {arm: mean for step, arm, mean in zip(rows["s"], rows["a"], rows["m"], strict=True) if step == 4}
    curves = curves_of({"uniform": 0.4, "adarft": 0.45, "band": 0.5}).query("step == 4")
    means = curves.groupby("controller")["success"].mean()
    assert ends == {i: pytest.approx(means[name], rel=1e-3) for i, name in enumerate(data["arms"])}


def test_a_hostile_name_is_text_everywhere(hostile):
    html, tree = hostile
    assert len(tree.all("script")) == 3
    assert not tree.all("img")
    assert not tree.all("b")
    assert tree.all("h1")[0]["text"] == HOSTILE[0]
    assert "\x1b" not in html
    assert "\u202e" not in html
    for text in HOSTILE:
        shown = visible(text)
        assert any(one["text"] == shown for one in tree.all("p"))
        assert any(shown in one["text"] for one in tree.all("label"))
        assert any(one["text"] == shown for one in tree.all("pre"))
    rows = {one["text"] for one in tree.all("th", scope="row")}
    assert {visible(text) for text in HOSTILE} <= rows
    assert {visible(text) for text in HOSTILE[:2]} <= {one["text"] for one in tree.all("option")}
    (block,) = tree.all("script", id="data")
    assert set(json.loads(block["text"])["arms"]) == {"uniform", *map(visible, HOSTILE)}


def test_too_many_arms_are_in_the_tables_only_and_the_page_says_so():
    names = ["uniform", *(f"rule{i:03d}" for i in range(150))]
    page = page_of(names, ("p",), ("l",))
    assert len(page.arms) == MOST_ARMS
    assert sum(arm.shown for arm in page.arms) == 8
    assert any(arm.name == "uniform" and arm.shown for arm in page.arms)
    assert "127 more curricula, with smaller areas, are in the tables only." in page.figures[0].caption
    assert len(page.tables[0].rows) == 151
    assert len(page.html().encode()) < MOST_BYTES


def test_a_table_too_long_for_a_page_says_what_it_leaves_out():
    import pandas as pd

    from workbench.reports import Shown, table_of

    frame = pd.DataFrame({"controller": [f"c{i}" for i in range(2500)], "auc": range(2500)})
    columns = {"controller": Shown(Head("controller")), "auc": Shown(Head("area"), ".3f"), "gone": Shown(Head("gone"))}
    table = table_of(frame, "t", "T", "All.", columns, "summary.csv")
    assert (len(table.rows), table.left_out, len(table.heads)) == (1000, 1500, 2)
    html = Page("t", ["q"], ["a"], tables=[table]).html()
    assert "1500 more rows are in summary.csv only." in html


def test_a_page_beyond_its_size_is_refused_in_one_line():
    rows = [Row([Cell("x" * 3000, "x")]) for _ in range(2000)]
    page = Page("t", ["q"], ["a"], tables=[Table("t", "T", "C", [Head("h")], rows)])
    with pytest.raises(InputError, match=r"^report: must be at most 5,000,000 bytes, got 6,\d{3},\d{3}: compare less$"):
        page.html()
