"""Laws of learning, one file per law. Made by python -m workbench.listing --write"""

from workbench.learners.laws.chain import Chain
from workbench.learners.laws.grid import PrerequisiteGrid
from workbench.learners.laws.interference import Interference
from workbench.learners.laws.kernel import KernelTransfer, Tabular
from workbench.learners.laws.policy import TinyPolicy
from workbench.learners.laws.scalar import ScalarIRT
from workbench.learners.laws.skills import MultiSkill
from workbench.learners.laws.tracing import KnowledgeTracing

__all__ = [
    "Chain",
    "Interference",
    "KernelTransfer",
    "KnowledgeTracing",
    "MultiSkill",
    "PrerequisiteGrid",
    "ScalarIRT",
    "Tabular",
    "TinyPolicy",
]
