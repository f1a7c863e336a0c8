"""Figures of a report as specifications of Vega-Lite: curves, intervals and bars, with values under the pointer.

Colours are names of the page's style sheet, so that dark screens and paper have their own. `off` is the list of arms
that are switched off, by their place in the page; `names` is the list of all. Panels hold numbers and places only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.reports.page import strokes, swatch
from workbench.reports.parts import Arm, Figure, Panel

Spec = dict[str, Any]
ON = {"filter": "indexof(off, datum.a) < 0"}
CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelColor": "var(--ink)", "titleColor": "var(--ink)", "domainColor": "var(--line)",
             "tickColor": "var(--line)", "gridColor": "var(--grid)", "labelFontSize": 11, "titleFontSize": 11,
             "titleFontWeight": "normal"},
    "aria": False,  # the page describes each figure, and its table holds the numbers
}  # fmt: skip


def base(arms: Sequence[Arm], height: int) -> Spec:
    """What all figures share."""
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": 2,
        "config": CONFIG,
        "data": {"name": "rows"},
        "params": [{"name": "off", "value": []}, {"name": "names", "value": [arm.name for arm in arms]}],
    }


def by_arm(values: Sequence[Any]) -> Spec:
    """A value of each arm, by its place in the page."""
    scale = {"domain": list(range(len(values))), "range": list(values)}
    return {"field": "a", "type": "nominal", "legend": None, "scale": scale}


def color(arms: Sequence[Arm]) -> Spec:
    return by_arm([f"var(--arm-{i})" for i in range(len(arms))])


def dashes(arms: Sequence[Arm]) -> Spec:
    return by_arm([strokes(arm.look) or [1, 0] for arm in arms])


def shapes(arms: Sequence[Arm]) -> Spec:
    return by_arm([swatch(arm.look)["mark"] for arm in arms])


def axis(title: str | None, **how: Any) -> Spec:
    return {"title": title, **how}


def curves(
    arms: Sequence[Arm], name: str, title: str, caption: str, alt: str, panels: Sequence[Panel],
    x_title: str, y_title: str, domain: tuple[float, float], form: str = ".3f", height: int = 170,
) -> Figure:  # fmt: skip
    """Lines over steps with their bands, an arm each. Columns of panels: s (step), a (place of the arm), m (mean), l
    and h (ends of its interval, or None). Under the pointer: all arms that are on, at that step."""
    told = f"names[datum.a] + '  ' + format(datum.m, '{form}')"
    interval = f"(isValid(datum.l) ? ' [' + format(datum.l, '{form}') + ', ' + format(datum.h, '{form}') + ']' : '')"
    x: Spec = {"field": "s", "type": "quantitative", "axis": axis(x_title, grid=False, tickCount=5, tickMinStep=1)}
    y: Spec = {"field": "m", "type": "quantitative", "axis": axis(y_title, tickCount=5),
               "scale": {"domain": list(domain), "nice": False, "zero": False}}  # fmt: skip
    spec = base(arms, height) | {
        "transform": [ON],
        "layer": [
            {"mark": {"type": "area", "opacity": 0.16, "clip": True},
             "encoding": {"x": x, "y": y | {"field": "l"}, "y2": {"field": "h"}, "color": color(arms)}},
            {"mark": {"type": "line", "strokeWidth": 1.8, "clip": True},
             "encoding": {"x": x, "y": y, "color": color(arms), "strokeDash": dashes(arms)}},
            {"transform": [
                {"calculate": f"{told} + {interval}", "as": "t"},
                {"aggregate": [{"op": "values", "as": "v"}], "groupby": ["s"]},
                {"calculate": f"'{x_title} ' + format(datum.s, ',') + '\\n' + join(pluck(datum.v, 't'), '\\n')",
                 "as": "tip"},
                # a strip from half way to the step before to half way to the one after
                {"window": [{"op": "lag", "field": "s", "as": "before"}, {"op": "lead", "field": "s", "as": "after"}],
                 "sort": [{"field": "s"}]},
                {"calculate": "isValid(datum.before) ? (datum.before + datum.s) / 2 : datum.s", "as": "x0"},
                {"calculate": "isValid(datum.after) ? (datum.after + datum.s) / 2 : datum.s", "as": "x1"},
             ],
             "params": [{"name": "at", "select": {"type": "point", "fields": ["s"], "on": "pointerover",
                                                  "nearest": False, "clear": "pointerout"}}],
             "mark": {"type": "rect", "color": "var(--ink)", "clip": True},
             "encoding": {"x": x | {"field": "x0"}, "x2": {"field": "x1"}, "tooltip": {"field": "tip"},
                          "opacity": {"condition": {"param": "at", "empty": False, "value": 0.12}, "value": 0}}},
        ],
    }  # fmt: skip
    return Figure(name, title, caption, alt, spec, panels)


def intervals(
    arms: Sequence[Arm], name: str, title: str, caption: str, alt: str, panels: Sequence[Panel],
    rows: Sequence[str], x_title: str, domain: tuple[float, float], *, centre: float | None = None, log: bool = False,
    offset: bool = True,
) -> Figure:  # fmt: skip
    """Points with intervals, a row per name and in it a line per arm, or one line without arms. Columns of panels: r
    (place of the row), a (place of the arm), m, l, h, f (1: filled, 0: hollow), t (what is said under the pointer,
    beside the arm's name).

    centre: where a line marks no difference. log: whether the axis is a ratio's. offset: whether the arms of a row lie
    side by side; otherwise a row has one.
    """
    scale: Spec = {"domain": list(domain), "nice": False} | ({"type": "log", "base": 2} if log else {"zero": False})
    x: Spec = {"field": "m", "type": "quantitative", "scale": scale, "axis": axis(x_title, tickCount=5)}
    row: Spec = {
        "field": "r", "type": "ordinal", "sort": None,
        "scale": {"domain": list(range(len(rows))), "paddingInner": 0.25, "paddingOuter": 0.1},
        "axis": axis(None, grid=False, domain=False, ticks=False, labelExpr="rownames[datum.value]", labelLimit=110),
    }  # fmt: skip
    beside: Spec = {"field": "a", "type": "ordinal", "scale": {"domain": list(range(len(arms)))}}
    side = bool(arms) and offset
    shared: Spec = {"y": row} | ({"yOffset": beside} if side else {}) | ({"color": color(arms)} if arms else {})
    spec = base(arms, len(rows) * (10 * (len(arms) if side else 1) + 14) + 34)
    spec["params"].append({"name": "rownames", "value": list(rows)})
    tip = {"calculate": "(datum.a < length(names) ? names[datum.a] + '\\n' : '') + datum.t", "as": "tip"}
    layers: list[Spec] = [] if centre is None else [
        {"data": {"values": [{"c": centre}]}, "mark": {"type": "rule", "color": "var(--muted)"},
         "encoding": {"x": {"field": "c", "type": "quantitative", "scale": scale}}},
    ]  # fmt: skip
    point: Spec = {"x": x, **shared, "tooltip": {"field": "tip"}}
    if arms:
        hollow = {"condition": {"test": "datum.f == 0", "value": "var(--paper)"}}
        point |= {"shape": shapes(arms), "fill": hollow | color(arms)}
    plain: Spec = {} if arms else {"color": "var(--ink)"}
    filled: Spec = {} if arms else {"filled": True}
    layers += [
        {"transform": [ON, tip, {"filter": "isValid(datum.l)"}],
         "mark": {"type": "rule", "strokeWidth": 2, "clip": True, **plain},
         "encoding": {"x": x | {"field": "l"}, "x2": {"field": "h"}, **shared, "tooltip": {"field": "tip"}}},
        {"transform": [ON, tip], "encoding": point,
         "mark": {"type": "point", "size": 45, "strokeWidth": 1.5, "clip": True, "opacity": 1, **plain, **filled}},
    ]  # fmt: skip
    return Figure(name, title, caption, alt, spec | {"layer": layers}, panels, wide=len(panels) == 1)


def points(
    arms: Sequence[Arm], name: str, title: str, caption: str, alt: str, panels: Sequence[Panel],
    x_title: str, y_title: str, x_domain: tuple[float, float], y_domain: tuple[float, float], *,
    log: bool = False, diagonal: bool = False, height: int = 220,
) -> Figure:  # fmt: skip
    """Points with intervals along y, of an arm each, or without arms. Columns of panels: x, m, l, h, a, f (1: filled,
    0: hollow), t (what is said under the pointer, beside the arm's name).

    log: whether the x axis is logarithmic. diagonal: whether a line marks where both axes are equal.
    """
    across: Spec = {"domain": list(x_domain), "nice": False} | ({"type": "log"} if log else {"zero": False})
    x: Spec = {"field": "x", "type": "quantitative", "scale": across,
               "axis": axis(x_title, tickCount=4, format="~s" if log or x_domain[1] > 1 else "~g")}
    y: Spec = {"field": "m", "type": "quantitative", "axis": axis(y_title, tickCount=5),
               "scale": {"domain": list(y_domain), "nice": False, "zero": False}}  # fmt: skip
    tip = {"calculate": "(datum.a < length(names) ? names[datum.a] + '\\n' : '') + datum.t", "as": "tip"}
    ends = [{"x": value, "m": value} for value in (max(x_domain[0], y_domain[0]), min(x_domain[1], y_domain[1]))]
    plain: Spec = {} if arms else {"color": "var(--ink)"}
    of_arm: Spec = {"color": color(arms)} if arms else {}
    shape: Spec = {}
    if arms:
        hollow = {"condition": {"test": "datum.f == 0", "value": "var(--paper)"}}
        shape = {"shape": shapes(arms), "fill": hollow | color(arms)}
    layers: list[Spec] = [
        {"transform": [ON, tip, {"filter": "isValid(datum.l)"}],
         "mark": {"type": "rule", "strokeWidth": 1.5, "clip": True, **plain},
         "encoding": {"x": x, "y": y | {"field": "l"}, "y2": {"field": "h"}, **of_arm, "tooltip": {"field": "tip"}}},
        {"transform": [ON, tip], "encoding": {"x": x, "y": y, **of_arm, **shape, "tooltip": {"field": "tip"}},
         "mark": {"type": "point", "size": 50, "strokeWidth": 1.5, "clip": True, "opacity": 1, **plain,
                  **({} if arms else {"filled": True})}},
    ]  # fmt: skip
    if diagonal:
        layers.insert(0, {"data": {"values": ends}, "encoding": {"x": x, "y": y},
                          "mark": {"type": "line", "color": "var(--muted)", "strokeDash": [4, 3]}})  # fmt: skip
    return Figure(name, title, caption, alt, base(arms, height) | {"layer": layers}, panels, wide=len(panels) == 1)


def columns_of(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns, which are shorter in a file."""
    return {name: [record[name] for record in records] for name in names}
