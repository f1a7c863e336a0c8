"""The pool: the items a curriculum chooses from."""

from workbench.pool.items import WHOLE, Arms, Pool
from workbench.pool.synthetic import GRID, PRESETS

__all__ = ["GRID", "PRESETS", "WHOLE", "Arms", "Pool"]
