"""Every public function against one table of bad values: each is refused in one line, or the answer is one of values
that were taken. No other error, no value behind a mask. A public name has its calls here, or a reason in `EXEMPT`."""

import functools
import inspect
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import workbench as wb
from workbench import difficulty, figures, learners, streams, testing
from workbench.analysis import ranking, report, stats, tables
from workbench.difficulty import irt
from workbench.errors import InputError
from workbench.registry import GATES, LAWS, RULES, SIGNALS

BIG = 10**400


def masked(values):
    return np.ma.array(np.array(values, dtype=float), mask=np.arange(np.size(values)).reshape(np.shape(values)) == 0)


def first(values, entry):
    return [entry, *list(values)[1:]]


def within(values):
    """A list that is an entry of itself."""
    out = list(values)
    out[0] = out
    return out


class NoArray:
    """As a tensor that requires a gradient: it has rows, and none can make an array of it."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("cannot be an array")


# name -> bad value made of a good one, by the kind of the good one
OF_NUMBERS = {
    "masked": masked, "object": lambda v: np.array(v, dtype=object),
    "complex": lambda v: np.array(v, dtype=complex) + 1j, "text": lambda v: [str(x) for x in v],
    "date": lambda v: np.array(["2026-01-01"] * len(v), dtype="datetime64[D]"),
    "none": lambda v: first(v, None), "nan": lambda v: first(v, float("nan")), "inf": lambda v: first(v, float("inf")),
    "huge": lambda v: first(v, 1e300), "beyond floats": lambda v: first(v, BIG), "negative": lambda v: first(v, -1e300),
    "empty": lambda v: [], "two axes": lambda v: np.array([v, v]), "a number": lambda v: 3.5, "nothing": lambda v: None,
    "a text": lambda v: "text", "shorter": lambda v: list(v)[1:], "ragged": lambda v: [[1.0], [1.0, 2.0]],
    "a mapping": lambda v: {"a": 1}, "an object": lambda v: object(), "a class": lambda v: np.ndarray,
    "masked entry": lambda v: first(v, np.ma.masked), "within itself": within, "no array": NoArray,
    "sparse": lambda v: sparse.coo_array(np.atleast_2d(v)), "structured": lambda v: np.zeros(len(v), "f8,i4"),
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


def cast(table, kind):
    """The numbers of a table as another type."""
    numbers = table.select_dtypes("number").columns
    return table.astype(dict.fromkeys(numbers, kind))


def with_first(table, value):
    """The table with a value in the first row of every column of numbers."""
    numbers = table.select_dtypes("number").columns
    return table.assign(**{name: pd.Series([value, *table[name][1:]], table.index, object) for name in numbers})


OF_A_TABLE = OF_ANYTHING | {
    "no rows": lambda t: t.iloc[:0], "no columns": lambda t: t.iloc[:, :0], "one row": lambda t: t.iloc[:1],
    "half": lambda t: t.iloc[: len(t) // 2], "twice": lambda t: pd.concat([t, t]),
    "columns twice": lambda t: pd.concat([t, t], axis=1), "turned": lambda t: t.T,
    "numbered columns": lambda t: t.set_axis(range(t.shape[1]), axis=1),
    "levels": lambda t: t.set_axis(pd.MultiIndex.from_product([["a"], t.columns]), axis=1),
    "odd index": lambda t: t.set_index(t.columns[0], drop=False), "same index": lambda t: t.set_axis([0] * len(t)),
    "texts": lambda t: t.astype(str), "objects": lambda t: t.astype(object), "complex": lambda t: cast(t, complex),
    "categories": lambda t: t.astype("category"), "nullable": lambda t: t.convert_dtypes(),
    "dates": lambda t: t.assign(**{c: pd.Timestamp("2026-01-01") for c in t.select_dtypes("number")}),
    **{f"first {name}": functools.partial(with_first, value=value) for name, value in {
        "none": None, "NA": pd.NA, "nan": np.nan, "inf": np.inf, "huge": 1e300, "beyond floats": BIG, "text": "a",
        "list": [1], "true": True}.items()},
    **{f"nan in {column}": lambda t, column=column: t.assign(**{column: np.nan}) for column in
       ("pool", "learner", "controller", "seed", "step", "success", "auc", "verdict", "speedup", "threshold")},
}  # fmt: skip

D = np.linspace(5, 95, 12)
POOL = wb.Pool(D, successes=[3] * 12, attempts=[8] * 12, category=["a", "b"] * 6, name="mine")
REWARDS = np.tile(np.array([0, 1, 1, 0], np.float32), (4, 1))


@functools.cache
def record(rule=wb.AdaRFT, seed=0):
    return wb.train(wb.Controller(rule(), POOL, seed=seed), wb.SimLearner(wb.ScalarIRT(), POOL, seed=seed), 4, 4, 4, 2)


@functools.cache
def frame():
    records = [record(rule, seed) for rule in (wb.Uniform, wb.AdaRFT) for seed in range(3)]
    return pd.concat([record.to_frame() for record in records], ignore_index=True)


@functools.cache
def runs():
    return tables.runs_table(frame(), 0.5)


@functools.cache
def summary():
    return tables.summary_table(runs(), 4)


@functools.cache
def result():
    study = wb.Study([POOL], ["scalar"], ["uniform", "adarft"], seeds=3, steps=4, batch=4, rollouts=4, eval_every=2)
    return wb.Result(study, frame(), 0.5)


@functools.cache
def log():
    return wb.Log(np.repeat(np.arange(12), 2), np.arange(24) % 12, np.arange(24) % 9, np.full(24, 8))


@functools.cache
def fit():
    return wb.calibrate(log(), POOL, ["scalar"], enough=20.0, progress=False)


@functools.cache
def advice():
    return wb.advise(fit(), 2, 2, 2, ["uniform", "filter"], lanes=8, progress=False)


@functools.cache
def by_laws():
    return wb.advise(fit(), 2, 2, 2, ["uniform", "filter"], lanes=8, discrepancy=None, progress=False)


@functools.cache
def responses():
    x = np.tril(np.ones((9, 5)))[:, ::-1]
    x[[0, 3, 6], [4, 2, 0]] = 1 - x[[0, 3, 6], [4, 2, 0]]
    return irt.Responses(x, np.ones_like(x), [f"p{k}" for k in range(9)], list("abcde"))


@functools.cache
def fitted():
    return irt.fit(responses(), "1pl")


TABLES = {  # made when they are needed
    "law_table": lambda: fit().table, "advice_table": lambda: advice().table, "frame": frame, "runs": runs,
    "summary": summary, "foretold": lambda: fit().foretold(3, 8), "ranks": lambda: ranking.ranking_table(runs()),
}  # fmt: skip


def controller():
    return wb.Controller(wb.AdaRFT(), POOL, seed=1)


def asked():
    """A queue whose first prompt is out."""
    queue = wb.hosts.Queue(controller(), batch=4, rollouts=4)
    assert queue.get()[0] == KEY
    return queue


KEY = wb.hosts.Queue(controller(), batch=4, rollouts=4).get()[0]


def answered(items=(0, 1, 2, 3), rewards=REWARDS, **more):
    c = controller()
    c.next_batch(4)
    return c.observe(items, rewards, **more)


def learner():
    return wb.SimLearner(wb.ScalarIRT(), POOL, seed=1)


def trained(**given):
    return wb.train(controller(), learner(), **given)


def allocated(rollouts):
    c = wb.Controller(wb.CurES(), POOL, seed=1)
    c.next_batch(4)
    return c.allocate(rollouts)


def screened(items, rewards):
    c = wb.Controller(wb.AdaRFT(), POOL, gates=wb.SPEED(), seed=1)
    c.next_batch(4)
    return c.screen(items, rewards)


def restored(state):
    controller().load_state_dict(state)


COUNTS = {"successes": [1, 2, 3], "attempts": [8, 8, 8]}
CURVE = [0.1, 0.4, 0.8]
TIMES = {"times": [3.0, 1.0, 4.0, 2.0], "reached": np.array([True, True, False, True])}
CROSSING = stats.Crossing(np.array([1.0, 2.0, 3.0]), np.array([True, True, False]))
CROSSINGS = stats.Crossing(CROSSING.time[None], CROSSING.reached[None])
ITEMS = [0, 1, 2, 3]
PAGE = {"width": 3.25, "ax": None, "labels": {}, "title": "t", "legend": True}  # of every figure

# public name -> its function and good arguments; the tables of TABLES by name
CALLS = {
    "Pool": (wb.Pool, {"difficulty": D, "ids": np.arange(12), "category": ["a"] * 12, "level": np.arange(12),
                       "successes": np.full(12, 3), "attempts": np.full(12, 8), "features": np.ones((12, 2)),
                       "weak_rate": D / 100, "strong_rate": D / 100, "payload": {"prompt": ["a"] * 12}, "name": "p"}),
    "Pool.synthetic": (wb.Pool.synthetic, {"name": "uniform", "size": 12, "seed": 0}),
    "Pool.load": (wb.Pool.load, {"source": "gone.csv", "columns": {"prompt": "a"}}),
    "Pool.from_frame": (wb.Pool.from_frame, {"frame": pd.DataFrame({"difficulty": D}), "name": "p", "columns": {}}),
    "Pool.take": (POOL.take, {"rows": [0, 1], "name": "p"}),
    "Pool.arms": (POOL.arms, {"by": "difficulty", "bins": 3}),
    "Pool.save": (POOL.save, {"path": "pool.csv"}),
    "Pool.with_payload": (POOL.with_payload, {"payload": {"prompt": ["a"] * 12}}),
    "Controller": (wb.Controller, {"rule": wb.AdaRFT(), "pool": POOL, "gates": (), "seed": 0, "lanes": 2}),
    "Controller.next_batch": (lambda batch, refill: controller().next_batch(batch, refill), {"batch": 4,
                                                                                          "refill": False}),
    "Controller.allocate": (lambda rollouts: allocated(rollouts), {"rollouts": 4}),
    "Controller.observe": (answered, {"items": ITEMS, "rewards": REWARDS, "counts": [4, 4, 4, 4]}),
    "Controller.screen": (screened, {"items": ITEMS, "rewards": REWARDS}),
    "Controller.load_state_dict": (restored, {"state": {"step": 1}}),
    "hosts.Queue": (lambda batch, rollouts, ahead: wb.hosts.Queue(controller(), batch, rollouts, ahead),
                    {"batch": 4, "rollouts": 4, "ahead": 1}),
    "Queue.answer": (lambda key, rewards, count: asked().answer(key, rewards, count),
                     {"key": KEY, "rewards": [0.0, 1.0, 0.5, 1.0], "count": 4}),
    "Queue.drop": (lambda key: asked().drop(key), {"key": KEY}),
    "Queue.load_state_dict": (lambda state: asked().load_state_dict(state), {"state": {"batch": 4}}),
    "SimLearner": (wb.SimLearner, {"law": wb.ScalarIRT(), "pool": POOL, "seed": 0, "lanes": 2, "b": D / 50,
                                   "length": D}),
    "SimLearner.attempt": (lambda **given: learner().attempt(**given), {"items": np.arange(4), "rollouts": 4,
                                                                       "counts": [4, 4, 4, 4]}),
    "SimLearner.extend": (lambda **given: learner().extend(**given), {"items": np.arange(4), "rollouts": 4,
                                                                     "counts": [2, 2, 2, 2]}),
    "SimLearner.probe": (lambda **given: learner().probe(**given), {"items": np.arange(4), "rollouts": 4}),
    "SimLearner.success": (lambda items: learner().success(items), {"items": np.arange(4)}),
    "SimLearner.learn": (lambda **given: learner().learn(**given), {
        "items": np.arange(4), "rewards": REWARDS, "admitted": [True] * 4, "counts": [4, 4, 4, 4]}),
    "SimLearner.load_state_dict": (lambda state: learner().load_state_dict(state), {"state": {"a": 1}}),
    "train": (trained, {"steps": 2, "batch": 4, "rollouts": 4, "eval_every": 1, "resume": False, "progress": False,
                        "lag": 1, "delivery": "group"}),
    "Study": (wb.Study, {"pools": [POOL], "learners": ["scalar"], "controllers": ["uniform"], "seeds": 2, "steps": 2,
                         "batch": 4, "rollouts": 4, "points": [{}], "eval_every": 2, "budget": "steps", "lag": 1,
                         "delivery": "batch"}),
    "Result": (lambda threshold: wb.Result(result().study, frame(), threshold).runs, {"threshold": 0.5}),
    "Result.report": (lambda focus, full, whole: result().report(focus, full, whole),
                      {"focus": "adarft", "full": True, "whole": "summary.csv"}),
    "Result.report_html": (lambda focus: result().report_html(focus), {"focus": "adarft"}),
    "Result.plot": (lambda kind: result().plot(kind), {"kind": "curves"}),
    "Result.to_latex": (lambda labels, siunitx, columns: result().to_latex(labels, siunitx, columns),
                        {"labels": {}, "siunitx": True, "columns": ["area"]}),
    "Result.to_markdown": (lambda labels, columns: result().to_markdown(labels, columns),
                           {"labels": {}, "columns": ["area"]}),
    "cite": (lambda part: wb.cite(part), {"part": "adarft"}),
    "Result.save": (lambda folder: result().save(folder), {"folder": "out"}),
    "Record.at_cost": (lambda **given: record().at_cost(**given), {"unit": "rollouts", "step_cost": 16.0,
                                                                  "steps": np.arange(3)}),
    "Log": (wb.Log, {"step": np.arange(6), "item": np.arange(6) % 2, "successes": np.arange(6),
                     "attempts": np.full(6, 8),
                     "run": np.zeros(6, int), "admitted": [True] * 6, "items": ["a", "b"]}),
    "Log.load": (wb.Log.load, {"source": "gone.csv", "columns": {"item": "a"}, "success": 0.5, "order": "sort"}),
    "Log.from_frame": (wb.Log.from_frame, {"frame": pd.DataFrame({"step": [1, 2], "item": [1, 2], "reward": [0, 1]}),
                                           "columns": {}, "success": 0.5, "order": "sort"}),
    "Log.until": (lambda step: log().until(step), {"step": 3}),
    "Log.of_runs": (lambda names: log().of_runs(names), {"names": ["0"]}),
    "Log.on": (lambda pool: log().on(pool), {"pool": {}}),
    "calibrate": (lambda **given: wb.calibrate(log(), POOL, **given), {
        "learners": 5, "seed": 0, "enough": 20.0, "jobs": 1, "progress": False}),
    "calibrate of": (lambda log, pool: wb.calibrate(log, pool, []), {"log": {}, "pool": {}}),
    "advise": (lambda **given: wb.advise(**{"fit": fit(), "steps": 2, "batch": 2, "rollouts": 2, "lanes": 8,
                                            "progress": False, **given}),
               {"candidates": 5, "steps": 2, "batch": 2, "rollouts": 2, "labels_cost": 0, "lanes": 8, "seed": 0,
                "jobs": 1, "progress": False, "origin": "end", "probe": np.zeros(3),
                "discrepancy": wb.Discrepancy(0.3, 0.1)}),
    "advise of": (lambda fit: wb.advise(fit), {"fit": {}}),
    "Fit.foretold": (lambda **given: fit().foretold(**given), {"bins": 4, "draws": 8, "seed": 0}),
    "Fit.separation": (lambda **given: fit().separation(**given),
                       {"steps": 2, "rules": ["uniform"], "learners": ["scalar", "natural"],
                        "futures": 2, "draws": 2, "seed": 0}),
    "Advice.foretold": (lambda curves: advice().foretold(curves), {"curves": "frame"}),
    "Fit.draws": (lambda learner: fit().draws(learner), {"learner": "scalar"}),
    "Fit.save": (lambda path: fit().save(path), {"path": "fit.json"}),
    "Advice.areas": (lambda series: advice().areas(series), {"series": np.zeros((2, 3, 8))}),
    "Advice.less": (lambda **given: by_laws().less(**given),
                    {"discrepancy": wb.Discrepancy(0.3, 0.1), "seed": 0}),
    "Discrepancy": (wb.Discrepancy, {"mean": 0.3, "sd": 0.1}),
    "Discrepancy.draws": (wb.Discrepancy(0.3, 0.1).draws, {"count": 3, "seed": 0}),
    "Discrepancy.of": (wb.Discrepancy.of, {"table": pd.DataFrame({
        "setting": list("aabb"), "arm": list("cdcd"), "forecast": 0.02, "forecast_sd": 0.01, "exposed": 0.1,
        "real": [0.0, 0.01, -0.01, 0.02], "real_se": 0.01})}),
    "Advice.controller": (lambda seed: advice().controller(seed), {"seed": 0}),
    "Advice.save": (lambda folder: advice().save(folder), {"folder": "out"}),
    "figures.law_weights": (figures.law_weights, {"table": "law_table"} | PAGE),
    "figures.advice_forest": (figures.advice_forest, {"table": "advice_table"} | PAGE),
    "grid_points": (wb.grid_points, {"choices": {"adarft.eta": [1, 2]}}),
    "space_filling_points": (wb.space_filling_points, {"ranges": {"adarft.eta": (1.0, 2.0, False)}, "design": "sobol",
                                                       "points": 4}),
    "difficulty.from_counts": (difficulty.from_counts, COUNTS | {"level": 0.9, "shrink": True}),
    "difficulty.from_ratings": (difficulty.from_ratings, {"ratings": [1.0, 2.0, 5.0], "low": 1, "high": 5}),
    "difficulty.population": (difficulty.population, COUNTS),
    "difficulty.beta_binomial": (difficulty.beta_binomial, COUNTS),
    "difficulty.share_within": (difficulty.share_within, COUNTS | {"fewer": 4, "margin": 0.1}),
    "difficulty.attempts_needed": (difficulty.attempts_needed, COUNTS | {"share": 0.5, "margin": 0.2}),
    "difficulty.matching_eta": (difficulty.matching_eta, {"eta": 50.0, "low": 1, "high": 5}),
    "difficulty.read_responses": (difficulty.read_responses, {"path": "gone.csv", "weights": "n"}),
    "irt.Responses": (irt.Responses, {"successes": np.eye(3), "attempts": np.ones((3, 3)), "persons": ["p", "q", "r"],
                                      "items": ["a", "b", "c"]}),
    "irt.fit": (lambda **given: irt.fit(**{"responses": responses(), **given}), {"model": "1pl"}),
    "irt.fit of": (lambda responses: irt.fit(responses, "1pl"), {"responses": {}}),
    "irt.apart": (lambda most: irt.apart(responses(), most), {"most": 3}),
    "irt.apart of": (lambda responses: irt.apart(responses), {"responses": {}}),
    "irt.extremes": (irt.extremes, {"responses": {}}),
    "irt.item_fit": (lambda given: irt.item_fit(fitted(), given), {"given": {}}),
    "irt.map_theta": (lambda given: irt.map_theta(fitted(), given), {"given": {}}),
    "irt.overdispersion": (lambda given: irt.overdispersion(fitted(), given), {"given": {}}),
    "irt.item_fit of": (lambda fit: irt.item_fit(fit, responses()), {"fit": {}}),
    "irt.map_theta of": (lambda fit: irt.map_theta(fit, responses()), {"fit": {}}),
    "irt.overdispersion of": (lambda fit: irt.overdispersion(fit, responses()), {"fit": {}}),
    "streams.uniforms": (streams.uniforms, {"seeds": [1, 2], "role": streams.Role.NOISE, "step": 0, "count": 3}),
    "streams.generator": (streams.generator, {"seed": 1, "role": streams.Role.NOISE, "step": 0}),
    "streams.clock": (streams.clock, {"step": 1, "turn": 0}),
    "streams.run_seeds": (streams.run_seeds, {"study": 1, "runs": 3}),
    "streams.seed_array": (streams.seed_array, {"seeds": [1, 2]}),
    "learners.difficulty_to_logit": (learners.difficulty_to_logit, {"difficulty": D, "attempts": 128}),
    "Signal.group": (wb.RLOO().group, {"k": [1, 2, 3], "n": 4, "p": [0.1, 0.5, 0.9], "value": 0.5}),
    "Signal.expected": (wb.RLOO().expected, {"p": [0.1, 0.5, 0.9]}),
    "testing.check_rule": (testing.check_rule, {"rule": {}, "pool": {}}),
    "testing.check_gate": (testing.check_gate, {"gate": {}, "pool": {}}),
    "testing.check_learner": (testing.check_learner, {"make": {}, "pool": {}}),
    "testing.draw": (testing.draw, {"pool": POOL, "step": 0, "seed": 0, "turn": 0}),
    "testing.feedback": (testing.feedback, {"pool": POOL, "items": ITEMS, "rewards": REWARDS, "step": 1, "seed": 0,
                                            "counts": [4, 4, 4, 4], "probe": False}),
    "testing.small_pool": (testing.small_pool, {"size": 48}),
    "stats.iqm": (stats.iqm, {"x": CURVE, "axis": 0}),
    "stats.interval": (stats.interval, {"scores": CURVE, "level": 0.9, "resamples": 20, "seed": 0}),
    "stats.paired_interval": (functools.partial(stats.paired_interval, statistic=lambda x, y, axis: (x - y).mean(axis)),
                              {"x": CURVE, "y": CURVE, "level": 0.9, "resamples": 20, "seed": 0}),
    "stats.probability_of_improvement": (stats.probability_of_improvement, {"x": CURVE, "y": CURVE}),
    "stats.sign_flip_test": (stats.sign_flip_test, {"differences": CURVE, "resamples": 20, "seed": 0}),
    "stats.intervals": (stats.intervals, {"scores": [CURVE, CURVE], "level": 0.9, "resamples": 20, "seed": 0}),
    "stats.arms_with_gains": (stats.arms_with_gains, {"arms": [CURVE, CURVE], "base": CURVE, "level": 0.9,
                                                      "resamples": 20, "seed": 0}),
    "stats.sign_flip_tests": (stats.sign_flip_tests, {"differences": [CURVE, CURVE], "resamples": 20, "seed": 0}),
    "stats.speedups": (stats.speedups, {"base": CROSSING, "others": CROSSINGS, "horizon": 5.0, "level": 0.9,
                                        "resamples": 20, "seed": 0}),
    "stats.holm": (stats.holm, {"p": CURVE}),
    "stats.seeds_needed": (stats.seeds_needed, {"comparisons": 3, "level": 0.9}),
    "stats.area": (stats.area, {"steps": [0, 1, 2], "success": CURVE, "axis": -1}),
    "stats.steps_to_threshold": (stats.steps_to_threshold, {"steps": [0, 1, 2], "curves": CURVE, "threshold": 0.5}),
    "stats.kaplan_meier": (stats.kaplan_meier, TIMES),
    "stats.restricted_mean": (stats.restricted_mean, TIMES | {"horizon": 5.0}),
    "stats.median_time": (stats.median_time, TIMES),
    "stats.speedup": (stats.speedup, {"base": CROSSING, "other": CROSSING, "horizon": 5.0, "level": 0.9,
                                      "resamples": 20, "seed": 0}),
    "tables.runs_table": (tables.runs_table, {"curves": "frame", "threshold": 0.5, "baseline": "uniform"}),
    "tables.summary_table": (tables.summary_table, {"runs": "runs", "horizon": 4, "level": 0.9,
                                                    "baseline": "uniform"}),
    "tables.rivals_table": (tables.rivals_table, {"runs": "runs", "rule": "adarft", "baseline": "uniform"}),
    "tables.leading_rule": (tables.leading_rule, {"runs": "runs", "baseline": "uniform"}),
    "tables.baseline_name": (tables.baseline_name, {"summary": "summary"}),
    "tables.costs_table": (tables.costs_table, {"summary": "summary"}),
    "tables.enough_seeds": (tables.enough_seeds, {"seeds": 3, "comparisons": 3, "level": 0.9}),
    "ranking.ranking_table": (ranking.ranking_table, {"runs": "runs", "level": 0.9, "baseline": "uniform"}),
    "ranking.seeds_to_separate": (ranking.seeds_to_separate, {"gains": np.arange(12.0).reshape(1, 3, 4), "one": 0,
                                                              "other": 1, "level": 0.9}),
    "report.report": (report.report, {"runs": "runs", "summary": "summary", "horizon": 4, "focus": "adarft",
                                      "full": True, "whole": "summary.csv"}),
    "figures.learning_curves": (figures.learning_curves, {"curves": "frame", "looks": {}, "over": "seed"} | PAGE),
    "figures.target_trajectories": (figures.target_trajectories, {"curves": "frame", "looks": {}} | PAGE),
    "figures.mean_and_band": (figures.mean_and_band, {"curves": "frame", "column": "success"}),
    "figures.speedup_forest": (figures.speedup_forest, {"summary": "summary", "looks": {}} | PAGE),
    "figures.heat_map": (figures.heat_map, {"summary": "summary", "x": "pool", "y": "controller", "value": "speedup",
                                            "average": False} | PAGE),
    "figures.success_by_level": (figures.success_by_level, {"curves": "frame", "looks": {}} | PAGE),
    "figures.ranking_plot": (figures.ranking_plot, {"table": "ranks", "looks": {}} | PAGE),
    "figures.paired_differences": (figures.paired_differences, {"runs": "runs", "value": "auc", "baseline": "uniform",
                                                                "looks": {}} | PAGE),
    "figures.cost_frontier": (figures.cost_frontier, {"summary": "summary", "cost": "rollouts", "success": "final",
                                                      "looks": {}} | PAGE),
    "figures.calibration_plot": (figures.calibration_plot, {"table": "foretold", "looks": {}} | PAGE),
    "figures.style": (figures.style, {"font": "serif", "size": 7, "usetex": False, "rc": {}}),
    "figures.controller_looks": (figures.controller_looks, {"table": "summary"}),
    "figures.rule_look": (figures.rule_look, {"rule": "adarft"}),
    "figures.save": (lambda figure, stem: figures.save(figure, stem), {"figure": {}, "stem": "a"}),
    **{type(part).__name__: (type(part), {}) for part in (*RULES.values(), *GATES.values(), *LAWS.values(),
                                                        *SIGNALS.values())},
}  # fmt: skip
PARTS = (wb.Rule, wb.Gate, wb.Law, wb.Signal)  # whose hyper-parameters are all tried, from their defaults


# public names that have no call, and why
EXEMPT = {
    "InputError": "the error itself", "ShortBatch": "a warning", "StepPerCall": "a warning",
    **dict.fromkeys(("Advice.report_html", "Fit.report_html"), "takes a line that is shown"),
    "streams.Role": "an enumeration",
    **dict.fromkeys(("Rule", "Gate", "Law", "Signal", "ItemRule", "ArmRule"), "a base, tried through its subclasses"),
    **dict.fromkeys(("Fit.plot", "Advice.plot"), "its settings are those of figures, which are tried"),
    **dict.fromkeys(("Fit", "Advice", "Draw", "Feedback", "Probe", "Record", "stats.Estimate", "stats.Estimates",
                     "stats.Crossing", "figures.Look", "figures.Picture"),
                    "what our functions give, not checked again"),
    **dict.fromkeys(("Controller.observe_probe", "Controller.note_short"), "takes what another method gave"),
    **dict.fromkeys(("Pool.check_labels", "Pool.standard_features", "Study.compute", "Study.compute_shard",
                     "Study.collect", "Study.label_rollouts", "Study.seeds_of", "Signal.advantages",
                     "Signal.check_rollouts", "Signal.sampled"),
                    "for the workbench's own modules"),
    "Study.run": "its settings are tried by the command lines",
    "figures.Options": "the options of figures, which are tried",
    "tables.Column": "a constant of the workbench",
    **dict.fromkeys(("ranking.ranking_lines", "report.cost_lines", "report.focus_rule", "report.not_won_lines",
                     "report.rows_of"), "a part of Result.report, which is tried"),
}  # fmt: skip


def public():
    """Names of public functions and classes, and of methods that take something."""
    modules = {"": wb, "figures.": figures, "hosts.": wb.hosts, "learners.": learners, "streams.": streams,
               "testing.": testing, "stats.": stats, "difficulty.": difficulty, "irt.": irt, "tables.": tables,
               "ranking.": ranking, "report.": report}  # fmt: skip
    for prefix, module in modules.items():
        own = [name for name, found in vars(module).items() if getattr(found, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", own):
            found = getattr(module, name)
            if callable(found) and not name.startswith("_") and (not prefix or not hasattr(wb, name)):
                yield prefix + name, found
    classes = (wb.Pool, wb.Controller, wb.SimLearner, wb.Record, wb.Study, wb.Result, wb.Signal, wb.hosts.Queue, wb.Log,
               wb.Fit, wb.Advice, wb.Discrepancy)  # fmt: skip
    for cls in classes:
        for name, found in inspect.getmembers(cls, callable):
            if not name.startswith("_"):
                yield f"{cls.__name__}.{name}", found


def takes_something(found):
    try:
        return set(inspect.signature(found).parameters) - {"self"}
    except ValueError:  # an exception of Python's own making
        return {"args"}


def test_every_public_name_has_its_calls_or_a_reason():
    called = {name.removesuffix(" of") for name in CALLS}
    names = {name for name, found in public() if takes_something(found)}
    lacking = sorted(names - called - EXEMPT.keys())
    assert not lacking, f"no call in CALLS and no reason in EXEMPT: {', '.join(lacking)}"
    assert not EXEMPT.keys() & called
    assert EXEMPT.keys() | called <= names, f"no public name: {sorted((EXEMPT.keys() | called) - names)}"


def cases():
    for name, (function, good) in CALLS.items():
        defaults = {n: p.default for n, p in inspect.signature(function).parameters.items()
                    if p.default is not inspect.Parameter.empty and not n.startswith("_")}  # fmt: skip
        part = inspect.isclass(function) and issubclass(function, PARTS)
        yield from ((name, parameter, value) for parameter, value in (defaults if part else good).items())


def bad_of(value):
    if isinstance(value, pd.DataFrame):
        return {name: make(value) if callable(make) else make for name, make in OF_A_TABLE.items()}
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
    made = {key: TABLES[given]() for key, given in good.items() if isinstance(given, str) and given in TABLES}
    good = good | made
    faults = []
    for kind, bad in bad_of(good.get(parameter, value)).items():
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
