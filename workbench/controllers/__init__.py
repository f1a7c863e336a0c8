"""Curriculum rules, one file per rule or family, and the Controller that binds one to a pool."""

from workbench.controllers.adarft import AdaRFT
from workbench.controllers.controller import Controller
from workbench.controllers.gates import DynamicSampling, Gate
from workbench.controllers.nearest import FrozenTarget, LinearSchedule
from workbench.controllers.rule import Draw, Feedback, Rule
from workbench.controllers.sorted import SortedEasyToHard
from workbench.controllers.uniform import MiddleBand, OfflineFilter, Uniform

__all__ = [
    "AdaRFT",
    "Controller",
    "Draw",
    "DynamicSampling",
    "Feedback",
    "FrozenTarget",
    "Gate",
    "LinearSchedule",
    "MiddleBand",
    "OfflineFilter",
    "Rule",
    "SortedEasyToHard",
    "Uniform",
]
