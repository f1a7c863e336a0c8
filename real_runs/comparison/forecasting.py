"""What a calibration on the first updates of uniform runs says of the other arms of a comparison, and how it came out.

A forecast is made from some seeds of the uniform arm alone, up to an update, and scored on the paired seeds that are
left. The gain of an arm is the area under its held-out success over the run less uniform's, in success.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm as normal
from scipy.stats import spearmanr
from scipy.stats import t as student

from real_runs.comparison.cells import folder_of
from real_runs.runs.execute import make_pool
from real_runs.runs.finished import Finished, read_finished, read_manifest
from real_runs.runs.identity import as_now
from real_runs.runs.run import Run
from real_runs.tasks.measured import MEASURED
from real_runs.tasks.named import make_task
from workbench.analysis.stats import area
from workbench.calibration.advice import DOUBT, INTERVAL, Advice
from workbench.calibration.advise import advise
from workbench.calibration.calibrate import calibrate
from workbench.calibration.discrepancy import OF_REAL_RUNS, Discrepancy, exposed
from workbench.calibration.log import Log
from workbench.calibration.replay import difficulty_of
from workbench.errors import InputError, shown_path
from workbench.pool import Pool
from workbench.registry import BASELINE
from workbench.streams import Role, generator

Floats = NDArray[np.float64]
COLUMNS = ("arm", "gain", "low80", "high80", "no_better")
BY_LAWS = ("laws", "laws_sd", "exposed")  # further columns, without discrepancy


@dataclass(frozen=True)
class Arms:
    """The finished runs of one pool of a comparison: folder/ARM/seed-K."""

    folder: Path

    @property
    def names(self) -> list[str]:
        found = sorted(path.name for path in self.folder.iterdir() if path.is_dir() and path.name[0] != ".")
        return [BASELINE, *(name for name in found if name != BASELINE)]

    def run(self, arm: str, seed: int) -> tuple[Run, Finished]:
        """Raises InputError where no such run has ended."""
        folder = self.folder / arm / f"seed-{seed}"
        manifest = read_manifest(folder)
        if manifest is None:
            raise InputError(f"--runs: must hold a finished run of each arm and seed, got none in {shown_path(folder)}")
        settings = as_now(manifest, "run")
        run = Run(**settings | {"settings": tuple(sorted(settings["settings"].items()))})
        return run, read_finished(folder, manifest, run)

    def seeds(self, arm: str) -> list[int]:
        """The seeds whose runs have ended."""
        found = (path for path in (self.folder / arm).glob("seed-*") if read_manifest(path) is not None)
        return sorted(int(path.name.removeprefix("seed-")) for path in found)

    def log(self, arm: str, seeds: Sequence[int], until: int) -> Log:
        """The groups of some runs up to an update; items are positions in their pool."""
        parts = []
        for seed in seeds:
            self.run(arm, seed)
            frame = pd.read_parquet(self.folder / arm / f"seed-{seed}" / "rollouts.parquet", use_threads=False)
            parts.append(frame[frame["step"] <= until].assign(run=f"seed {seed}"))
        table = pd.concat(parts)
        names = ("step", "item", "successes", "attempts")
        whole: dict[str, Any] = {name: table[name].to_numpy().astype(np.int64) for name in names}
        return Log(**whole, run=table["run"].to_numpy(str), admitted=table["admitted"].to_numpy(bool))

    def curve(self, arm: str, seed: int) -> tuple[Floats, Floats]:
        """Steps (E,) and mean held-out success over the strata (E,) of a run."""
        of_step = self.run(arm, seed)[1].evals.groupby("step")["success"].mean()
        return of_step.index.to_numpy(float), of_step.to_numpy()


def make(
    arms: Arms, seeds: Sequence[int], until: int, candidates: Sequence[str], learners: Sequence[str], lanes: int,
    jobs: int, seed: int, out: Path,
) -> tuple[Advice, pd.DataFrame]:
    """The advice, and a row per candidate: mean gain of its area, its 80 % interval, the chance to be no better; then
    the mean and the standard deviation of the gain by the laws alone, and how much of it a discrepancy of 1 takes.

    The success that is forecast is that on all measured problems of the task, its levels weighted alike, as held-out
    problems are. The interval holds what the futures spread and the noise of held-out evaluations of one run.
    """
    run, finished = arms.run(BASELINE, seeds[0])
    pool = make_pool(run, make_task(run.task, run.scorer, run.answer))
    log = arms.log(BASELINE, seeds, until).on(pool.without_payload())
    measured = MEASURED / f"{run.task}.parquet"
    probe = difficulty_of(Pool.load(measured)) if measured.is_file() else difficulty_of(pool)
    assert probe is not None
    rng = generator(seed, Role.PROBE)
    probe = probe[rng.permutation(len(probe))[:400]]
    fit = calibrate(log, pool.without_payload(), learners, warm_up=run.warm_up, seed=seed, jobs=jobs,
                    out=out / "parts" / "fits")  # fmt: skip
    by_laws = advise(fit, run.steps, run.batch, run.rollouts, list(candidates), origin="start", probe=probe,
                     discrepancy=None, lanes=lanes, seed=seed, jobs=jobs, out=out / "parts" / "futures")  # fmt: skip
    advice = by_laws.less(OF_REAL_RUNS, seed)
    taken = by_laws.areas(exposed(by_laws.success, by_laws.narrowness))
    noise = evaluation_noise(finished) * rng.standard_normal(advice.gain.shape[1])
    rows = []
    for place, candidate in enumerate(advice.candidates[1:], 1):
        low, high = np.quantile(advice.gain[place] + noise, INTERVAL)
        alone = by_laws.gain[place]
        rows.append((candidate.label, advice.gain[place].mean(), low, high, advice.no_better[place], alone.mean(),
                     np.hypot(alone.std(), evaluation_noise(finished)), (taken[place] - taken[0]).mean()))  # fmt: skip
    return advice, pd.DataFrame(rows, columns=[*COLUMNS, *BY_LAWS])


def evaluation_noise(finished: Finished) -> float:
    """Standard error of a difference of two areas that comes from finite held-out evaluations alone.

    The mean over strata of n attempts each, with success p, has the variance sum_s p_s (1 - p_s) / n_s / S^2; the area
    of E evaluations at equal distances is nearly their mean.
    """
    evals = finished.evals
    each = (evals["success"] * (1 - evals["success"]) / evals["n"]).groupby(evals["step"]).sum()
    strata = evals["stratum"].nunique()
    return float(np.sqrt(2 * each.mean() / strata**2 / len(each)))


def real_gains(arms: Arms, seeds: Sequence[int]) -> pd.DataFrame:
    """A row per arm: mean gain in area over the seeds that the arm and uniform both have, with 80 % t-interval."""
    rows = []
    for arm in arms.names[1:]:
        shared = [seed for seed in arms.seeds(arm) if seed in arms.seeds(BASELINE) and seed in seeds]
        gains = np.array([_gain(arms, arm, seed) for seed in shared])
        if len(gains) < 2:
            continue
        reach = student.ppf(0.9, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
        rows.append((arm, len(gains), gains.mean(), gains.mean() - reach, gains.mean() + reach))
    return pd.DataFrame(rows, columns=["arm", "seeds", "real", "real_low80", "real_high80"])


def _gain(arms: Arms, arm: str, seed: int) -> float:
    mine, base = (float(area(*arms.curve(name, seed))) for name in (arm, BASELINE))
    return mine - base


def score(
    forecast: pd.DataFrame, real: pd.DataFrame, advised: str, beside: Sequence[str] = ("adarft", "greso")
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Forecast beside reality, and: signs right where the real interval excludes 0; coverage of the forecast intervals;
    Spearman's correlation; regret, the best arm's real gain less the advised one's, and that of uniform and of the arms
    beside, as far as they ran."""
    table = forecast.assign(arm=forecast["arm"].map(folder_of)).merge(real, on="arm", how="inner")
    if table.empty:
        raise InputError("--forecast: must share an arm with the runs, got none")
    clear = table[(table["real_low80"] > 0) | (table["real_high80"] < 0)]
    best = max(0.0, float(table["real"].max()))
    gains = {BASELINE: 0.0} | dict(zip(table["arm"], table["real"], strict=True))
    choices = dict.fromkeys((advised, BASELINE, *beside))
    regret = {name: best - float(gains[folder_of(name)]) for name in choices if folder_of(name) in gains}
    found: dict[str, Any] = {
        "arms": len(table), "clear": len(clear),
        "signs_right": float((np.sign(clear["gain"]) == np.sign(clear["real"])).mean()) if len(clear) else np.nan,
        "coverage": float(table["real"].between(table["low80"], table["high80"]).mean()),
        "spearman": float(spearmanr(table["gain"], table["real"])[0]) if len(table) > 2 else np.nan,
        "advised": advised, "regret": regret,
    }  # fmt: skip
    return table, found


def leave_one_out(table: pd.DataFrame) -> pd.DataFrame:
    """How forecasts of each setting do by the laws alone, and with the discrepancy that the other settings have.

    table: as `Discrepancy.of` takes it, of three settings or more, with `seeds`, the runs behind each real gain. A row
    per setting and way: setting; way, "laws" or "discrepancy"; arms; covered, real gains inside the 80 % interval of a
    normal forecast; clear, real gains whose 80 % t-interval excludes 0; right, how many of these have that sign;
    log_score, the sum of the log densities of the real gains; regret, of the advised arm (`Advice.advised`), and
    uniform, of uniform.
    """
    rows = []
    for name, own in table.groupby("setting", sort=False):
        others = Discrepancy.of(table[table["setting"] != name])
        reach = student.ppf(INTERVAL[1], own["seeds"] - 1) * own["real_se"]
        clear = (own["real"].abs() > reach) & (own["real"] != 0)
        for way, law in (("laws", Discrepancy(0.0, 0.0)), ("discrepancy", others)):
            mean = own["forecast"] - law.mean * own["exposed"]
            sd = (own["forecast_sd"] ** 2 + (law.sd * own["exposed"]) ** 2) ** 0.5
            likely = normal(mean, np.hypot(sd, own["real_se"])).logpdf(own["real"])
            best = int(mean.argmax())
            sure = mean.iloc[best] > 0 and normal(mean.iloc[best], sd.iloc[best]).cdf(0) <= DOUBT
            top = max(0.0, float(own["real"].max()))
            rows.append({
                "setting": name, "way": way, "arms": len(own),
                "covered": int(((own["real"] - mean).abs() <= normal.ppf(INTERVAL[1]) * sd).sum()),
                "clear": int(clear.sum()), "right": int((np.sign(mean) == np.sign(own["real"]))[clear].sum()),
                "log_score": float(likely.sum()), "regret": top - (float(own["real"].iloc[best]) if sure else 0.0),
                "uniform": top,
            })  # fmt: skip
    return pd.DataFrame(rows)


def as_text(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1)
