"""Simulated learners: laws of learning, one file per law, and the SimLearner that binds one to a pool."""

from workbench.learners.chain import Chain
from workbench.learners.grid import PrerequisiteGrid
from workbench.learners.kernel import KernelTransfer, Tabular
from workbench.learners.law import Law
from workbench.learners.learner import SimLearner, difficulty_to_logit
from workbench.learners.policy import TinyPolicy
from workbench.learners.scalar import ScalarIRT
from workbench.learners.signals import GRPO, RLOO, Critic, MeanBaseline, Signal, SuccessOnly, Visit
from workbench.learners.skills import MultiSkill
from workbench.learners.tracing import KnowledgeTracing

__all__ = [
    "GRPO",
    "RLOO",
    "Chain",
    "Critic",
    "KernelTransfer",
    "KnowledgeTracing",
    "Law",
    "MeanBaseline",
    "MultiSkill",
    "PrerequisiteGrid",
    "ScalarIRT",
    "Signal",
    "SimLearner",
    "SuccessOnly",
    "Tabular",
    "TinyPolicy",
    "Visit",
    "difficulty_to_logit",
]
