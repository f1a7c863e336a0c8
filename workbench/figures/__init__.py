"""Figures of studies, for papers: a controller looks the same in all of them, and each says what its bands are."""

from workbench.controllers.rule import Look
from workbench.figures.agreement import calibration_plot
from workbench.figures.curves import learning_curves, mean_and_band, target_trajectories
from workbench.figures.forest import speedup_forest
from workbench.figures.frontier import cost_frontier
from workbench.figures.heat import heat_map
from workbench.figures.levels import success_by_level
from workbench.figures.looks import (
    COLORS,
    LOOKS,
    OTHER_COLORS,
    OTHER_DASHES,
    OTHER_MARKERS,
    controller_looks,
    rule_look,
)
from workbench.figures.odds import advice_forest, law_weights
from workbench.figures.page import PAGE_HEIGHT, PAGE_WIDTH, Options
from workbench.figures.picture import Picture, save
from workbench.figures.places import paired_differences, ranking_plot
from workbench.figures.style import STYLE, style

__all__ = [
    "COLORS",
    "LOOKS",
    "OTHER_COLORS",
    "OTHER_DASHES",
    "OTHER_MARKERS",
    "PAGE_HEIGHT",
    "PAGE_WIDTH",
    "STYLE",
    "Look",
    "Options",
    "Picture",
    "advice_forest",
    "calibration_plot",
    "controller_looks",
    "cost_frontier",
    "heat_map",
    "law_weights",
    "learning_curves",
    "mean_and_band",
    "paired_differences",
    "ranking_plot",
    "rule_look",
    "save",
    "speedup_forest",
    "style",
    "success_by_level",
    "target_trajectories",
]
