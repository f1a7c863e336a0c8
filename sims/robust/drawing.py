"""What the figures of robustness.py share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from workbench import figures

# Okabe and Ito's colours, apart from their yellow
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@contextmanager
def page(height: float, **layout: Any) -> Iterator[Figure]:
    """An empty figure as wide as a page, under the style of all figures; height in inches."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(figures.STYLE)
        yield Figure(figsize=(figures.PAGE_WIDTH, height), layout="constrained", **layout)
