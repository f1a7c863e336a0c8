"""Every public function against one table of bad values: each is refused in one line, or the answer is one of values
that were taken. No other error, no value behind a mask."""

import functools
import inspect
import warnings

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import difficulty, streams
from workbench.analysis import tables
from workbench.errors import InputError

BIG = 10**400


def masked(values):
    return np.ma.array(np.array(values, dtype=float), mask=np.arange(np.size(values)).reshape(np.shape(values)) == 0)


def first(values, entry):
    return [entry, *list(values)[1:]]


# name -> bad value made of a good one, by the kind of the good one
OF_NUMBERS = {
    "masked": masked, "object": lambda v: np.array(v, dtype=object),
    "complex": lambda v: np.array(v, dtype=complex) + 1j, "text": lambda v: [str(x) for x in v],
    "date": lambda v: np.array(["2026-01-01"] * len(v), dtype="datetime64[D]"),
    "none": lambda v: first(v, None), "nan": lambda v: first(v, float("nan")), "inf": lambda v: first(v, float("inf")),
    "huge": lambda v: first(v, 1e300), "beyond floats": lambda v: first(v, BIG), "negative": lambda v: first(v, -1e300),
    "empty": lambda v: [], "two axes": lambda v: np.array([v, v]), "a number": lambda v: 3.5, "nothing": lambda v: None,
    "a text": lambda v: "text", "shorter": lambda v: list(v)[1:], "ragged": lambda v: [[1.0], [1.0, 2.0]],
    "a mapping": lambda v: {"a": 1}, "an object": lambda v: object(), "structured": lambda v: np.zeros(len(v), "f8,i4"),
}  # fmt: skip
OF_A_NUMBER = {
    "none": None, "text": "3", "empty": "", "nan": float("nan"), "inf": float("inf"), "minus inf": -float("inf"),
    "negative": -1, "huge": 1e300, "beyond floats": BIG, "true": True, "half": 2.5, "list": [], "lists": [[1], [1, 2]],
    "masked": np.ma.masked, "masked array": np.ma.array([1.0, 2.0], mask=[True, False]), "complex": 1 + 1j,
    "date": np.datetime64("2026-01-01"), "object": object(), "bytes": b"3", "mapping": {},
}  # fmt: skip
OF_TEXT = {
    "none": None, "number": 5, "empty": "", "nul": "a\0b", "long": "x" * 5000, "lone surrogate": "\ud800",
    "bytes": b"a", "list": ["a"], "lines": "a\nb", "object": object(),
}  # fmt: skip
OF_ANYTHING = {
    "none": None, "number": 5, "text": "text", "list": [1], "mapping": {"a": 1}, "object": object(),
    "nan": float("nan"),
}  # fmt: skip

D = np.linspace(5, 95, 12)
POOL = wb.Pool(D, successes=[3] * 12, attempts=[8] * 12, category=["a", "b"] * 6, name="mine")
REWARDS = np.tile(np.array([0, 1, 1, 0], np.float32), (4, 1))


@functools.cache
def frame():
    records = [
        wb.train(wb.Controller(rule, POOL, seed=seed), wb.SimLearner(wb.ScalarIRT(), POOL, seed=seed), 4, 4, 4, 2)
        for rule in (wb.Uniform(), wb.AdaRFT()) for seed in range(3)
    ]  # fmt: skip
    return pd.concat([record.to_frame() for record in records], ignore_index=True)


def controller():
    return wb.Controller(wb.AdaRFT(), POOL, seed=1)


def answered(items=(0, 1, 2, 3), rewards=REWARDS, **more):
    c = controller()
    c.next_batch(4)
    return c.observe(items, rewards, **more)


def learner():
    return wb.SimLearner(wb.ScalarIRT(), POOL, seed=1)


def trained(steps=2, batch=4, rollouts=4, eval_every=1):
    return wb.train(controller(), learner(), steps, batch, rollouts, eval_every)


def restored(state):
    controller().load_state_dict(state)


# what is called -> its function and good arguments
CALLS = {
    "Pool": (wb.Pool, {"difficulty": D, "ids": np.arange(12), "category": ["a"] * 12, "level": np.arange(12),
                       "successes": np.full(12, 3), "attempts": np.full(12, 8), "features": np.ones((12, 2)),
                       "weak_rate": D / 100, "strong_rate": D / 100, "payload": {"prompt": ["a"] * 12}, "name": "p"}),
    "Pool.synthetic": (wb.Pool.synthetic, {"name": "uniform", "size": 12, "seed": 0}),
    "Pool.load": (wb.Pool.load, {"source": "gone.csv", "columns": {"prompt": "a"}}),
    "Pool.from_frame": (wb.Pool.from_frame, {"frame": pd.DataFrame({"difficulty": D}), "name": "p", "columns": {}}),
    "Pool.take": (POOL.take, {"rows": [0, 1], "name": "p"}),
    "Pool.arms": (POOL.arms, {"by": "difficulty", "bins": 3}),
    "Pool.with_payload": (POOL.with_payload, {"payload": {"prompt": ["a"] * 12}}),
    "Controller": (wb.Controller, {"rule": wb.AdaRFT(), "pool": POOL, "gates": (), "seed": 0, "lanes": 2}),
    "next_batch": (lambda batch: controller().next_batch(batch), {"batch": 4}),
    "observe": (answered, {"items": [0, 1, 2, 3], "rewards": REWARDS, "counts": [4, 4, 4, 4]}),
    "load_state_dict": (restored, {"state": {"step": 1}}),
    "SimLearner": (wb.SimLearner, {"law": wb.ScalarIRT(), "pool": POOL, "seed": 0, "lanes": 2, "b": D / 50,
                                   "length": D}),
    "attempt": (lambda items, rollouts: learner().attempt(items, rollouts), {"items": np.arange(4), "rollouts": 4}),
    "train": (trained, {"steps": 2, "batch": 4, "rollouts": 4, "eval_every": 1}),
    "Study": (wb.Study, {"pools": [POOL], "learners": ["scalar"], "controllers": ["uniform"], "seeds": 2, "steps": 2,
                         "batch": 4, "rollouts": 4}),
    "grid_points": (wb.grid_points, {"choices": {"adarft.eta": [1, 2]}}),
    "space_filling_points": (wb.space_filling_points, {"ranges": {"adarft.eta": (1.0, 2.0, False)}, "design": "sobol",
                                                       "points": 4}),
    "from_counts": (difficulty.from_counts, {"successes": [1, 2, 3], "attempts": [8, 8, 8], "level": 0.9}),
    "from_ratings": (difficulty.from_ratings, {"ratings": [1.0, 2.0, 5.0], "low": 1, "high": 5}),
    "population": (difficulty.population, {"successes": [1, 2, 3], "attempts": [8, 8, 8]}),
    "beta_binomial": (difficulty.beta_binomial, {"successes": [1, 2, 3], "attempts": [8, 8, 8]}),
    "share_within": (difficulty.share_within, {"successes": [1, 2, 3], "attempts": [8] * 3, "fewer": 4, "margin": 0.1}),
    "attempts_needed": (difficulty.attempts_needed, {"successes": [1, 2, 3], "attempts": [8] * 3, "share": 0.5,
                                                     "margin": 0.2}),
    "matching_eta": (difficulty.matching_eta, {"eta": 50.0, "low": 1, "high": 5}),
    "uniforms": (streams.uniforms, {"seeds": [1, 2], "role": streams.Role.NOISE, "step": 0, "count": 3}),
    "generator": (streams.generator, {"seed": 1, "role": streams.Role.NOISE, "step": 0}),
    "runs_table": (lambda curves, threshold: tables.runs_table(curves, threshold), {"curves": "frame",
                                                                                   "threshold": 0.5}),
    **{f"rule {cls.__name__}": (cls, {}) for cls in (
        wb.AdaRFT, wb.AdaRFTGaussian, wb.ALPGMM, wb.BOTS, wb.DOTS, wb.DUMP, wb.E2H, wb.GRESO, wb.PCL, wb.PLR, wb.RLVE,
        wb.SEC, wb.SFL, wb.TSCL, wb.CurES, wb.DropMastered, wb.FrozenTarget, wb.LearningProgress, wb.LinearSchedule,
        wb.MiddleBand, wb.MoPPS, wb.OfflineFilter, wb.Prioritized, wb.ProCuRL, wb.SortedEasyToHard, wb.Staged,
        wb.Uniform, wb.SPEED, wb.VCRL, wb.BalancedFilter, wb.DynamicSampling)},
    **{f"law {cls.__name__}": (cls, {}) for cls in (
        wb.ScalarIRT, wb.MultiSkill, wb.KernelTransfer, wb.Chain, wb.Tabular, wb.PrerequisiteGrid,
        wb.KnowledgeTracing)},
}  # fmt: skip

def cases():
    for name, (function, good) in CALLS.items():
        defaults = {n: p.default for n, p in inspect.signature(function).parameters.items()
                    if p.default is not inspect.Parameter.empty and not n.startswith("_")}  # fmt: skip
        for parameter, value in (defaults | good).items() if name.startswith(("rule", "law")) else good.items():
            yield name, parameter, value


def bad_of(value):
    if isinstance(value, str):
        return OF_TEXT
    if isinstance(value, (bool, int, float, np.number)):
        return OF_A_NUMBER
    if isinstance(value, np.ndarray) or (isinstance(value, list) and value and isinstance(value[0], (int, float))):
        of_one_axis = ("text", "date", "none", "nan", "inf", "huge", "beyond floats", "negative")
        skipped = () if np.ndim(value) == 1 else of_one_axis
        return {name: make(value) for name, make in OF_NUMBERS.items() if name not in skipped}
    return OF_ANYTHING


@pytest.mark.parametrize(
    ("name", "parameter", "value"), [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in cases()]
)
def test_bad_values_are_refused_in_one_line(name, parameter, value, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    function, good = CALLS[name]
    good = {key: frame() if isinstance(given, str) and given == "frame" else given for key, given in good.items()}
    faults = []
    for kind, bad in bad_of(value).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                function(**(good | {parameter: bad}))
        except InputError as error:
            if "\n" in str(error) or len(str(error)) > 1000:
                faults.append(f"{kind}: {len(str(error))} characters, {str(error)[:80]!r}")
        except Exception as error:
            faults.append(f"{kind}: {type(error).__name__}: {str(error)[:100]}")
        else:
            if kind.startswith("masked"):
                faults.append(f"{kind}: taken")
    assert not faults, "\n".join(faults)
