"""A controller in TRL's GRPOTrainer and RLOOTrainer: no lag, refills behind gates, exact resume."""

from workbench.hosts.trl.seam import check_seam, import_trl

check_seam(*import_trl())

from workbench.hosts.trl.steered import Steered, SteeredGRPOTrainer, SteeredRLOOTrainer  # noqa: E402

__all__ = ["Steered", "SteeredGRPOTrainer", "SteeredRLOOTrainer"]
