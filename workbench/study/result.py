"""What a study found: its tables, its report, its figures, and files of them."""

from __future__ import annotations

import itertools
import json
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.analysis.digest import is_long
from workbench.analysis.printed import latex_table, markdown_table, short_table
from workbench.analysis.ranking import MOST_ARMS, ranking_lines, ranking_table
from workbench.analysis.report import report
from workbench.analysis.tables import runs_table, summary_table
from workbench.citing import cite
from workbench.display import Report
from workbench.errors import InputError, check_choice, check_flag, check_text
from workbench.files import check_folder, to_parquet, write_whole
from workbench.study.commit import git_commit
from workbench.study.identity import describe
from workbench.study.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("numpy", "scipy", "pandas", "matplotlib", "pyarrow", "numba")
REPORT = "report.html"
TABLES = ("runs.parquet", "curves.parquet", "summary.csv", "ranking.csv", "manifest.json")
KINDS = ("curves", "targets", "speedup", "heat", "levels", "ranking", "costs", "pairs")
KIND_OF = {  # the functions of workbench.figures, by the kind that each draws
    "learning_curves": "curves",
    "target_trajectories": "targets",
    "target_difficulty": "targets",
    "speedup_forest": "speedup",
    "heat_map": "heat",
    "success_by_level": "levels",
    "ranking_plot": "ranking",
    "cost_frontier": "costs",
    "paired_differences": "pairs",
}


@dataclass(frozen=True, eq=False)
class Result:
    """What a study found.

    study: what ran. curves: a row per run and record. threshold: success to reach, as a share in (0, 1] of the gain
    that uniform makes over the run. The other tables follow from these: `runs` (a row per run), `summary` (per arm,
    with intervals and tests), `ranking` (of controllers over pools), each a DataFrame.
    """

    study: Study
    curves: pd.DataFrame
    threshold: float = 0.8

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row per run: when it reached the threshold, its area under the curve and its end."""
        return runs_table(self.curves, self.threshold)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per arm: estimates with intervals, and the comparison with uniform on the same seeds."""
        return summary_table(self.runs, self.study.steps)

    @cached_property
    def ranking(self) -> pd.DataFrame:
        """A row per learner and controller: how it ranks over the pools."""
        return ranking_table(self.runs)

    def report(
        self,
        focus: str | None = None,
        full: bool = False,
        whole: str = "result.summary; result.report(full=True) prints it",
    ) -> Report:
        """Summary, costs and ranking as text.

        focus: the rule or controller whose defeats are listed, by default the leading rule. full: print every arm,
        also where there are more than 11 on a pool and learner; otherwise the best, the worst, those level with the
        best, the effects of swept settings, and `whole`, where the whole table lies.
        Raises InputError for a focus that did not run.
        """
        check_flag("full", full)
        check_text("whole", whole)
        few = not is_long(self.summary) and self.ranking["controller"].nunique() <= MOST_ARMS
        asked = repr(focus), full or few, "" if full or few else whole
        if asked not in self._reports:
            self._reports[asked] = self._report(focus, full, whole)
        return Report(self._reports[asked])

    @cached_property
    def _reports(self) -> dict[tuple[str, bool, str], str]:
        """Those that were made: a sweep prints one and puts it into its page. Of few arms nothing is left out."""
        return {}

    def _report(self, focus: str | None, full: bool, whole: str) -> str:
        told = report(self.runs, self.summary, self.study.steps, focus, full, whole)
        lines = [told, "", *ranking_lines(self.ranking, full)]
        if self.study.budget == "steps" and self.runs["rollouts"].nunique() > 1:
            lines.append('Updates were held equal, rollouts were not: see the costs, or budget="rollouts" '
                         "(--budget rollouts).")  # fmt: skip
        loose = loose_schedules(self.study)
        if loose:
            lines.append(f"Spread over {self.study.steps} updates, whenever the budget is spent: the schedules of "
                         f"{', '.join(loose)}; set their horizon to fit.")  # fmt: skip
        return "\n".join(lines)

    def plot(self, kind: str | None = None, **settings: Any) -> Figure:
        """A figure: "curves" (success over steps, the default), "targets", "speedup", "heat", "levels" (success by
        difficulty level), "ranking", "costs" (success over what runs cost) or "pairs" (differences seed by seed).

        The names of the functions of `workbench.figures` that draw them, such as "learning_curves", are taken too.
        settings: go to that function; "heat" takes x and y, two columns of the summary, by default the first two swept
        settings that some arm has both.
        Raises InputError for another kind, and for "heat" where no arm has two swept settings and none are given.
        """
        from workbench import figures

        kind = "curves" if kind is None else kind
        kind = next((drawn for name, drawn in KIND_OF.items() if name == kind), kind)
        check_choice("kind", kind, KINDS)
        if kind == "curves":
            return figures.learning_curves(self.curves, **settings)
        if kind == "targets":
            return figures.target_trajectories(self.curves, **settings)
        if kind == "speedup":
            return figures.speedup_forest(self.summary, **settings)
        if kind == "levels":
            return figures.success_by_level(self.curves, **settings)
        if kind == "ranking":
            return figures.ranking_plot(self.ranking, **settings)
        if kind == "costs":
            return figures.cost_frontier(self.summary, **settings)
        if kind == "pairs":
            return figures.paired_differences(self.runs, **settings)
        return figures.heat_map(self.summary, **({"average": True} | self._heat_axes(settings) | settings))

    def _heat_axes(self, given: dict[str, Any]) -> dict[str, str]:
        """x and y of a heat map: those given, otherwise the first two swept settings that some arm has both."""
        if "x" in given and "y" in given:
            return {}
        table = self.summary
        swept = [name for name in table.columns if "." in name and table[name].nunique() > 1]
        axes = ([given[axis]] if axis in given else swept for axis in ("x", "y"))
        for x, y in itertools.product(*axes):
            unknown = not {x, y} <= set(table.columns)  # heat_map names it
            if x != y and (unknown or table[[x, y]].notna().all(axis=1).any()):
                return {"x": x, "y": y}
        needed = "x and y, or two settings swept in points (workbench.grid_points) that some arm has both"
        raise InputError(f"heat: must have {needed}, got {', '.join(swept) or 'none'} swept")

    def table(self) -> pd.DataFrame:
        """The summary as a short table of text: intervals in brackets, one row per arm."""
        return short_table(self.summary)

    def to_latex(
        self,
        labels: Mapping[str, str] | None = None,
        siunitx: bool = False,
        columns: Sequence[str] | None = None,
    ) -> str:
        """The short table as a LaTeX `tabular` between the rules of booktabs; see `analysis.printed.latex_table`.

        The gain in area is bold where the test says "better". labels: LaTeX for names of pools, learners and
        controllers. siunitx: whether numbers stand in `S` columns, with intervals in columns of their own. columns:
        some of pool, learner, controller, seeds, speed-up, area, gain in area, p (Holm), verdict, in the order wanted.
        """
        return latex_table(self.summary, labels, siunitx, columns)

    def to_markdown(self, labels: Mapping[str, str] | None = None, columns: Sequence[str] | None = None) -> str:
        """The short table in Markdown, bold where the test says "better". labels: shown names. columns: as in LaTeX."""
        return markdown_table(self.summary, labels, columns)

    def cite(self) -> str:
        """BibTeX of the rules, gates, learners, statistics and packages that the study used; see `workbench.cite`."""
        return cite(self.study)

    def report_html(self, focus: str | None = None, command: str = "") -> str:
        """The report as one file of HTML that fetches nothing: answer, figures, tables, settings, how to run it again.

        focus: as in `report`. command: the line of a shell that ran the study, by default lines of Python.
        Raises InputError for an unknown focus, and where the file is larger than 5 MB.
        """
        from workbench.reports import parts
        from workbench.reports.study import study_page

        full = len(self.summary) <= parts.MOST_ROWS  # of more arms, too, the page stays below its 5 MB
        versions = {name: version(name) for name in PACKAGES} | self.study.packages
        page = study_page(self.study, self.curves, self.summary, self.ranking, self.threshold,
                          text=self.report(focus, full), command=command, versions=versions,
                          commit=git_commit())  # fmt: skip
        return page.html()

    def save(
        self, folder: str | os.PathLike[str], *, html: bool = True, focus: str | None = None, command: str = ""
    ) -> list[str]:
        """Write curves.parquet, runs.parquet, summary.csv, ranking.csv, manifest.json and report.html; returns their
        names.

        html: whether report.html is among them. focus, command: as in `report_html`.
        Raises InputError unless it is a folder, StorageError if the disk refuses.
        """
        out = check_folder("folder", folder)
        with ThreadPoolExecutor(1) as beside:  # Arrow packs the largest table while Python makes the others
            curves = beside.submit(to_parquet, self.curves)
            runs, summary, ranking = to_parquet(self.runs), csv_of(self.summary), csv_of(self.ranking)
            contents = runs, curves.result(), summary, ranking, self.manifest().encode()
            files = dict(zip(TABLES, contents, strict=True))
        if html:
            files[REPORT] = self.report_html(focus, command).encode()
        else:  # of an earlier study
            (out / REPORT).unlink(missing_ok=True)
        for name, data in files.items():
            write_whole(out / name, data)
        return list(files)

    def manifest(self) -> str:
        """Everything needed to run the study again. No times: the same study gives the same file."""
        study = self.study
        arms = [
            {"pool": arm.pool, "learner": arm.learner, "controller": arm.controller}
            | {"law": describe(arm.made_law), "rule": describe(arm.made_rule)}
            | {"gates": [describe(gate) for gate in arm.made_gates], "lag": arm.lag, "delivery": arm.delivery}
            for arm in study.arms
        ]
        packages = {name: version(name) for name in PACKAGES} | study.packages
        content = {
            "pools": [{"name": pool.name, "items": len(pool), "digest": pool.digest} for pool in study._pools],
            "seeds": study.seeds,
            "steps": study.steps,
            "batch": study.batch,
            "rollouts": study.rollouts,
            "eval_every": study.eval_every,
            "budget": study.budget,
            "lag": study.lag,
            "delivery": study.delivery,
            "threshold": self.threshold,
            "points": study.points,
            "arms": arms,
            "git_commit": git_commit(),
            "versions": {"python": platform.python_version()} | packages,
        }
        return json.dumps(content, indent=1) + "\n"

    def __repr__(self) -> str:
        return f"Result of a {self.study!r}:\n{self.table().to_string(index=False)}"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>Result of a {escape(repr(self.study))}</p>{self.table().to_html(index=False)}"


def csv_of(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, float_format="%.6g").encode()


def loose_schedules(study: Study) -> list[str]:
    """Controllers whose schedule ends after the study's steps, while their runs end with what they spend."""
    fixed = {name for point in study.points for name in point}
    loose = []
    for choice in study._controllers:
        rule, gates = choice.make({})
        scheduled = bool(choice.owners) and hasattr(rule, "horizon") and f"{choice.owners[0]}.horizon" not in fixed
        if scheduled and (study.budget == "tokens" or (study.budget == "rollouts" and gates)):
            loose.append(choice.name)
    return loose
