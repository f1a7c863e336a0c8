"""Curriculum rules, one file per published rule. Made by python -m workbench.listing --write"""

from workbench.controllers.rules.adarft import AdaRFT, AdaRFTCovering, AdaRFTGaussian
from workbench.controllers.rules.alp_gmm import ALPGMM
from workbench.controllers.rules.bots import BOTS
from workbench.controllers.rules.cures import CurES
from workbench.controllers.rules.dots import DOTS
from workbench.controllers.rules.dump import DUMP
from workbench.controllers.rules.e2h import E2H
from workbench.controllers.rules.greso import GRESO
from workbench.controllers.rules.mastered import DropMastered
from workbench.controllers.rules.mopps import MoPPS
from workbench.controllers.rules.nearest import FrozenTarget, LinearSchedule
from workbench.controllers.rules.pcl import PCL
from workbench.controllers.rules.plr import PLR
from workbench.controllers.rules.prioritized import Prioritized
from workbench.controllers.rules.procurl import ProCuRL
from workbench.controllers.rules.progress import LearningProgress
from workbench.controllers.rules.rlve import RLVE
from workbench.controllers.rules.sec import SEC
from workbench.controllers.rules.sfl import SFL
from workbench.controllers.rules.sorted import SortedEasyToHard
from workbench.controllers.rules.staged import Staged
from workbench.controllers.rules.tscl import TSCL
from workbench.controllers.rules.uniform import MiddleBand, OfflineFilter, Uniform

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
    "TSCL",
    "AdaRFT",
    "AdaRFTCovering",
    "AdaRFTGaussian",
    "CurES",
    "DropMastered",
    "FrozenTarget",
    "LearningProgress",
    "LinearSchedule",
    "MiddleBand",
    "MoPPS",
    "OfflineFilter",
    "Prioritized",
    "ProCuRL",
    "SortedEasyToHard",
    "Staged",
    "Uniform",
]
