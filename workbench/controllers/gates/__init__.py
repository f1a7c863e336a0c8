"""Gates, one file per published gate. Made by python -m workbench.listing --write"""

from workbench.controllers.gates.balanced import BalancedFilter
from workbench.controllers.gates.dapo import DynamicSampling
from workbench.controllers.gates.speed import SPEED
from workbench.controllers.gates.vcrl import VCRL

__all__ = [
    "SPEED",
    "VCRL",
    "BalancedFilter",
    "DynamicSampling",
]
