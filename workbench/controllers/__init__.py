"""Curriculum rules, one file per rule or family, and the Controller that binds one to a pool."""

from workbench.controllers.adarft import AdaRFT, AdaRFTCovering, AdaRFTGaussian
from workbench.controllers.alp_gmm import ALPGMM
from workbench.controllers.arms import SEC, ArmRule
from workbench.controllers.controller import Controller
from workbench.controllers.dots import DOTS
from workbench.controllers.dump import DUMP
from workbench.controllers.e2h import E2H
from workbench.controllers.gates import BalancedFilter, DynamicSampling, Gate, ShortBatch
from workbench.controllers.items import ItemRule
from workbench.controllers.nearest import FrozenTarget, LinearSchedule
from workbench.controllers.pcl import PCL
from workbench.controllers.prioritized import Prioritized
from workbench.controllers.progress import LearningProgress
from workbench.controllers.rlve import RLVE
from workbench.controllers.rule import Draw, Feedback, Probe, Rule
from workbench.controllers.sorted import SortedEasyToHard
from workbench.controllers.speed import SPEED
from workbench.controllers.staged import Staged
from workbench.controllers.tscl import TSCL
from workbench.controllers.uniform import MiddleBand, OfflineFilter, Uniform
from workbench.controllers.vcrl import VCRL

__all__ = [
    "ALPGMM",
    "DOTS",
    "DUMP",
    "E2H",
    "PCL",
    "RLVE",
    "SEC",
    "SPEED",
    "TSCL",
    "VCRL",
    "AdaRFT",
    "AdaRFTCovering",
    "AdaRFTGaussian",
    "ArmRule",
    "BalancedFilter",
    "Controller",
    "Draw",
    "DynamicSampling",
    "Feedback",
    "FrozenTarget",
    "Gate",
    "ItemRule",
    "LearningProgress",
    "LinearSchedule",
    "MiddleBand",
    "OfflineFilter",
    "Prioritized",
    "Probe",
    "Rule",
    "ShortBatch",
    "SortedEasyToHard",
    "Staged",
    "Uniform",
]
