"""The one training loop: what it records, that it resumes and pairs, what a curriculum can and cannot do."""

import subprocess
import sys
from dataclasses import replace
from math import atanh, sqrt, tanh

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import ttest_ind

import workbench as wb
from workbench.loop import SERIES

SEEDS = np.arange(8)
RULES = {
    "adarft": wb.AdaRFT(eta=10.0),
    "uniform": wb.Uniform(),
    "filter": wb.OfflineFilter(),
    "band": wb.MiddleBand(),
    "frozen": wb.FrozenTarget(40.0),
    "linear": wb.LinearSchedule(horizon=60),
    "sorted": wb.SortedEasyToHard(horizon=60),
}
LAWS = {
    "tabular": wb.Tabular(),
    "scalar": wb.ScalarIRT(kappa=0.05),
    "grpo": wb.ScalarIRT(kappa=0.05, signal=wb.GRPO()),
    "natural": wb.ScalarIRT(gamma=0.0),
    "guess": wb.ScalarIRT(kappa=0.05, floor=0.25, noise=0.01, forgetting=0.001, signal=wb.Critic()),
    "kernel": wb.KernelTransfer(kappa=0.2, transfer_all=0.1, transfer_self=0.2, forgetting=0.001),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())


@pytest.fixture(scope="module")
def pool():
    return wb.Pool.synthetic("uniform", size=1000, seed=0)


def pair(rule, law, pool, seed=SEEDS, lanes=None):
    return wb.Controller(rule, pool, seed=seed, lanes=lanes), wb.SimLearner(law, pool, seed=seed, lanes=lanes)


def run(rule, law, pool, steps=60, batch=32, rollouts=8, seed=SEEDS, eval_every=5):
    controller, learner = pair(rule, law, pool, seed)
    return wb.train(controller, learner, steps, batch=batch, rollouts=rollouts, eval_every=eval_every), learner


class Watched:
    """Forwards to an object and writes down the calls made to it, with arguments and answer."""

    def __init__(self, inner, calls, methods):
        self._inner, self._calls, self._methods = inner, calls, methods

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if name not in self._methods:
            return value

        def call(*args, **kwargs):
            answer = value(*args, **kwargs)
            copies = [np.array(a) for a in args if a is not None]
            self._calls.append((name, copies, None if answer is None else np.array(answer)))
            return answer

        return call


def watch(controller, learner):
    calls = []
    return (
        calls,
        Watched(controller, calls, {"next_batch", "observe"}),
        Watched(learner, calls, {"attempt", "learn"}),
    )


# ---------------------------------------------------------------------------------------- the order of things


def test_each_step_draws_attempts_observes_and_learns_in_that_order(pool):
    calls, controller, learner = watch(*pair(RULES["adarft"], LAWS["scalar"], pool))
    wb.train(controller, learner, 4, batch=32, rollouts=8)
    assert [name for name, _, _ in calls] == ["next_batch", "attempt", "observe", "learn"] * 4


def test_controller_and_learner_see_the_same_items_rewards_and_mask(pool):
    calls, controller, learner = watch(*pair(RULES["adarft"], LAWS["scalar"], pool))
    wb.train(controller, learner, 3, batch=32, rollouts=8)
    for drawn, attempted, observed, learned in zip(*[iter(calls)] * 4, strict=True):
        items, rewards, mask = drawn[2], attempted[2], observed[2]
        assert items.shape == (8, 32)
        assert rewards.shape == (8, 32, 8)
        assert np.array_equal(attempted[1][0], items)
        assert len(observed[1]) == 2  # outcomes only: no skill, no true difficulty
        assert np.array_equal(observed[1][0], items)
        assert np.array_equal(observed[1][1], rewards)
        for given, expected in zip(learned[1], (items, rewards, mask), strict=True):
            assert np.array_equal(given, expected)


def test_watching_the_loop_changes_nothing(pool):
    _, controller, learner = watch(*pair(RULES["adarft"], LAWS["scalar"], pool))
    watched = wb.train(controller, learner, 10, batch=32, rollouts=8)
    plain, _ = run(RULES["adarft"], LAWS["scalar"], pool, steps=10)
    assert np.array_equal(watched.success, plain.success)


def test_the_batch_after_an_observation_is_the_nearest_to_the_target_that_observation_made():
    pool = wb.Pool.synthetic("skew-difficult", size=1000, seed=0)
    d, target = pool.difficulty, 30.0
    rule = wb.AdaRFT(beta=0.5, alpha=2.0, eta=50.0, start=target)
    calls, controller, learner = watch(*pair(rule, LAWS["scalar"], pool, seed=4))
    record = wb.train(controller, learner, 25, batch=32, rollouts=8, eval_every=1)
    targets = [target]
    for step in range(25):
        items, rewards = calls[4 * step][2], calls[4 * step + 1][2]
        distance = np.abs(d - target)
        assert np.allclose(np.sort(distance[items]), np.sort(distance)[:32], atol=1e-9)
        target = float(np.clip(target + 50 * np.tanh(2 * (rewards.mean(dtype=np.float64) - 0.5)), 0, 100))
        targets.append(target)
    assert record.target[:, 0] == pytest.approx(targets, abs=1e-9)
    assert np.ptp(targets) > 20


# ------------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize(
    ("steps", "eval_every", "expected"),
    [
        (20, 5, [0, 5, 10, 15, 20]),
        (12, 5, [0, 5, 10, 12]),
        (3, 5, [0, 3]),
        (4, 1, [0, 1, 2, 3, 4]),
        (1, 1, [0, 1]),
        (7, 7, [0, 7]),
    ],
)
def test_records_fall_on_step_zero_every_eval_every_and_the_last(pool, steps, eval_every, expected):
    record, _ = run(wb.Uniform(), LAWS["scalar"], pool, steps=steps, eval_every=eval_every)
    assert record.steps.tolist() == expected


def test_a_record_has_an_entry_per_record_lane_and_stratum(pool):
    record, _ = run(RULES["adarft"], LAWS["scalar"], pool, steps=12)
    assert record.success.shape == (4, 8, 10)
    assert record.mean_success.shape == (4, 8)
    for series in (
        record.target,
        record.reward,
        record.batch_difficulty,
        record.silent_share,
        record.coverage,
    ):
        assert series.shape == (4, 8)
    assert record.seeds.tolist() == list(range(8))
    assert np.all((record.success >= 0) & (record.success <= 1))


def test_rollouts_are_steps_times_batch_times_group(pool):
    record, _ = run(wb.Uniform(), LAWS["scalar"], pool, steps=12, batch=16, rollouts=4)
    assert (record.rollouts == np.array([0, 5, 10, 12])[:, None] * 16 * 4).all()
    assert np.array_equal(record.trained, record.rollouts)


@every_law
def test_success_is_what_the_learner_evaluates_before_and_after_training(pool, law):
    record, learner = run(wb.Uniform(), law, pool, steps=6)
    fresh = wb.SimLearner(law, pool, seed=SEEDS)
    assert np.array_equal(record.success[0], fresh.evaluate())
    assert np.array_equal(record.success[-1], learner.evaluate())
    assert np.allclose(record.mean_success, np.nanmean(record.success, axis=2), rtol=1e-12)


def test_mean_success_is_over_the_strata_that_have_items():
    narrow = wb.Pool.synthetic("narrow", size=300)
    record, _ = run(wb.Uniform(), wb.Tabular(), narrow, steps=5)
    assert np.isnan(record.success).any()
    assert np.allclose(record.mean_success, np.nanmean(record.success, axis=2), rtol=1e-12)


def test_series_are_means_over_the_steps_since_the_record_before(pool):
    calls, controller, learner = watch(*pair(RULES["adarft"], LAWS["scalar"], pool))
    record = wb.train(controller, learner, 12, batch=32, rollouts=8, eval_every=5)
    items = np.array([call[2] for call in calls if call[0] == "next_batch"])  # (T, R, B)
    rewards = np.array([call[2] for call in calls if call[0] == "attempt"])  # (T, R, B, G)
    reward = rewards.mean(axis=(2, 3))
    silent = ((rewards.min(axis=3) == 1) | (rewards.max(axis=3) == 0)).mean(axis=2)
    difficulty = pool.difficulty[items].mean(axis=2)
    for name, per_step in (("reward", reward), ("silent_share", silent), ("batch_difficulty", difficulty)):
        series = getattr(record, name)
        assert np.all(np.isnan(series[0])), name
        for row, (first, last) in enumerate([(0, 5), (5, 10), (10, 12)], start=1):
            assert np.allclose(series[row], per_step[first:last].mean(axis=0), rtol=1e-6), name
    for row, last in enumerate([0, 5, 10, 12]):
        seen = [len(np.unique(items[:last, r])) / len(pool) for r in range(8)]
        assert record.coverage[row] == pytest.approx(seen)


def test_the_target_is_nan_for_a_rule_without_one_and_starts_where_the_rule_starts(pool):
    assert np.all(np.isnan(run(wb.Uniform(), LAWS["scalar"], pool, steps=3)[0].target))
    assert np.all(run(wb.AdaRFT(start=35.0), LAWS["scalar"], pool, steps=3)[0].target[0] == 35.0)
    assert np.all(run(wb.FrozenTarget(40.0), LAWS["scalar"], pool, steps=3)[0].target == 40.0)


def test_silent_share_is_nan_for_single_rollouts(pool):
    record, _ = run(wb.Uniform(), replace(LAWS["scalar"], signal=wb.Critic()), pool, steps=5, rollouts=1)
    assert np.all(np.isnan(record.silent_share))
    assert np.all(np.isfinite(record.reward[1:]))


def test_silent_share_agrees_with_its_formula_at_known_success():
    flat = wb.Pool(difficulty=np.full(2000, 50.0))
    learner = wb.SimLearner(wb.ScalarIRT(theta0=logit(0.2), kappa=0.0), flat, seed=SEEDS, b=np.zeros(2000))
    record = wb.train(wb.Controller(wb.Uniform(), flat, seed=SEEDS), learner, 25, batch=64, rollouts=8, eval_every=25)
    expected = 0.2**8 + 0.8**8
    error = sqrt(expected * (1 - expected) / (8 * 25 * 64))
    assert record.silent_share[-1].mean() == pytest.approx(expected, abs=5 * error)
    assert record.reward[-1].mean() == pytest.approx(0.2, abs=5 * sqrt(0.2 * 0.8 / (8 * 25 * 64 * 8)))


def test_to_frame_is_one_row_per_record_and_lane(pool):
    record, _ = run(RULES["adarft"], LAWS["scalar"], pool, steps=12, seed=np.array([4, 9]))
    frame = record.to_frame()
    assert len(frame) == 4 * 2
    assert set(map(tuple, frame[["step", "seed"]].to_numpy().tolist())) == {
        (s, r) for s in (0, 5, 10, 12) for r in (4, 9)
    }
    for e, step in enumerate(record.steps):
        for r, seed in enumerate(record.seeds):
            row = frame[(frame.step == step) & (frame.seed == seed)].iloc[0]
            assert row.rollouts == record.rollouts[e, r]
            assert row.success == record.mean_success[e, r]
            assert [row[f"success_{s}"] for s in range(10)] == record.success[e, r].tolist()
            for name in SERIES:
                assert np.array_equal(row[name], getattr(record, name)[e, r], equal_nan=True)


# ------------------------------------------------------------------------------------- same run, other shapes


def same_record(one, other):
    assert np.array_equal(one.steps, other.steps)
    assert np.array_equal(one.success, other.success, equal_nan=True)
    assert np.array_equal(one.rollouts, other.rollouts)
    for name in SERIES:
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name


@every_rule
def test_the_same_seed_gives_the_same_record_and_another_seed_another(pool, rule):
    one, again, other = (run(rule, LAWS["scalar"], pool, steps=10, seed=s)[0] for s in (3, 3, 4))
    same_record(one, again)
    assert not np.array_equal(one.reward[1:], other.reward[1:])
    assert not np.array_equal(one.success, other.success)


@every_rule
def test_lanes_are_single_runs_bit_for_bit_whatever_the_rule(pool, rule):
    lanes, _ = run(rule, LAWS["guess"], pool, steps=20, seed=np.array([5, 0, 11]))
    for r, seed in enumerate([5, 0, 11]):
        single, _ = run(rule, LAWS["guess"], pool, steps=20, seed=seed)
        assert single.success.shape == (5, 1, 10)
        assert np.array_equal(single.success[:, 0], lanes.success[:, r])
        assert np.array_equal(single.reward[:, 0], lanes.reward[:, r], equal_nan=True)
        assert np.array_equal(single.target[:, 0], lanes.target[:, r], equal_nan=True)


@every_law
def test_lanes_are_single_runs_bit_for_bit_whatever_the_law(pool, law):
    lanes, _ = run(RULES["adarft"], law, pool, steps=20, seed=np.array([5, 0, 11]))
    for r, seed in enumerate([5, 0, 11]):
        single, _ = run(RULES["adarft"], law, pool, steps=20, seed=seed)
        assert np.array_equal(single.success[:, 0], lanes.success[:, r], equal_nan=True)


def resumed_record(rule, law, pool, steps):
    """Two halves of a run, the second in fresh objects that know only the saved states."""
    controller, learner = pair(rule, law, pool)
    first = wb.train(controller, learner, steps, batch=32, rollouts=8)
    fresh_controller, fresh_learner = pair(rule, law, pool)
    fresh_controller.load_state_dict(controller.state_dict())
    fresh_learner.load_state_dict(learner.state_dict())
    wb.train(controller, learner, 3, batch=32, rollouts=8)  # going on with the old objects must not leak
    second = wb.train(fresh_controller, fresh_learner, steps, batch=32, rollouts=8)
    return first, second


def assert_halves_make_the_whole(whole, first, second):
    half = len(first.steps)
    assert np.array_equal(whole.steps, [*first.steps, *second.steps[1:]])
    assert np.array_equal(whole.success[:half], first.success, equal_nan=True)
    assert np.array_equal(whole.success[half - 1 :], second.success, equal_nan=True)
    for name in ("target", "reward", "batch_difficulty", "silent_share", "coverage"):
        joined = np.concatenate([getattr(first, name), getattr(second, name)[1:]])
        assert np.array_equal(getattr(whole, name), joined, equal_nan=True), name


@every_rule
def test_sixty_steps_are_thirty_and_thirty_more_bit_for_bit_whatever_the_rule(pool, rule):
    whole, _ = run(rule, LAWS["scalar"], pool, steps=60)
    assert_halves_make_the_whole(whole, *resumed_record(rule, LAWS["scalar"], pool, 30))


@every_law
def test_sixty_steps_are_thirty_and_thirty_more_bit_for_bit_whatever_the_law(pool, law):
    whole, _ = run(RULES["adarft"], law, pool, steps=60)
    assert_halves_make_the_whole(whole, *resumed_record(RULES["adarft"], law, pool, 30))


def test_calling_train_again_continues(pool):
    whole, _ = run(RULES["adarft"], LAWS["scalar"], pool, steps=20)
    controller, learner = pair(RULES["adarft"], LAWS["scalar"], pool)
    first = wb.train(controller, learner, 10, batch=32, rollouts=8)
    second = wb.train(controller, learner, 10, batch=32, rollouts=8)
    assert_halves_make_the_whole(whole, first, second)


def test_a_resumed_run_makes_the_rest_of_its_steps_and_tells_of_each(pool):
    whole, parts = pair(RULES["adarft"], LAWS["scalar"], pool), pair(RULES["adarft"], LAWS["scalar"], pool)
    record = wb.train(*whole, 12, batch=16, eval_every=5, resume=True)  # nothing behind it: from the beginning
    told = []

    def after_step(step, success):
        told.append((step, None if success is None else success.copy()))

    wb.train(*parts, 7, batch=16, eval_every=5, after_step=after_step)
    rest = wb.train(*parts, 12, batch=16, eval_every=5, resume=True, after_step=after_step)
    assert record.steps.tolist() == [0, 5, 10, 12]
    assert rest.steps.tolist() == [10, 12]
    assert [step for step, _ in told] == list(range(13))
    assert [step for step, success in told if success is not None] == [0, 5, 7, 10, 12]
    by_step = dict(told)
    for step, success in zip(record.steps, record.success, strict=True):
        np.testing.assert_array_equal(np.atleast_2d(by_step[step]), success)


@pytest.mark.parametrize("resume", [False, True])
def test_what_was_trained_on_counts_on_when_a_run_is_continued(pool, resume):
    parts = pair(RULES["adarft"], LAWS["scalar"], pool)
    first = wb.train(*parts, 6, batch=16, rollouts=8, eval_every=3)
    rest = wb.train(*parts, 12, batch=16, rollouts=8, eval_every=3, resume=resume)
    assert first.trained[:, 0].tolist() == [0, 3 * 128, 6 * 128]
    assert rest.trained.tolist() == rest.rollouts.tolist()
    assert rest.trained[0, 0] == (9 if resume else 6) * 128


@pytest.mark.parametrize("steps", [7, 12])
def test_a_run_that_has_no_steps_left_is_refused_before_any_work(pool, steps):
    parts = pair(RULES["adarft"], LAWS["scalar"], pool)
    wb.train(*parts, 12, batch=16)
    with pytest.raises(wb.InputError, match=rf"^steps: must be > 12, the updates that .* behind it, got {steps}$"):
        wb.train(*parts, steps, batch=16, resume=True)
    assert parts[0].step == parts[1].updates == 12


def test_a_continued_record_counts_its_rollouts_on_from_the_steps_it_continues(pool):
    first, second = resumed_record(wb.Uniform(), LAWS["scalar"], pool, 10)
    assert (first.rollouts == np.array([0, 5, 10])[:, None] * 32 * 8).all()
    assert second.steps.tolist() == [10, 15, 20]
    assert (second.rollouts == np.array([10, 15, 20])[:, None] * 32 * 8).all()


class Coin:
    """The least a learner is: four methods, no lanes, no skill worth the name."""

    def __init__(self):
        self.heads = 0

    def attempt(self, items, rollouts=8):
        return np.tile(np.arange(rollouts) % 2, (len(items), 1)).astype(np.float32)

    def learn(self, items, rewards, admitted=None):
        self.heads += int(rewards.sum())

    def evaluate(self):
        return np.array([self.heads, 2.0 * self.heads, np.nan])

    def state_dict(self):
        return {"heads": self.heads}

    def load_state_dict(self, state):
        self.heads = state["heads"]


def test_anything_with_the_four_methods_is_a_learner(pool):
    record = wb.train(wb.Controller(wb.AdaRFT(start=50.0), pool), Coin(), 6, batch=10, rollouts=4, eval_every=3)
    assert record.success.shape == (3, 1, 3)
    assert record.mean_success[:, 0].tolist() == [0.0, 1.5 * 3 * 20, 1.5 * 6 * 20]
    assert record.target[:, 0].tolist() == [50.0, 50.0, 50.0]  # reward is beta: the target rests
    assert record.reward[1:, 0].tolist() == [0.5, 0.5]


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps", 0),
        ("steps", 2.5),
        ("eval_every", 0),
        ("batch", 0),
        ("batch", 1001),
        ("rollouts", 0),
        ("rollouts", 1),
    ],
)
def test_a_setting_out_of_its_domain_is_refused_before_anything_is_learned(pool, setting, value):
    controller, learner = pair(wb.Uniform(), LAWS["scalar"], pool)
    before = learner.state.theta.copy()
    with pytest.raises(wb.InputError, match=rf"{setting}: must be .*got {value}"):
        wb.train(controller, learner, **{"steps": 5, "batch": 32, "rollouts": 8, "eval_every": 5, setting: value})
    assert np.array_equal(learner.state.theta, before)


def test_a_learner_with_another_number_of_lanes_is_refused(pool):
    controller = wb.Controller(wb.Uniform(), pool, seed=SEEDS)
    with pytest.raises(wb.InputError, match=r"lanes.*got 3"):
        wb.train(controller, wb.SimLearner(wb.ScalarIRT(), pool, lanes=3), 5, batch=32)


# ---------------------------------------------------------------------------------------------------- pairing


@pytest.mark.parametrize("law", [wb.ScalarIRT(), wb.KernelTransfer()], ids=["scalar", "kernel"])
def test_pairing_by_seed_makes_the_difference_of_two_controllers_less_noisy(pool, law):
    seeds = np.arange(48)
    final = {r: run(RULES[r], law, pool, steps=40, seed=seeds)[0].mean_success[-1] for r in ("adarft", "uniform")}
    paired = np.var(final["adarft"] - final["uniform"], ddof=1)
    unpaired = np.var(final["adarft"], ddof=1) + np.var(final["uniform"], ddof=1)
    assert paired < 0.5 * unpaired
    assert np.corrcoef(final["adarft"], final["uniform"])[0, 1] > 0.5


def test_two_controllers_share_the_luck_of_a_seed_before_they_part(pool):
    easy_first, also_easy = wb.AdaRFT(start=0.0, ties="first"), wb.FrozenTarget(0.0, ties="first")
    adaptive, frozen = (run(rule, LAWS["scalar"], pool, steps=3, eval_every=1)[0] for rule in (easy_first, also_easy))
    assert np.array_equal(adaptive.success[:2], frozen.success[:2])  # one batch in common
    assert np.array_equal(adaptive.reward[1], frozen.reward[1])
    assert not np.array_equal(adaptive.success[3], frozen.success[3])


# ----------------------------------------------------------------------------------- what a curriculum can do


@every_law
@every_rule
def test_training_raises_held_out_success(pool, rule, law):
    record, _ = run(rule, law, pool, steps=60)
    assert np.all(record.mean_success[-1] > record.mean_success[0])


def skill_gained(rule, law, pool, **settings):
    _, learner = run(rule, law, pool, **settings)
    return learner.state.theta - law.theta0


@pytest.mark.parametrize("law", [wb.ScalarIRT(kappa=0.05, gamma=0.0, signal=wb.RLOO(exact=True)), LAWS["natural"]])
def test_under_natural_gradient_no_controller_changes_skill_at_all(pool, law):
    records = {name: run(rule, law, pool, steps=60) for name, rule in RULES.items()}
    _, baseline = records["uniform"]
    for name, (record, learner) in records.items():
        assert np.array_equal(learner.state.theta, baseline.state.theta), name
        assert np.array_equal(record.success, records["uniform"][0].success), name
    assert baseline.state.theta == pytest.approx(law.theta0 + 60 * law.kappa)


def test_adarft_beats_uniform_clearly_for_a_scalar_learner_on_a_uniform_pool(pool):
    law = wb.ScalarIRT()
    adaptive, uniform = (run(rule, law, pool, steps=100)[0] for rule in (wb.AdaRFT(), wb.Uniform()))
    gain = adaptive.mean_success[-1] - uniform.mean_success[-1]
    assert np.all(gain > 0.05)
    assert gain.mean() > 10 * gain.std(ddof=1) / sqrt(len(gain))
    assert np.all(skill_gained(wb.AdaRFT(), law, pool) > 1.3 * skill_gained(wb.Uniform(), law, pool))


def test_on_a_narrow_pool_at_its_level_no_gain_can_be_detected():
    narrow, law = wb.Pool.synthetic("narrow", size=1000), wb.ScalarIRT(theta0=-0.5)
    adaptive, _ = run(wb.AdaRFT(), law, narrow, seed=np.arange(8))
    # two separate groups of runs, as a study without pairing would have
    uniform, _ = run(wb.Uniform(), law, narrow, seed=np.arange(100, 108))
    assert ttest_ind(adaptive.mean_success[-1], uniform.mean_success[-1]).pvalue > 0.05
    ratio = skill_gained(wb.AdaRFT(), law, narrow).mean() / skill_gained(wb.Uniform(), law, narrow).mean()
    assert ratio < 1.1


def test_the_speed_up_shrinks_with_the_signals_exponent_down_to_none(pool):
    ratios = []
    for gamma in (1.0, 0.5, 0.0):
        law = wb.ScalarIRT(gamma=gamma, label_noise=0.0, signal=wb.RLOO(exact=True))
        ratios.append(skill_gained(wb.AdaRFT(), law, pool).mean() / skill_gained(wb.Uniform(), law, pool).mean())
    vanilla, whitened, natural = ratios
    assert vanilla > whitened + 0.1
    assert whitened > natural + 0.1
    assert natural == 1.0


def test_training_on_the_hardest_items_only_is_worse_than_uniform_for_a_scalar_learner(pool):
    hardest = run(wb.FrozenTarget(100.0), LAWS["scalar"], pool)[0].mean_success[-1]
    uniform = run(wb.Uniform(), LAWS["scalar"], pool)[0].mean_success[-1]
    assert np.all(hardest < uniform)


# ----------------------------------------------------------------- AdaRFT in closed loop with a Rasch learner


def linear_pool(slope, size=50_000):
    """Labels evenly spread over 0..100 and true difficulty slope (d - 50): a locally linear world."""
    d = 100 * (np.arange(size) + 0.5) / size
    return wb.Pool(difficulty=d), slope * (d - 50)


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.7])
def test_reward_settles_at_beta_for_a_learner_at_rest(beta):
    pool, b = linear_pool(0.05)
    learner = wb.SimLearner(wb.ScalarIRT(theta0=0.0, kappa=0.0), pool, seed=SEEDS, b=b)
    controller = wb.Controller(wb.AdaRFT(beta=beta, eta=20.0), pool, seed=SEEDS)
    record = wb.train(controller, learner, 40, batch=256, rollouts=8, eval_every=20)
    assert record.reward[-1].mean() == pytest.approx(beta, abs=3e-3)
    assert record.target[-1].mean() == pytest.approx(50 - logit(beta) / 0.05, abs=1.0)


@pytest.mark.parametrize(("drift", "reward"), [(0.5, 0.512495), (2.0, 0.549669), (8.0, 0.681260)])
def test_while_the_learner_improves_reward_stays_above_beta_by_the_tracking_lag(drift, reward):
    # v = drift R (1 - R) difficulty units per step must equal eta tanh(alpha (R - beta))
    steady = brentq(lambda r: drift * r * (1 - r) - 5 * tanh(2 * (r - 0.5)), 0.5, 0.9)
    assert steady == pytest.approx(reward, abs=1e-6)
    assert steady == pytest.approx(0.5 + atanh(drift * steady * (1 - steady) / 5) / 2)
    slope = 0.08
    pool, b = linear_pool(slope)
    law = wb.ScalarIRT(theta0=slope * (10 - 50), kappa=drift * slope * 0.25, signal=wb.RLOO(exact=True))
    seeds = np.arange(24)
    learner = wb.SimLearner(law, pool, seed=seeds, b=b)
    controller = wb.Controller(wb.AdaRFT(eta=5.0, alpha=2.0, start=10.0), pool, seed=seeds)
    record = wb.train(controller, learner, 45, batch=256, rollouts=8, eval_every=15)
    assert np.all(record.target[-1] < 100)
    assert record.reward[-1].mean() == pytest.approx(reward, abs=4e-3)


def plain_loop(slope, steps):
    """Reward of the noise-free loop, from a small push off its fixed point."""
    target, rewards = 51.0, []
    for _ in range(steps):
        rewards.append(expit(-slope * (target - 50)))
        target = min(max(target + 50 * np.tanh(2 * (rewards[-1] - 0.5)), 0), 100)
    return np.array(rewards)


def test_the_loop_settles_below_a_gain_of_two_and_cycles_above_it():
    for slope, gain in ((0.05, 1.25), (0.12, 3.0)):
        assert 50 * 2 * slope / 4 == pytest.approx(gain)  # eta alpha s / 4
        pool, b = linear_pool(slope)
        learner = wb.SimLearner(wb.ScalarIRT(theta0=0.0, kappa=0.0), pool, seed=SEEDS, b=b)
        controller = wb.Controller(wb.AdaRFT(start=51.0), pool, seed=SEEDS)
        record = wb.train(controller, learner, 60, batch=256, rollouts=8, eval_every=1)
        swing = np.ptp(record.reward[-6:], axis=0).mean()
        assert swing == pytest.approx(np.ptp(plain_loop(slope, 60)[-6:]), abs=0.06)
        assert (swing > 0.5) == (gain > 2)


def test_a_record_names_what_ran():
    pool = wb.Pool.synthetic("narrow", size=100)
    record = wb.train(wb.Controller(wb.AdaRFT(), pool), wb.SimLearner(wb.ScalarIRT(), pool), steps=2, batch=8)
    names = {"pool": "narrow", "learner": "scalar", "controller": "adarft", "law": "scalar", "rule": "adarft"}
    assert record.names == names
    assert record.to_frame()[list(names)].drop_duplicates().to_dict("records") == [names]


# ------------------------------------------------------------------------------------- lanes of hyper-parameters


def test_lanes_of_hyper_parameters_are_told_apart_in_the_frame(pool):
    eta, kappa = np.repeat([5.0, 50.0], 2), np.array([0.1, 0.2, 0.1, 0.2])
    gate = wb.SPEED(max_batches=3)
    controller = wb.Controller(wb.AdaRFT(eta=eta, beta=np.full(4, 0.5)), pool, [gate], seed=3, lanes=4)
    learner = wb.SimLearner(wb.ScalarIRT(kappa=kappa, gamma=0.5), pool, seed=3, lanes=4)
    record = wb.train(controller, learner, 6, batch=16, rollouts=6, eval_every=3)
    frame = record.to_frame()
    keys = ["pool", "learner", "controller", "law", "rule", "adarft.eta", "scalar.kappa", "seed", "step"]
    assert list(frame.columns[:9]) == keys
    assert not frame.duplicated([*keys[:3], "seed", "step"]).any()
    assert frame["controller"].tolist()[:4] == [f"adarft+speed adarft.eta={e:g} speed.max_batches=3" for e in eta]
    assert frame["learner"].tolist()[:4] == [f"scalar kappa={k:g} gamma=0.5" for k in kappa]
    assert set(frame["law"]) == {"scalar"}
    assert set(frame["rule"]) == {"adarft+speed"}
    for lane in range(4):
        mine = frame[(frame["adarft.eta"] == eta[lane]) & (frame["scalar.kappa"] == kappa[lane])]
        assert np.array_equal(mine["success"], record.mean_success[:, lane])


@pytest.mark.parametrize("rule", [wb.AdaRFT(eta=np.array([5.0, 50.0])), wb.Uniform()], ids=["lanes", "baseline"])
def test_the_frame_of_any_record_goes_into_the_tables_and_the_figures(pool, rule):
    import pandas as pd

    from workbench.analysis.tables import runs_table, summary_table

    seeds = np.array([0, 1])
    frames = []
    for one in (wb.Uniform(), rule):
        controller, learner = wb.Controller(one, pool, seed=seeds), wb.SimLearner(wb.ScalarIRT(), pool, seed=seeds)
        record = wb.train(controller, learner, 20, batch=16)
        frames.append(record.to_frame())
    table = frames[0] if isinstance(rule, wb.Uniform) else pd.concat(frames)
    runs = runs_table(table)
    mine = runs[runs["controller"].isin(frames[1]["controller"])]
    assert sorted(mine["auc"]) == pytest.approx(sorted(record.area()))
    assert set(summary_table(runs, 20)["controller"]) == set(table["controller"])
    assert wb.figures.learning_curves(table).axes


def test_area_is_the_mean_height_of_the_curve(pool):
    record, _ = run(RULES["adarft"], LAWS["scalar"], pool, steps=12)
    heights = (record.mean_success[1:] + record.mean_success[:-1]) / 2
    assert record.area() == pytest.approx(np.diff(record.steps) @ heights / 12)


def test_a_law_is_named_as_its_preset_and_a_stranger_by_its_class(pool):
    def names(law):
        return wb.train(wb.Controller(wb.Uniform(), pool), wb.SimLearner(law, pool), 1, batch=8).names

    assert names(wb.ScalarIRT(gamma=np.zeros(1)))["learner"] == "natural"
    assert names(wb.ScalarIRT(kappa=0.3))["learner"] == "scalar kappa=0.3"
    record = wb.train(wb.Controller(wb.Uniform(), pool), Coin(), 1, batch=8)
    assert (record.names["learner"], record.names["law"]) == ("Coin", "Coin")


# ------------------------------------------------------------------------------- what does not belong together


def test_a_learner_of_another_pool_or_of_other_seeds_is_refused_in_one_line(pool):
    other = wb.Pool.synthetic("narrow", size=1000)
    twin = wb.Pool.synthetic("uniform", size=1000, seed=0)
    controller = wb.Controller(wb.Uniform(), pool, seed=SEEDS)
    wb.train(controller, wb.SimLearner(wb.ScalarIRT(), twin, seed=SEEDS), 1, batch=8)  # equal items are one pool
    for learner, said in (
        (wb.SimLearner(wb.ScalarIRT(), other, seed=SEEDS), r"pool 'uniform' \(1000 items, \w+\), got 'narrow' "),
        (wb.SimLearner(wb.ScalarIRT(), pool, seed=SEEDS + 1), r"seeds \[0, 1, .*, got \[1, 2, "),
        (wb.SimLearner(wb.ScalarIRT(), pool, seed=0), r"8 lanes like the controller, got 1"),
    ):
        with pytest.raises(wb.InputError, match=rf"^learner: must have (the controller's )?{said}") as caught:
            wb.train(controller, learner, 3, batch=8)
        assert "\n" not in str(caught.value)
    assert controller.step == 1


# ------------------------------------------------------------------------------------------ what a person sees


def test_a_bar_is_shown_when_asked_for(pool, capsys):
    wb.train(*pair(RULES["adarft"], LAWS["scalar"], pool), 6, batch=16, progress=True)
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "success 0." in shown
    wb.train(*pair(RULES["adarft"], LAWS["scalar"], pool), 6, batch=16)
    assert capsys.readouterr().err == ""


def test_a_notebook_without_ipywidgets_gets_the_plain_bar_without_a_warning(tmp_path):
    code = """if True:
        import sys, warnings
        class Kernel:
            config = {"IPKernelApp": {}}
        class IPython:
            get_ipython = Kernel
        sys.modules["IPython"] = IPython
        sys.modules["ipywidgets"] = None
        from workbench.progress import make_bar
        with make_bar(total=3) as bar:
            bar.update(3)
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3/3" in done.stderr
    assert "ipywidgets" not in done.stderr


def test_objects_show_themselves_in_a_line_and_in_a_table():
    pool = wb.Pool.synthetic("narrow", size=100)
    controller = wb.Controller(wb.AdaRFT(eta=np.array([5.0, 50.0])), pool, [wb.SPEED()], seed=[0, 1])
    learner = wb.SimLearner(wb.ScalarIRT(kappa=0.3), pool, seed=[0, 1])
    record = wb.train(controller, learner, 6, batch=8, rollouts=6, eval_every=3)
    assert repr(controller) == (
        "Controller(rule: AdaRFT(eta=5.0 to 50.0 in 2 lanes), gates: SPEED(), pool: narrow, 100 items, "
        "runs: 2 seeds, 0 to 1, in 2 lanes, batches drawn: 6)"
    )
    assert repr(learner).startswith("SimLearner(law: ScalarIRT(kappa=0.3), pool: narrow, 100 items, runs: 2 seeds, ")
    assert repr(record).startswith(
        "Record(pool: narrow, learner: scalar kappa=0.3, controller: adarft+speed, runs: 2 seeds, 0 to 1, in 2 lanes, "
        "records: 3, steps 0 to 6, mean success: "
    )
    for shown, word in ((controller, "AdaRFT"), (learner, "ScalarIRT"), (record, "adarft+speed")):
        page = shown._repr_html_()
        assert page.startswith(f"<strong>{type(shown).__name__}</strong><table>")
        assert word in page


def test_the_series_of_a_record_are_declared_and_a_typo_is_an_error(pool):
    record, _ = run(RULES["adarft"], LAWS["scalar"], pool, steps=3)
    assert all(name in vars(wb.Record) for name in SERIES)
    with pytest.raises(AttributeError, match="sucess"):
        _ = record.sucess
