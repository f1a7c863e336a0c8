"""One file of HTML to hand on: what was asked and answered, figures, tables, settings, and how to run it again."""

from workbench.reports.page import MOST_BYTES, Page
from workbench.reports.parts import Arm, Cell, Figure, Head, Panel, Row, Sample, Shown, Table, table_of

__all__ = [
    "MOST_BYTES", "Arm", "Cell", "Figure", "Head", "Page", "Panel", "Row", "Sample", "Shown", "Table", "table_of",
]  # fmt: skip
