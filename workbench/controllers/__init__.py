"""Curriculum rules, one file per rule or family, and the Controller that binds one to a pool."""

from workbench.controllers.adarft import AdaRFT, AdaRFTCovering, AdaRFTGaussian
from workbench.controllers.alp_gmm import ALPGMM
from workbench.controllers.arms import SEC, ArmRule
from workbench.controllers.bots import BOTS
from workbench.controllers.controller import Controller
from workbench.controllers.cures import CurES
from workbench.controllers.dots import DOTS
from workbench.controllers.dump import DUMP
from workbench.controllers.e2h import E2H
from workbench.controllers.gates import BalancedFilter, DynamicSampling, Gate, ShortBatch
from workbench.controllers.greso import GRESO
from workbench.controllers.items import ItemRule
from workbench.controllers.mastered import DropMastered
from workbench.controllers.mopps import MoPPS
from workbench.controllers.nearest import FrozenTarget, LinearSchedule
from workbench.controllers.pcl import PCL
from workbench.controllers.plr import PLR
from workbench.controllers.prioritized import Prioritized
from workbench.controllers.procurl import ProCuRL
from workbench.controllers.progress import LearningProgress
from workbench.controllers.rlve import RLVE
from workbench.controllers.rule import Draw, Feedback, Probe, Rule
from workbench.controllers.sfl import SFL
from workbench.controllers.sorted import SortedEasyToHard
from workbench.controllers.speed import SPEED
from workbench.controllers.staged import Staged
from workbench.controllers.tscl import TSCL
from workbench.controllers.uniform import MiddleBand, OfflineFilter, Uniform
from workbench.controllers.vcrl import VCRL

__all__ = [
    "ALPGMM",
    "BOTS",
    "DOTS",
    "DUMP",
    "E2H",
    "GRESO",
    "PCL",
    "PLR",
    "RLVE",
    "SEC",
    "SFL",
    "SPEED",
    "TSCL",
    "VCRL",
    "AdaRFT",
    "AdaRFTCovering",
    "AdaRFTGaussian",
    "ArmRule",
    "BalancedFilter",
    "Controller",
    "CurES",
    "Draw",
    "DropMastered",
    "DynamicSampling",
    "Feedback",
    "FrozenTarget",
    "Gate",
    "ItemRule",
    "LearningProgress",
    "LinearSchedule",
    "MiddleBand",
    "MoPPS",
    "OfflineFilter",
    "Prioritized",
    "ProCuRL",
    "Probe",
    "Rule",
    "ShortBatch",
    "SortedEasyToHard",
    "Staged",
    "Uniform",
]
