"""Curriculum rules and gates, and the Controller that binds a rule and its gates to a pool."""

from workbench.controllers import gates, rules
from workbench.controllers.arms import ArmRule
from workbench.controllers.controller import Controller, StepPerCall
from workbench.controllers.gate import Gate, ShortBatch
from workbench.controllers.gates import *  # noqa: F403
from workbench.controllers.items import ItemRule
from workbench.controllers.rule import Draw, Feedback, Look, Probe, Rule
from workbench.controllers.rules import *  # noqa: F403

__all__ = ["ArmRule", "Controller", "Draw", "Feedback", "Gate", "ItemRule", "Look", "Probe", "Rule", "ShortBatch"]
__all__ += ["StepPerCall"]
__all__ += rules.__all__
__all__ += gates.__all__
