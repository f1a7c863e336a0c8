"""Simulated learners: laws of learning, and the SimLearner that binds one to a pool."""

from workbench.learners import laws
from workbench.learners.law import Law
from workbench.learners.laws import *  # noqa: F403
from workbench.learners.learner import SimLearner, difficulty_to_logit
from workbench.learners.signals import GRPO, RLOO, Critic, MeanBaseline, Signal, SuccessOnly, Visit

__all__ = [
    "GRPO",
    "RLOO",
    "Critic",
    "Law",
    "MeanBaseline",
    "Signal",
    "SimLearner",
    "SuccessOnly",
    "Visit",
    "difficulty_to_logit",
]
__all__ += laws.__all__
