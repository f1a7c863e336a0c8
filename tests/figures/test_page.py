"""Figures in a paper: at its widths nothing overlaps; axes, names, titles, legends and styles are the author's."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figures.test_figures import FOUR, ONE_PANEL, RULES, SIX, make_curves, make_grid, make_summary
from figures.test_odds import ADVICE, LAWS
from matplotlib.figure import Figure
from matplotlib.text import Text

from workbench import figures
from workbench.analysis.ranking import ranking_table
from workbench.analysis.tables import runs_table
from workbench.errors import InputError
from workbench.figures.page import Page

SETTINGS = "adarft beta=0.5 alpha=2.0 eta={} start=0 low=0 high=100 ties=random"
TWELVE = ["uniform", SETTINGS.format(5), SETTINGS.format(50), "mypackage.rules:MyVeryLongRuleName+dapo", "filter",
          "linear", "plr", "sec", "mopps", "greso", "tscl-online+speed", "dump"]  # fmt: skip


def advice_of(arms: list[str]) -> pd.DataFrame:
    return pd.concat([ADVICE[:1].assign(controller=name) for name in arms], ignore_index=True)


def laws_of(arms: list[str]) -> pd.DataFrame:
    return pd.concat([LAWS[1:].assign(learner=name) for name in arms], ignore_index=True)


# name -> a figure of these arms, and how many panels it has
FIGURES = {
    "learning curves": lambda arms, **page: figures.learning_curves(make_curves(["easy"], ["scalar"], arms, 2), **page),
    "learning curves of pools": lambda arms, **page: figures.learning_curves(
        make_curves(FOUR, ["scalar"], arms, 2), **page),
    "learning curves of pools and learners": lambda arms, **page: figures.learning_curves(
        make_curves(FOUR[:2], SIX[:3], arms, 2), **page),
    "targets": lambda arms, **page: figures.target_trajectories(
        make_curves(FOUR[:2], ["scalar"], [*arms, "linear eta=1"], 2), **page),
    "forest": lambda arms, **page: figures.speedup_forest(make_summary(["easy"], SIX[:2], arms), **page),
    "forest of pools": lambda arms, **page: figures.speedup_forest(
        make_summary(FOUR, SIX[:2], arms).assign(censored=np.arange(8 * len(arms)) % 3), **page),
    "heat map of numbers": lambda arms, **page: figures.heat_map(
        make_grid(etas=tuple(5.0 * 2**k for k in range(len(arms)))), "adarft.eta", "scalar.kappa", **page),
    "heat map of names": lambda arms, **page: figures.heat_map(
        make_summary(FOUR, SIX[:1], arms), "pool", "controller", "censored", **page),
    "heat map across names": lambda arms, **page: figures.heat_map(
        make_summary(FOUR[:1], SIX, arms), "controller", "learner", "censored", **page),
    "points": lambda arms, **page: figures.heat_map(scattered(len(arms)), "adarft.eta", "scalar.kappa", **page),
    "levels": lambda arms, **page: figures.success_by_level(with_levels(
        make_curves(["easy"], ["scalar"], arms, 2)), **page),
    "levels of learners": lambda arms, **page: figures.success_by_level(with_levels(
        make_curves(["easy"], SIX[:2], arms, 2)), **page),
    "ranking": lambda arms, **page: figures.ranking_plot(ranks_of(arms), **page),
    "frontier": lambda arms, **page: figures.cost_frontier(costs_of(["easy"], ["scalar"], arms), **page),
    "frontier of pools": lambda arms, **page: figures.cost_frontier(costs_of(FOUR, SIX[:2], arms), "tokens", **page),
    "paired differences": lambda arms, **page: figures.paired_differences(runs_of(FOUR[:2], SIX[:2], arms), **page),
    "calibration": lambda arms, **page: figures.calibration_plot(pd.DataFrame({
        "controller": arms, "predicted": np.linspace(0, 1, len(arms)), "observed": np.linspace(1, 0, len(arms))}),
        **page),
    "weights": lambda arms, **page: figures.law_weights(laws_of(arms), **page),
    "advice": lambda arms, **page: figures.advice_forest(advice_of(arms), **page),
}  # fmt: skip


def with_levels(curves: pd.DataFrame) -> pd.DataFrame:
    return curves.assign(**{f"success_{level}": curves["success"] * (1 - level / 10) for level in range(10)})


def ranks_of(arms: list[str]) -> pd.DataFrame:
    return ranking_table(runs_of(FOUR[:2], SIX[:3], arms))


def runs_of(pools: list[str], learners: list[str], arms: list[str], seeds: int = 4) -> pd.DataFrame:
    return runs_table(make_curves(pools, learners, arms, seeds), 0.5)


def costs_of(pools: list[str], learners: list[str], arms: list[str]) -> pd.DataFrame:
    table = make_summary(pools, learners, arms)
    at = np.arange(len(table)) % len(arms)
    final = 0.4 + 0.03 * (at * 5 % 7)
    return table.assign(mean_rollouts=10_000.0 + 1000 * at, mean_tokens=1e6 + 1e5 * at, final=final,
                        mean_label_rollouts=np.where(at % 2, 200_000.0, 0.0), final_low=final - 0.02,
                        final_high=final + 0.02)  # fmt: skip


def scattered(count: int) -> pd.DataFrame:
    at = np.arange(count + 4)
    design = pd.DataFrame({"adarft.eta": 5 * 1.5**at, "scalar.kappa": 0.01 + 0.001 * (at * 7 % (count + 4))})
    return design.assign(speedup=1 + 0.1 * at, speedup_low=0.9 + 0.1 * at, speedup_high=1.2 + 0.1 * at)


# ---- nothing overlaps --------------------------------------------------------------------------------------


def printed(figure: Figure) -> list[tuple[str, object]]:
    """What a reader sees beside the data, and its box in pixels: every text, and legends as a whole."""
    outside: dict[Text, bool] = {}
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            for label in (tick.label1, tick.label2):
                outside[label] = not low <= tick.get_loc() <= high
    hidden = {text for ax in figure.axes if not ax.get_visible() for text in ax.findobj(Text)}
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    of_legends = {text for legend in legends for text in legend.findobj(Text)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    texts = [text for text in texts if not outside.get(text) and text not in hidden]
    found = [(text.get_text(), text.get_window_extent()) for text in texts if text not in of_legends]
    return [*found, *(("the legend", legend.get_window_extent()) for legend in legends)]


def overlaps(figure: Figure, slack: float = 1.0) -> list[str]:
    """What overlaps, or leaves the page, by more than `slack` pixels."""
    boxes, page = printed(figure), figure.bbox
    told = [
        f"{text!r} is cut"
        for text, box in boxes
        if min(box.x0 - page.x0, box.y0 - page.y0, page.x1 - box.x1, page.y1 - box.y1) < -slack
    ]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if min(across, up) > slack:
            told.append(f"{one!r} overlaps {other!r}")
    return told


def test_overlapping_texts_and_cut_ones_are_found():
    figure = Figure(figsize=(2, 2), dpi=150)
    figure.text(0.5, 0.5, "one two")
    figure.text(0.5, 0.52, "three")
    figure.text(0.9, 0.1, "a long text")
    figure.draw_without_rendering()
    assert overlaps(figure) == ["'a long text' is cut", "'one two' overlaps 'three'"]


@pytest.mark.parametrize(("width", "size", "arms"), [("column", 8, 2), ("column", 8, 12), ("column", 7, 5),
                                                     ("page", 8, 12)])  # fmt: skip
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_overlaps_at_the_widths_of_a_paper(name, width, size, arms):
    with figures.style(size=size):
        figure = FIGURES[name](TWELVE[:arms], width=width, title="What the rules do")
    assert figure.get_size_inches()[0] == {"column": 3.25, "page": 6.75}[width]
    sizes = {text.get_fontsize() for text in figure.findobj(Text) if text.get_text().strip()}
    assert sizes == {size}
    assert not overlaps(figure)


@pytest.mark.parametrize("name", ["learning curves of pools", "forest", "heat map of names", "advice"])
def test_nothing_overlaps_in_serif_and_in_any_width(name):
    with figures.style(font="serif"):
        for width in (3.25, 5.5):
            assert not overlaps(FIGURES[name](TWELVE[:7], width=width)), width


def test_numbers_of_a_heat_map_fit_their_cells_or_are_left_out():
    wide = figures.heat_map(make_grid(etas=(5, 10)), "adarft.eta", "scalar.kappa", width="page")
    assert {"\n" in text.get_text() for text in wide.axes[0].texts} == {True}
    middle = figures.heat_map(make_grid(etas=range(1, 8)), "adarft.eta", "scalar.kappa", width="column")
    assert {text.get_text() for text in middle.axes[0].texts} >= {"1.10", "2.90"}
    many = figures.heat_map(make_grid(etas=range(1, 13)), "adarft.eta", "scalar.kappa", width="column")
    assert not many.axes[0].texts
    for figure in (wide, middle):
        cells = figure.axes[0].get_window_extent()
        across, up = cells.width / len(figure.axes[0].get_xticks()), cells.height / 2
        for text in figure.axes[0].texts:
            box = text.get_window_extent()
            assert box.width < across
            assert box.height < up


def test_every_arm_is_named_on_a_heat_map_of_a_column_and_has_its_number_on_that_of_a_page():
    summary = make_summary(["easy"], SIX[:2], TWELVE)
    for width in ("column", "page"):
        ax = figures.heat_map(summary, "controller", "learner", width=width).axes[0]
        assert len(ax.get_xticklabels()) == len(TWELVE)
        assert len(ax.texts) == (2 * len(TWELVE) if width == "page" else 0)


def test_levels_of_twelve_arms_fit_a_page_and_every_column_has_its_numbers():
    curves = with_levels(make_curves(["easy"], ["scalar"], TWELVE, 2))
    twelve = figures.success_by_level(curves, width="column")
    assert twelve.get_figheight() <= figures.PAGE_HEIGHT
    some = [name for name in TWELVE if name != "dump"][4:]
    seven = figures.success_by_level(curves[curves["controller"].isin(some)], width="column").axes
    numbers = {ax.get_title() for ax in seven[:7] if ax.xaxis.get_tick_params()["labelbottom"]}
    assert numbers == {ax.get_title() for ax in seven[4:7]}  # rows of three: the last panel, and the two beside it
    assert twelve.axes[-1].get_xlabel() == "held-out success, mean over 2 seeds"  # in one line


# ---- the author's axes, names, title and legend ------------------------------------------------------------


@pytest.fixture
def pyplot():
    plt.switch_backend("agg")
    yield plt
    plt.close("all")


def drawn_names(ax) -> list[str]:
    return [line.get_label() for line in ax.get_lines() if not line.get_label().startswith("_")]


def test_panels_go_into_axes_of_somebody_elses_figure(pyplot):
    figure, axes = pyplot.subplots(2, 3, figsize=(9, 6), layout="constrained")
    assert figures.learning_curves(make_curves(**ONE_PANEL), ax=axes[0, 0], title="mine") is figure
    figures.learning_curves(make_curves(), ax=axes[:, 1:])
    assert drawn_names(axes[0, 0]) == list(RULES)
    assert (axes[0, 0].get_title(), axes[0, 0].get_xlabel()) == ("mine", "training step")
    assert [ax.get_title() for ax in axes[:, 1:].flat] == ["easy", "hard", "", ""]
    assert [ax.get_xlabel() for ax in axes[:, 1:].flat] == ["", "", "training step", "training step"]
    assert len({ax.get_ylim() for ax in axes[:, 1:].flat}) == 1
    assert [ax.get_legend() is not None for ax in axes.flat] == [True, False, False, False, False, True]
    assert not axes[1, 0].get_lines()
    assert figure.get_layout_engine() is not None, "the layout stays the author's"


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_fits_into_a_part_of_a_page_without_overlaps(name, pyplot):
    figure = pyplot.figure(figsize=(7, 14), layout="constrained", dpi=150)
    top, bottom = figure.subfigures(2, 1)
    left, right = top.subfigures(1, 2)
    assert FIGURES[name](TWELVE[:3], ax=left, title="first") is figure
    FIGURES[name](TWELVE[:3], ax=right)
    FIGURES[name](TWELVE[:3], ax=bottom, title="second")
    figure.draw_without_rendering()
    assert not overlaps(figure)
    assert len(figure.alt.split(". ")) >= 3, "each part adds its sentence"


@pytest.mark.parametrize("name", ["forest", "weights", "points", "heat map of names", "learning curves"])
def test_one_panel_goes_into_one_axes(name, pyplot):
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 6), layout="constrained", dpi=150)
    FIGURES[name](TWELVE[:3], ax=left, title="mine")
    assert left.get_title().startswith("mine")
    figure.draw_without_rendering()
    assert not [told for told in overlaps(figure) if "legend" not in told]
    assert not right.has_data()


def test_labels_and_legend_of_narrow_axes_are_as_wide_as_these(pyplot):
    figure, axes = pyplot.subplots(1, 3, figsize=(6.75, 2.3), layout="constrained")
    with figures.style("serif", 7):
        figures.paired_differences(runs_of(FOUR[:1], SIX[:1], ["uniform", *RULES[1:]]), ax=axes[2], legend=False)
        figures.learning_curves(make_curves(**ONE_PANEL), ax=axes[0])
    figure.draw_without_rendering()
    for text in (axes[2].xaxis.label, axes[0].get_legend().get_title()):
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.width < 1.3 * axes[0].get_window_extent().width


def test_two_panels_of_advice_go_into_two_axes(pyplot):
    _, axes = pyplot.subplots(1, 2)
    figures.advice_forest(ADVICE, ax=axes)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["adarft", "uniform"]
    assert [text.get_text() for text in axes[1].get_yticklabels()] == ["", ""]
    assert axes[0].get_ylim() == axes[1].get_ylim()


def axes_of(rows: int, columns: int):
    return Figure().subplots(rows, columns, squeeze=False)


def used_part():
    part = Figure(layout="constrained").subfigures()
    part.subplots()
    return part


@pytest.mark.parametrize(
    ("ax", "said"),
    [
        (lambda: axes_of(1, 1)[0, 0], "an array of 2 x 2 Axes for 2 learners and 2 pools, or a SubFigure, got <Axes"),
        (lambda: axes_of(2, 3), "an array of 2 x 2 Axes for .*, got an array of shape \\(2, 3\\)"),
        (lambda: axes_of(1, 4)[0], "an array of 2 x 2 Axes .*, got an array of shape \\(4,\\)"),
        (lambda: [axes_of(1, 1)[0, 0]] * 4, "an array of 2 x 2 Axes"),
        (lambda: np.array([[axes_of(1, 1)[0, 0]] * 2] * 2), "an array of 2 x 2 Axes"),
        (lambda: [[1, 2], [3, 4]], "an array of 2 x 2 Axes"),
        (lambda: [[1, 2], [3]], "an array of 2 x 2 Axes"),
        (lambda: "ax", "an array of 2 x 2 Axes"),
        (lambda: 5, "an array of 2 x 2 Axes"),
        (lambda: Figure(), "an array of 2 x 2 Axes"),
        (lambda: Figure().subfigures(), 'a SubFigure of a figure with layout="constrained", got one without'),
        (used_part, "an empty SubFigure, got one with 1 axes"),
    ],
)
def test_axes_of_another_shape_are_refused_in_one_line(ax, said):
    with pytest.raises(InputError, match=f"^ax: must be {said}") as caught:
        figures.learning_curves(make_curves(), ax=ax())
    assert "\n" not in str(caught.value)


def test_labels_name_arms_learners_and_pools_and_keep_their_look():
    curves = make_curves(controllers=["uniform", "adarft eta=5", "adarft eta=50"])
    labels = {"adarft eta=50": "AdaRFT", "adarft eta=5": r"$\eta = 5$", "easy": "Easy items", "scalar": "One skill"}
    plain, named = figures.learning_curves(curves), figures.learning_curves(curves, labels=labels)
    assert [text.get_text() for text in named.legends[0].get_texts()] == ["uniform", r"$\eta = 5$", "AdaRFT"]
    assert named.axes[0].get_title() == "Easy items"
    assert named.axes[1].get_ylabel() == "One skill"
    looks = [[(line.get_label(), line.get_color(), line.get_marker(), line.get_linestyle())
              for line in figure.axes[0].get_lines()] for figure in (plain, named)]  # fmt: skip
    assert looks[0] == looks[1]
    rows = figures.speedup_forest(make_summary(), labels={"adarft": "AdaRFT", "grpo": "GRPO"}).axes[0]
    assert [text.get_text() for text in rows.get_yticklabels()] == ["scalar", "linear", "AdaRFT", "GRPO", "linear",
                                                                    "AdaRFT"]  # fmt: skip
    heat = figures.heat_map(make_summary(controllers=["uniform"]), "pool", "learner", "censored", labels={"easy": "E"})
    assert [text.get_text() for text in heat.axes[0].get_xticklabels()] == ["E", "hard"]
    assert [t.get_text() for t in figures.law_weights(LAWS, labels={"kernel": "K"}).axes[0].get_yticklabels()][1] == "K"


def test_an_arm_and_a_pool_of_the_same_name_are_named_apart():
    labels, known = {"uniform": "All alike", "pool uniform": "Flat"}, ["uniform", "easy"]
    curves = make_curves(known, ["scalar"], ["uniform", "adarft"], 2)
    summary = make_summary(known, ["scalar"], ["uniform", "adarft"])
    figure = figures.learning_curves(curves, labels=labels)
    assert figure.legends[0].get_texts()[0].get_text() == "All alike"
    assert figure.axes[0].get_title() == "Flat"
    heat = figures.heat_map(summary, "pool", "controller", "censored", labels=labels).axes[0]
    assert heat.get_xticklabels()[0].get_text() == "Flat"
    assert heat.get_yticklabels()[-1].get_text() == "All alike"
    forest = figures.speedup_forest(summary, labels=labels)
    assert forest.axes[0].get_title() == "Flat"
    assert forest._supxlabel.get_text().startswith("speed-up over All alike (")
    assert figures.success_by_level(with_levels(curves), labels=labels).axes[0].get_title() == "All alike\nFlat"
    costs = costs_of(known, ["scalar"], ["uniform", "adarft"])
    assert figures.cost_frontier(costs, labels=labels).axes[0].get_title() == "Flat"
    for given, shown in (({"uniform": "All alike"}, "uniform"), ({"pool uniform": "Flat"}, "Flat")):
        assert Page(labels=given).places("pool", known, ["uniform"], 20) == {"uniform": shown, "easy": "easy"}
    assert Page(labels={"pool uniform": "Flat"}).names(["uniform"]) == {"uniform": "uniform"}


def test_a_name_with_dollars_is_shown_as_it_stands():
    figure = figures.learning_curves(make_curves(**ONE_PANEL, controllers=["uniform", "$x_{$ a $b$"]))
    figure.draw_without_rendering()
    text = figure.legends[0].get_texts()[1]
    assert text.get_text().replace(r"\$", "$") == "$x_{$ a $b$"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": "wide"}, 'width: must be "column", "page" or inches, got \'wide\''),
        ({"width": 1.9}, r"width: must be a number in \[2, 20\], got 1.9"),
        ({"width": [3, 4]}, "width: must be one number, got"),
        ({"width": True}, "width: must be"),
        ({"width": 3, "ax": axes_of(2, 2)}, "width: must not be given with ax, whose figure has its own, got 3"),
        ({"labels": {"adarft": 5}}, "labels: must map names of the table to the names shown, got {'adarft': 5}"),
        ({"labels": ["adarft"]}, "labels: must map names of the table to the names shown, got"),
        ({"labels": {"adarft": " "}}, "labels: must have a name to show for 'adarft', got ' '"),
        ({"labels": {"adarft": "linear"}}, "labels: must show different names differently, got 'linear' for several"),
        ({"labels": {"nobody": "x"}}, "labels: must have a name of the table, such as .*, got 'nobody'"),
        ({"labels": {"adarft": r"$\nonsense$"}}, "labels: must be text, or mathematics that matplotlib reads, got"),
        ({"title": 5}, "title: must be text, got 5"),
        ({"title": r"$\frac{1$"}, "title: must be text, or mathematics that matplotlib reads, got"),
        ({"legend": "outside"}, "legend: must be one of above, right, best, .*, got 'outside'"),
        ({"legend": 3}, "legend: must be True, False or a place, got 3"),
    ],
)
def test_other_options_are_refused_in_one_line(options, said):
    with pytest.raises(InputError, match=f"^{said}") as caught:
        figures.learning_curves(make_curves(), **options)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_an_error_of_the_call_and_help_names_those_there_are():
    with pytest.raises(TypeError, match="unexpected keyword argument 'widht'"):
        figures.learning_curves(make_curves(), widht=3)
    import inspect

    for draw in (figures.learning_curves, figures.heat_map, figures.law_weights):
        assert list(inspect.signature(draw).parameters)[-5:] == ["width", "ax", "labels", "title", "legend"]


def test_title_and_legend_stand_where_they_are_wanted():
    curves = make_curves(**ONE_PANEL)
    above = figures.learning_curves(curves, title="Mine")
    assert above.legends[0].get_title().get_text().startswith("Mine\nmean and")
    none = figures.learning_curves(curves, title="Mine", legend=False)
    assert not none.legends
    assert none.get_suptitle() == "Mine"
    right = figures.learning_curves(make_curves(), legend="right", title="Mine")
    assert right.legends[0].get_window_extent().x0 > max(ax.get_window_extent().x1 for ax in right.axes)
    inside = figures.learning_curves(curves, legend="lower right", width=5)
    legend = inside.axes[0].get_legend().get_window_extent()
    box = inside.axes[0].get_window_extent()
    assert box.x0 < legend.x0 < legend.x1 <= box.x1 + 1
    for figure in (above, none, right, inside):
        assert not [told for told in overlaps(figure) if "tick" not in told], figure


# ---- own lines, own tables ---------------------------------------------------------------------------------


def test_a_line_that_is_added_later_is_in_range_and_in_the_legend_and_nothing_overlaps(tmp_path):
    figure = figures.learning_curves(make_curves(**ONE_PANEL, seeds=2))
    before = figure.axes[0].get_window_extent().y1
    figure.axes[0].plot([0, 50, 100], [0.0, 0.5, 1.3], color="red", label="human")
    figure.axes[0].plot([0, 100], [0.1, 0.1], color="red")
    figure.savefig(tmp_path / "x.pdf")
    assert figure.axes[0].get_ylim()[1] > 1.3
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*RULES, "human"]
    assert figure.legends[0].get_title().get_text() == "mean and 95 % interval (t) over 2 seeds"
    assert len(figure.legends) == 1
    assert figure.axes[0].get_window_extent().y1 <= before
    assert not overlaps(figure)


def test_bands_do_not_widen_the_range_of_a_later_line():
    figure = figures.learning_curves(make_curves(**ONE_PANEL, seeds=2))
    assert figures.mean_and_band(make_curves(**ONE_PANEL, seeds=2), "success")["high"].max() > 1.1
    figure.axes[0].plot([0, 100], [0.2, 0.3])
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 0.25
    assert 0.6 < high < 0.9


def test_another_size_is_laid_out_again():
    figure = figures.learning_curves(make_curves())
    figure.set_size_inches(5, 4)
    figure.draw_without_rendering()
    assert not overlaps(figure)
    assert tuple(figure.get_size_inches()) == (5, 4)


def test_a_table_with_controller_step_and_success_alone_is_drawn():
    table = make_curves(**ONE_PANEL, seeds=1)[["controller", "step", "success"]]
    figure = figures.learning_curves(table, width="column")
    assert drawn_names(figure.axes[0]) == list(RULES)
    np.testing.assert_array_equal(figure.axes[0].get_lines()[1].get_ydata(), table["success"][6:12])
    assert (figure.axes[0].get_title(), figure.axes[0].get_ylabel()) == ("", "")
    assert figure.get_supylabel() == "held-out success"
    assert figure.alt.startswith("held-out success at step 100, mean over 1 seed; ")
    with pytest.raises(InputError, match=r"^curves: must have the column 'seed' where a controller has several runs, "
                                         r"got several rows of controller=uniform at step=0$"):  # fmt: skip
        figures.learning_curves(make_curves(**ONE_PANEL)[["controller", "step", "success"]])


# ---- style -------------------------------------------------------------------------------------------------


def test_a_style_holds_inside_and_for_its_figures_and_leaves_no_trace(tmp_path):
    before = mpl.rcParams.copy()
    with figures.style("serif", 7, rc={"axes.grid": False}):
        figure = figures.learning_curves(make_curves(**ONE_PANEL))
        with figures.style(size=10):
            inner = figures.learning_curves(make_curves(**ONE_PANEL))
        assert mpl.rcParams["font.size"] == 7
    assert dict(mpl.rcParams) == dict(before)
    for drawn, size in ((figure, 7), (inner, 10)):
        texts = [text for text in drawn.findobj(Text) if text.get_text()]
        assert {text.get_fontsize() for text in texts} == {size}
        assert {text.get_fontname() for text in texts} == {"STIXGeneral"}
        assert not drawn.axes[0].xaxis.get_gridlines()[0].get_visible()
    figures.save(figure, tmp_path / "a")
    figure.savefig(tmp_path / "b.pdf")
    assert b"STIX" in (tmp_path / "a.pdf").read_bytes()
    assert b"STIX" in (tmp_path / "b.pdf").read_bytes()
    assert figures.learning_curves(make_curves(**ONE_PANEL)).legends[0].get_texts()[0].get_fontsize() == 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"font": "No Such Font"}, "font: must be serif, sans-serif, monospace or the name of an installed font, got"),
        ({"font": 5}, "font: must be text, got 5"),
        ({"size": 3}, r"size: must be a number in \[4, 24\], got 3"),
        ({"size": "small"}, "size: must be"),
        ({"usetex": 1}, "usetex: must be True or False, got 1"),
        ({"rc": {"no.such": 1}}, "rc: must have names of matplotlib's settings, TrueType aside, got 'no.such'"),
        ({"rc": {"pdf.fonttype": 3}}, "rc: must have names of matplotlib's settings, TrueType aside, got 'pdf.fontt"),
        ({"rc": {"lines.linewidth": "thick"}}, "rc: must have a value that matplotlib takes for lines.linewidth, got"),
        ({"rc": 5}, "rc: must map names of matplotlib's settings to values, got 5"),
    ],
)
def test_other_styles_are_refused_in_one_line_before_anything_is_drawn(given, said):
    with pytest.raises(InputError, match=f"^{said}") as caught:
        figures.style(**given)
    assert "\n" not in str(caught.value)


def test_without_latex_it_is_refused_and_with_it_names_are_escaped(monkeypatch):
    from workbench.figures import words

    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(InputError, match=r"^usetex: must be False where latex and dvipng cannot be run, got True$"):
        figures.style(usetex=True)
    monkeypatch.setattr("shutil.which", lambda program: "/usr/bin/" + program)
    with figures.style(usetex=True):
        assert mpl.rcParams["text.usetex"]
        assert words._plain("95 % of a_b …") == r"95 \% of a\_b \ldots{}"
    assert words._plain("95 % of a_b …") == "95 % of a_b …"


def test_truetype_is_embedded_inside_a_style_also_of_figures_made_with_pyplot(pyplot, tmp_path):
    def fonts(path):
        data = path.read_bytes()
        return b"/Type3" not in data and b"/FontFile2" in data

    with mpl.rc_context({"pdf.fonttype": 3}):
        with figures.style(size=7):
            figure, ax = pyplot.subplots()
            figures.learning_curves(make_curves(**ONE_PANEL), ax=ax)
            figure.savefig(tmp_path / "inside.pdf")
        figure.savefig(tmp_path / "outside.pdf")
        figures.save(figure, tmp_path / "saved")
    assert fonts(tmp_path / "inside.pdf")
    assert fonts(tmp_path / "saved.pdf")
    assert not fonts(tmp_path / "outside.pdf"), "the caller's settings hold for the caller's figure"
    assert {text.get_fontsize() for text in [ax.xaxis.label, *ax.get_xticklabels()]} == {7}


# ---- alternative text --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_one_sentence_with_its_numbers_for_those_who_do_not_see_it(name, tmp_path):
    figure = FIGURES[name](TWELVE[:3])
    assert figure.alt.endswith(".")
    assert "\n" not in figure.alt
    assert sum(letter.isdigit() for letter in figure.alt) > 3
    assert "nan" not in figure.alt


def test_the_sentence_is_of_the_table_and_goes_into_files_and_notebooks(tmp_path):
    figure = figures.learning_curves(make_curves(**ONE_PANEL, controllers=["adarft"]))
    (row,) = figures.mean_and_band(make_curves(**ONE_PANEL, controllers=["adarft"]), "success")[-1:].to_dict("records")
    assert figure.alt == (
        "held-out success (mean over difficulty deciles) at step 100, mean and 95 % interval (t) over 5 seeds; easy, "
        f"scalar: adarft {row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]."
    )
    curves = make_curves(**ONE_PANEL, controllers=["adarft", "linear"])
    shorter = curves[(curves["controller"] == "adarft") | (curves["step"] < 100)]
    assert " deciles) at the last step, mean and" in figures.learning_curves(shorter).alt
    figure.savefig(tmp_path / "x.png")
    assert b"Description\0" + figure.alt.encode() in (tmp_path / "x.png").read_bytes()
    figure.savefig(tmp_path / "x.svg")
    assert figure.alt in (tmp_path / "x.svg").read_text()
    for path in figures.save(figure, tmp_path / "y"):
        assert b"held-out success" in path.read_bytes()
    data, beside = figure._repr_mimebundle_()
    assert beside["image/png"]["alt"] == data["text/plain"] == figure.alt
