"""Which row of a trainer's data set each item of the pool is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, few, shown
from workbench.pool import Pool

IMAGES = ("image", "images")  # columns that trainers take for pictures


def rows_of_items(pool: Pool, data: Any, id_column: str | None) -> NDArray[np.int64]:
    """(I,) row of each item: the item's position, or the row whose id in `id_column` is the item's.

    InputError unless each item has exactly one row. Rows that are no item's are allowed with ids only.
    """
    if not all(hasattr(data, name) for name in ("__len__", "__getitem__", "column_names")):
        kind = type(data).__name__
        raise InputError(f"train_dataset: must be a Dataset with the items of the pool, got {shown(kind)}")
    pictures = [name for name in IMAGES if name in data.column_names]
    if pictures:
        raise InputError(f"train_dataset: must have no images in a host, got the column {shown(pictures[0])}")
    if id_column is None:
        if len(data) != len(pool):
            raise InputError(f"train_dataset: must be the pool row for row, {len(pool)} items, got {len(data)} rows; "
                             "id_column joins others by id")  # fmt: skip
        return np.arange(len(pool))
    if id_column not in data.column_names:
        raise InputError(f"id_column: must be one of {few(list(data.column_names))}, got {shown(id_column)}")
    if pool.ids is None:
        raise InputError(f"pool: must have ids to be joined by {shown(id_column)}, but '{pool.name}' has none")
    return _joined(pool.ids.tolist(), list(data[id_column]), id_column)


def _joined(wanted: list[Any], given: list[Any], id_column: str) -> NDArray[np.int64]:
    """(I,) the row of each wanted id."""
    rows: dict[Any, int] = {}
    for row, name in enumerate(given):
        if rows.setdefault(name, row) != row:
            raise InputError(f"train_dataset: must have an id once in {id_column}, got {shown(name)} twice")
    lacking = [name for name in wanted if name not in rows]
    if lacking:
        kinds = f" ({type(wanted[0]).__name__} in the pool, {type(given[0]).__name__} here)" if given else ""
        raise InputError(f"train_dataset: must have a row for each id of the pool, lacks {len(lacking)} of "
                         f"{len(wanted)}: {few([str(name) for name in lacking], 3)}{kinds}")  # fmt: skip
    return np.array([rows[name] for name in wanted], np.int64)
