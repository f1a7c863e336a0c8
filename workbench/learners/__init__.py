"""Simulated learners: laws of learning, one file per law, and the SimLearner that binds one to a pool."""

from workbench.learners.law import Law
from workbench.learners.laws.chain import Chain
from workbench.learners.laws.grid import PrerequisiteGrid
from workbench.learners.laws.kernel import KernelTransfer, Tabular
from workbench.learners.laws.policy import TinyPolicy
from workbench.learners.laws.scalar import ScalarIRT
from workbench.learners.laws.skills import MultiSkill
from workbench.learners.laws.tracing import KnowledgeTracing
from workbench.learners.learner import SimLearner, difficulty_to_logit
from workbench.learners.signals import GRPO, RLOO, Critic, MeanBaseline, Signal, SuccessOnly, Visit

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
