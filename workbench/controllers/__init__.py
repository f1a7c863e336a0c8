"""Curriculum rules, one file per rule or family, and the Controller that binds one to a pool."""

from workbench.controllers.adarft import AdaRFT
from workbench.controllers.arms import SEC, ArmRule
from workbench.controllers.controller import Controller
from workbench.controllers.gates import DynamicSampling, Gate, ShortBatch
from workbench.controllers.items import ItemRule
from workbench.controllers.nearest import FrozenTarget, LinearSchedule
from workbench.controllers.prioritized import Prioritized
from workbench.controllers.rule import Draw, Feedback, Probe, Rule
from workbench.controllers.sorted import SortedEasyToHard
from workbench.controllers.uniform import MiddleBand, OfflineFilter, Uniform

__all__ = [
    "SEC",
    "AdaRFT",
    "ArmRule",
    "Controller",
    "Draw",
    "DynamicSampling",
    "Feedback",
    "FrozenTarget",
    "Gate",
    "ItemRule",
    "LinearSchedule",
    "MiddleBand",
    "OfflineFilter",
    "Prioritized",
    "Probe",
    "Rule",
    "ShortBatch",
    "SortedEasyToHard",
    "Uniform",
]
