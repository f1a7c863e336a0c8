"""The summary as a table of a paper: LaTeX and Markdown, with intervals, bold only where the test says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.frame import ARM, check_numbers, check_table
from workbench.analysis.latex import latex_escaped
from workbench.analysis.tables import baseline_name
from workbench.errors import InputError, check_choice, check_flag, check_text, shown

# Heading of a column of numbers: the summary's column, how a number is written, whether it has an interval.
NUMBERS = {
    "seeds": ("seeds", "d", False),
    "speed-up": ("speedup", ".2f", True),
    "area": ("auc", ".3f", False),
    "gain in area": ("auc_gain", "+.3f", True),
    "p (Holm)": ("p_holm", ".3g", False),
}
# Of S columns: bold as the text is, the signs that are given, no gaps in a number. Local to a table's environment.
SIUNITX = (r"\sisetup{reset-text-series = false, text-series-to-math = true, retain-explicit-plus, group-digits = none"
           r", table-align-exponent = false}")  # fmt: skip
TESTED = "gain in area"  # what the test is on: bold where its verdict is "better"
VERDICT = "verdict"
COLUMNS = (*ARM, *NUMBERS, VERDICT)  # of the short table


def short_table(summary: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The summary as a short table of text: intervals in brackets, one row per arm. columns: as in `latex_table`."""
    chosen = _chosen(columns)
    summary, against = _checked(summary)
    rows = summary.to_dict("records")
    heads = {name: against if name == VERDICT else name for name in chosen}
    return pd.DataFrame({heads[name]: [_text(row, name) for row in rows] for name in chosen})


def latex_table(
    summary: pd.DataFrame,
    labels: Mapping[str, str] | None = None,
    siunitx: bool = False,
    columns: Sequence[str] | None = None,
) -> str:
    """The summary as a LaTeX `tabular` between the rules of booktabs: a row per arm, 95 % intervals in brackets.

    The gain in area is bold where the test's verdict is "better", and nowhere else: see `summary_table`. labels: what
    stands for a pool, learner or controller, in LaTeX; other names are escaped. siunitx: whether numbers stand in `S`
    columns, aligned at the point, with their intervals in a column of their own; the first line then sets siunitx up,
    version 3 or newer. Otherwise booktabs is all it needs. columns: some of COLUMNS, in the order wanted, where the
    page is narrow; all by default.
    Raises InputError for missing columns, an arm twice, labels that are no names, and columns that are none.
    """
    check_flag("siunitx", siunitx)
    names, chosen = _named(labels, latex_escaped), _chosen(columns)
    summary, against = _checked(summary)
    rows = summary.to_dict("records")
    form: list[str] = []
    heads: list[str] = []
    for name in chosen:
        interval = name in NUMBERS and NUMBERS[name][2]
        head = latex_escaped(against if name == VERDICT else name)
        if siunitx and name in NUMBERS:
            form += [_aligned([_cell(row, name)[0] for row in rows]), *(["l"] if interval else [])]
            heads += [f"{{{head}}}", *(["{95 \\% interval}"] if interval else [])]
        else:
            form.append("r" if name in NUMBERS and not interval else "l")
            heads.append(head)
    lines = [rf"\begin{{tabular}}{{{''.join(form)}}}", r"\toprule", _line(heads), r"\midrule"]
    for row in rows:
        cells: list[str] = []
        for name in chosen:
            bold = name == TESTED and row[VERDICT] == "better"
            if name not in NUMBERS:
                cells.append(names(row[name]) if name in ARM else latex_escaped(row[name]))
            elif siunitx:
                number, ends = _cell(row, name)
                cells.append((r"\bfseries " if bold else "") + number if number else "{}")
                cells += [_upright(ends, bold)] if NUMBERS[name][2] else []
            else:
                cells.append(_upright(_text(row, name), bold))
        lines.append(_line(cells))
    packages = "booktabs, siunitx" if siunitx else "booktabs"
    lines += [r"\bottomrule", r"\end{tabular}", rf"% needs \usepackage{{{packages}}}"]
    lines += [f"% bold: {_bold_means(against)}"] if TESTED in chosen else []
    return "\n".join([*([SIUNITX] if siunitx else []), *lines, ""])


def markdown_table(
    summary: pd.DataFrame, labels: Mapping[str, str] | None = None, columns: Sequence[str] | None = None
) -> str:
    """The summary in Markdown, as `latex_table` has it. labels: what stands for a pool, learner or controller."""
    names = _named(labels, str)
    table = short_table(summary, columns)
    for key in {*ARM} & {*table.columns}:
        table[key] = [names(name) for name in table[key]]
    if TESTED in table:
        table[TESTED] = [f"**{text}**" if verdict == "better" else text
                         for text, verdict in zip(table[TESTED], summary[VERDICT], strict=True)]  # fmt: skip

    def line(cells: Iterable[Any]) -> str:
        safe = (" ".join(str(cell).split()).replace("\\", "\\\\").replace("|", r"\|") for cell in cells)
        return "| " + " | ".join(safe) + " |"

    rule = line("---:" if head in NUMBERS else "---" for head in table.columns)
    return "\n".join([line(table.columns), rule, *map(line, table.itertuples(index=False)), ""])


def _chosen(columns: Any) -> list[str]:
    """The columns of a table, all by default."""
    if columns is None:
        return list(COLUMNS)
    if not isinstance(columns, list | tuple) or not columns:
        raise InputError(f"columns: must be a list of some of {', '.join(COLUMNS)}, got {shown(columns)}")
    for name in columns:
        check_choice("columns", name, COLUMNS)
        if list(columns).count(name) > 1:
            raise InputError(f"columns: must name each once, got {name} more than once")
    return list(columns)


def _checked(summary: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The summary, and the heading of its verdicts."""
    ends = {False: ("",), True: ("", "_low", "_high")}
    numbers = [name + end for name, _, interval in NUMBERS.values() for end in ends[interval]]
    summary = check_table(summary, "summary", [*ARM, *numbers, VERDICT], one_row_per=ARM)
    check_numbers(summary, "summary", numbers)
    return summary, f"against {baseline_name(summary) or 'the baseline'}"


def _text(row: dict[Any, Any], name: str) -> str:
    """A cell of the short table: a number with its interval, or a name."""
    return " ".join(filter(None, _cell(row, name))) if name in NUMBERS else str(row[name])


def _cell(row: dict[Any, Any], head: str) -> tuple[str, str]:
    """A number and its interval as text; empty where there is none."""
    name, form, interval = NUMBERS[head]
    if not np.isfinite(row[name]):
        return "", ""
    number = f"{int(row[name])}" if form == "d" else f"{row[name]:{form}}"
    low, high = (row.get(f"{name}{end}", np.nan) for end in ("_low", "_high"))
    return number, f"[{low:{form}}, {high:{form}}]" if interval and np.isfinite(low) and np.isfinite(high) else ""


def _aligned(numbers: Sequence[str]) -> str:
    """The S column that holds these numbers."""
    known = [number.lstrip("+-").partition("e")[0].partition(".") for number in numbers if number]
    whole, parts = (max((len(part[k]) for part in known), default=1 - k // 2) for k in (0, 2))
    sign = "+" if any(number[:1] in ("+", "-") for number in numbers) else ""
    power = "e-2" if any("e" in number for number in numbers) else ""
    return f"S[table-format={sign}{whole}{f'.{parts}' if parts else ''}{power}]"


def _upright(text: str, bold: bool) -> str:
    """A text of numbers as LaTeX: minus signs, not hyphens."""
    cell = latex_escaped(text.replace("-", "−"))
    return rf"\textbf{{{cell}}}" if bold and cell else cell


def _line(cells: Iterable[str]) -> str:
    row = " & ".join(cells) + r" \\"
    return "{}" + row if row.startswith("[") else row  # which would be an argument of the line break before it


def _bold_means(against: str) -> str:
    return f"better {against}, sign-flip test on the area, Holm-adjusted over the table at 5 %"


def _named(labels: Any, safe: Any) -> Any:
    if labels is not None and not isinstance(labels, Mapping):
        raise InputError(f"labels: must map names of the table to the names shown, got {shown(labels)}")
    given = dict(labels or {})
    for name, text in given.items():
        check_text("labels", name)
        check_text("labels", text)
    return lambda name: given.get(str(name), safe(name))
