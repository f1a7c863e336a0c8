"""Every shipped rule, gate and learner keeps every law of workbench.testing, and every law catches who breaks it."""

import random
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

import workbench as wb
from workbench.controllers.rule import Draw, Probe
from workbench.errors import InputError
from workbench.registry import GATES, LAWS, RULES
from workbench.testing import (
    GATE_LAWS,
    LEARNER_LAWS,
    RULE_LAWS,
    check_gate,
    check_learner,
    check_rule,
    draw,
    small_pool,
    tools,
)

# Settings beside the presets': other branches of the code, and ends that are reached within a dozen batches.
VARIANTS = {
    "adarft, first of ties": wb.AdaRFT(ties="first", eta=20.0),
    "linear to its end": wb.LinearSchedule(horizon=6),
    "sorted to its end": wb.SortedEasyToHard(horizon=6),
    "prioritized with reversion": wb.Prioritized(reversion=0.2),
    "sec by category": wb.SEC(by="category", advantage="mean", start=1.0, reversion=0.2),
    "sec by level": wb.SEC(by="level"),
    "uniform with a floor": wb.Uniform(floor=0.3),
    "covering with a floor": wb.AdaRFTCovering(floor=0.5),
    "greso with a floor": wb.GRESO(floor=0.3),
    "mastered with a floor": wb.DropMastered(floor=0.3),
    "dots with a floor": wb.DOTS(reference=12, floor=0.3),
    "staged to its end": wb.Staged(horizon=6, cumulative=True),
    "dump with a full window": wb.DUMP(window=10, by="category", reversion=0.2),
    "progress by level": wb.LearningProgress(by="level", reversion=0.2),
    "rlve by level": wb.RLVE(by="level", tau=0.3, least=2),
    **{f"e2h {form}": wb.E2H(schedule=form, horizon=6) for form in ("gaussian", "cosine", "balanced", "classic")},
    **{f"tscl {kind}": wb.TSCL(estimator=kind, window=4, period=3) for kind in ("naive", "window", "sampling", "mean")},
    "tscl boltzmann": wb.TSCL(policy="boltzmann", absolute=True, by="category"),
    "sfl with a small buffer": wb.SFL(period=3, keep=10, candidates=16),
    "dots with few references": wb.DOTS(reference=12),
    "mopps in a band": wb.MoPPS(candidates=2, band=(0.3, 0.7)),
    "bots by the mean": wb.BOTS(candidates=20, sample=False),
    "bots of all items": wb.BOTS(candidates=0, evidence=0.5),
    "pcl with few candidates": wb.PCL(candidates=2),
    "procurl by labels": wb.ProCuRL(use_labels=True),
    "greso in a hurry": wb.GRESO(easy=0.2, hard=0.8, target=0.5, step=0.1),
    "cures with equal groups": wb.CurES(adaptive=False),
    "cures by the share": wb.CurES(allocate_by="share"),
    "plr annealed": wb.PLR(schedule="proportionate"),
    "plr once all are seen": wb.PLR(schedule="proportionate", replay_from=1.0),
    "mastered by its history": wb.DropMastered(back=3, memory_of="history"),
    "mastered by stages": wb.DropMastered(threshold=0.6, memory_of="stage", strict=True, stage=3),
    "mastered for a while": wb.DropMastered(threshold=0.5, back=3, least=2),
    "alp-gmm with a short window": wb.ALPGMM(window=32, buffer=20, components=(1, 2), random=0.5, start=5),
}
LEARNERS = LAWS | {
    "critic": wb.ScalarIRT(signal=wb.Critic(), forgetting=0.01),
    "successes": wb.ScalarIRT(signal=wb.SuccessOnly()),
    "exact": wb.KernelTransfer(signal=wb.RLOO(exact=True)),
    "anchored": wb.ScalarIRT(kappa=0.2, anchor=0.5, a=1.5),
    "topics": wb.KernelTransfer(kappa=0.5, topics=2, cross_topic=-0.2, transfer_self=0.1, forgetting=0.01),
    "many skills": wb.MultiSkill(kappa=0.5, skills=7, transfer=0.2, interference=0.3, interfering=0.4, forgetting=0.01),
    "long chain": wb.Chain(theta0=1.0, kappa=0.5, longest=13, kinds=3, forgetting=0.01, signal=wb.Critic()),
    "one row of cells": wb.PrerequisiteGrid(theta0=-1.0, dims=1, kappa=9.0, forgetting=0.01, repeat_decay=0.1),
    "imperfect": wb.ScalarIRT(gap=1.0, unlearnable=0.2, false_negative=0.2, false_positive=0.1, repeat_decay=0.5),
}

# Rules that fit a model are slow with the presets' settings, and would fit none within a dozen batches.
SHIPPED = {name: rule for name, rule in RULES.items() if not rule.fits_model} | VARIANTS

KEPT = [
    *((name, rule, law) for name, rule in SHIPPED.items() for law in RULE_LAWS.values()),
    *((name, gate, law) for name, gate in GATES.items() for law in GATE_LAWS.values()),
    *((name, partial(wb.SimLearner, of), law) for name, of in LEARNERS.items() for law in LEARNER_LAWS.values()),
]


@pytest.mark.parametrize(("subject", "law"), [case[1:] for case in KEPT], ids=[f"{n}-{a.__name__}" for n, _, a in KEPT])
def test_what_we_ship_keeps_every_law(subject, law):
    law(subject)


def test_every_rule_is_under_the_laws():
    assert {type(rule) for rule in SHIPPED.values()} == {type(rule) for rule in RULES.values()}


# ---- rules that break a law: one thing is wrong with each


class Narrow(wb.Uniform):
    def select(self, state, draw, count):
        items, state = super().select(state, draw, count)
        return items.astype(np.int32), state


class OneItemLater(wb.Uniform):
    def select(self, state, draw, count):
        items, state = super().select(state, draw, count)
        return (items if draw.step < 3 else np.repeat(items[:, :1], count, axis=1)), state


class NeedsAWholePool(wb.Uniform):
    def select(self, state, draw, count):
        if draw.step > 3 and count == 1:
            raise InputError("count: must be more than 1")
        return super().select(state, draw, count)


class ZeroByZero(wb.Prioritized):
    def weights(self, state, draw):
        return state.successes / state.successes.sum(axis=1, keepdims=True)


class QuietZeroByZero(wb.Prioritized):
    def weights(self, state, draw):
        with np.errstate(invalid="ignore"):
            return state.successes / state.successes.sum(axis=1, keepdims=True)


class HasNoTargetYet(wb.AdaRFT):
    def metrics(self, state):
        return {"target_difficulty": state.target + 60}


class AddsInPlace(wb.Prioritized):
    def update(self, state, feedback):
        state.attempts[:] += 1
        return state


class RaisesTheRewards(wb.AdaRFT):
    def update(self, state, feedback):
        feedback.rewards[:] = 1
        return super().update(state, feedback)


class GlancesAtTheClock(wb.Uniform):
    def select(self, state, draw, count):
        deck = np.tile(np.arange(len(draw.pool)), (len(draw.seeds), 1))
        return np.random.default_rng().permuted(deck, axis=1)[:, :count], state


class HearsHalfTheSeed(wb.Uniform):
    def select(self, state, draw, count):
        return super().select(state, Draw(draw.pool, draw.seeds // np.uint64(2), draw.step, draw.turn), count)


class GlobalNumPy(wb.Uniform):
    def update(self, state, feedback):
        np.random.random()  # noqa: NPY002
        return state


class GlobalPython(wb.Uniform):
    def select(self, state, draw, count):
        random.random()
        return super().select(state, draw, count)


class OneSeedForAll(wb.Uniform):
    def select(self, state, draw, count):
        return super().select(state, Draw(draw.pool, np.zeros_like(draw.seeds), draw.step, draw.turn), count)


class ByPosition(wb.FrozenTarget):
    def select(self, state, draw, count):
        first = np.arange(count) + draw.step
        return np.tile(first % len(draw.pool), (len(draw.seeds), 1)), state


class WeighsPositions(wb.Prioritized):
    def weights(self, state, draw):
        return super().weights(state, draw) * np.linspace(0.5, 1, len(draw.pool), dtype=np.float32)


class DisownsItsLabels(wb.FrozenTarget):
    needs = ()


class Forgetful(wb.AdaRFT):
    """Its target hangs on what it keeps beside the state."""

    def update(self, state, feedback):
        object.__setattr__(self, "best", max(getattr(self, "best", 0.0), feedback.mean_reward.max()))
        return super().update(state, replace(feedback, mean_reward=feedback.mean_reward * self.best))


class ListensToAllLanes(wb.AdaRFT):
    def update(self, state, feedback):
        everybody = np.full_like(feedback.mean_reward, feedback.mean_reward.mean())
        return super().update(state, replace(feedback, mean_reward=everybody))


class OneSettingForAll(wb.AdaRFT):
    def update(self, state, feedback):
        return wb.AdaRFT(eta=float(np.mean(self.eta))).update(state, feedback)


class RefillsTogether(wb.FrozenTarget):
    def select(self, state, draw, count):
        lanes = draw.seeds if draw.turn == 0 else np.full_like(draw.seeds, draw.seeds.max())
        return super().select(state, Draw(draw.pool, lanes, draw.step, draw.turn), count)


class ExpectsWholeBatches(wb.Uniform):
    def update(self, state, feedback):
        feedback.rewards.reshape(-1, tools.BATCH, tools.ROLLOUTS)
        return state


class CountsSilenceAsFailure(wb.Prioritized):
    def update(self, state, feedback):
        return super().update(state, replace(feedback, counts=np.empty((0, 0), np.int64)))


class IgnoresItsFloor(wb.FrozenTarget):
    def __post_init__(self):
        object.__setattr__(self, "floor", 0.0)


class Lots(NamedTuple):
    lots: np.ndarray


class TakesTooMuch(wb.Uniform):
    def init(self, pool, lanes):
        return Lots(np.zeros((lanes, len(pool), 16)))

    def select(self, state, draw, count):
        return super().select(super().init(draw.pool, len(draw.seeds)), draw, count)[0], state


class LanesLast(TakesTooMuch):
    def init(self, pool, lanes):
        return Lots(np.zeros((4, lanes)))


class KeepsAList(TakesTooMuch):
    def init(self, pool, lanes):
        return Lots([0] * lanes)


class Grows(TakesTooMuch):
    def init(self, pool, lanes):
        return Lots(np.zeros((lanes, 1)))

    def update(self, state, feedback):
        return Lots(np.append(state.lots, feedback.mean_reward[:, None], axis=1))


class HidesItsMemory(wb.Prioritized):
    memory = "none"


class TakesColumnsForGranted(wb.Uniform):
    def init(self, pool, lanes):
        assert pool.features.shape[1] > 1
        return super().init(pool, lanes)


class NeedsButDoesNotCheck(wb.Uniform):
    needs = ("level",)


class ProbesInSecret(wb.Uniform):
    def probe(self, state, draw):
        return Probe(np.zeros((len(draw.seeds), 1), np.int64), 4)


class ProbesAStrangeItem(ProbesInSecret):
    extra = "probe rollouts"

    def probe(self, state, draw):
        return Probe(np.array([[0, 1, 0]]).repeat(len(draw.seeds), axis=0), 4)


class GivesFewerRollouts(wb.Uniform):
    def allocate(self, state, draw, items, rollouts):
        return np.full(items.shape, rollouts - 1)


class PredictsInSecret(wb.Uniform):
    def metrics(self, state):
        return {"forwards": np.ones(len(state.cursor))}


@dataclass(frozen=True)
class TakesAnything(wb.Uniform):
    temperature: float = 1.0


@dataclass(frozen=True)
class TakesAnyLength(wb.FrozenTarget):
    def init(self, pool, lanes):
        return wb.FrozenTarget(float(np.mean(self.target))).init(pool, lanes)


class NoSource(wb.Uniform):
    """Every item equally often."""


class TwoSources(wb.Uniform):
    """Source: one paper. Source: another."""


class CopiedSource(wb.Uniform):
    __doc__ = wb.Uniform.__doc__


class Loops(wb.Uniform):
    def select(self, state, draw, count):
        while True:
            pass


BROKEN_RULES = {
    "gives_positions": [Narrow()],
    "gives_as_many_as_asked": [OneItemLater(), NeedsAWholePool()],
    "stands_any_history": [ZeroByZero(), QuietZeroByZero(), HasNoTargetYet()],
    "is_pure": [AddsInPlace(), RaisesTheRewards()],
    "same_seed_same_run": [GlancesAtTheClock()],
    "another_seed_another_run": [HearsHalfTheSeed()],
    "leaves_global_random_state_alone": [GlobalNumPy(), GlobalPython()],
    "relabelling_relabels": [OneSeedForAll(), ByPosition(), WeighsPositions()],
    "reads_no_labels_it_disowns": [DisownsItsLabels()],
    "resumes_bit_for_bit": [Forgetful()],
    "lanes_are_single_runs": [ListensToAllLanes()],
    "hyper_parameters_may_differ_between_lanes": [OneSettingForAll()],
    "lanes_rest_while_others_refill": [RefillsTogether()],
    "takes_any_feedback": [ExpectsWholeBatches()],
    "no_rollouts_teach_nothing": [CountsSilenceAsFailure()],
    "floor_reaches_every_item": [IgnoresItsFloor()],
    "state_is_small_arrays": [TakesTooMuch(), LanesLast(), KeepsAList(), Grows(), HidesItsMemory()],
    "names_missing_columns": [TakesColumnsForGranted(), NeedsButDoesNotCheck()],
    "says_what_it_spends": [ProbesInSecret(), ProbesAStrangeItem(), GivesFewerRollouts(), PredictsInSecret()],
    "refuses_bad_settings": [TakesAnything(), TakesAnyLength()],
    "names_its_source": [NoSource(), TwoSources(), CopiedSource()],
}


# ---- gates


class GivesNumbers(wb.DynamicSampling):
    def admit(self, state, feedback):
        return feedback.stds, state


class RefillsWithOneItem(wb.DynamicSampling):
    def refill(self, state, draw, items):
        return np.repeat(items[:, :1], items.shape[1], axis=1), state


class Count(NamedTuple):
    seen: np.ndarray


class CountsInPlace(wb.DynamicSampling):
    def init(self, pool, lanes):
        return Count(np.zeros((lanes, 1)))

    def admit(self, state, feedback):
        state.seen[:] += 1
        return feedback.stds > 0, state


class TossesAGlobalCoin(wb.DynamicSampling):
    def admit(self, state, feedback):
        return feedback.stds > np.random.random(feedback.items.shape), state  # noqa: NPY002


class HasNoCap(wb.DynamicSampling):
    def __post_init__(self):
        object.__setattr__(self, "max_batches", 2**31)


class ScreensByMoreThanThereIs(wb.DynamicSampling):
    @property
    def screening(self):
        return 12

    def screen(self, feedback):
        return feedback.stds > 0


class ComparesLanes(wb.DynamicSampling):
    def admit(self, state, feedback):
        return feedback.stds >= feedback.stds.mean(), state


class RemembersBeside(wb.DynamicSampling):
    def admit(self, state, feedback):
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return (feedback.stds > 0) & (feedback.items % 5 != self.calls % 5), state


class KeepsTooMuch(wb.DynamicSampling):
    def init(self, pool, lanes):
        return Count(np.zeros((lanes, len(pool), 16)))


@dataclass(frozen=True)
class AnyThreshold(wb.DynamicSampling):
    threshold: float = 0.0


class GateWithoutSource(wb.DynamicSampling):
    """Leaves out silent groups."""


BROKEN_GATES = {
    "gives_masks": [GivesNumbers()],
    "refills_with_distinct_items": [RefillsWithOneItem()],
    "is_pure": [CountsInPlace()],
    "leaves_global_random_state_alone": [TossesAGlobalCoin()],
    "stops_at_its_cap": [HasNoCap()],
    "counts_add_up": [ScreensByMoreThanThereIs()],
    "lanes_are_single_runs": [ComparesLanes()],
    "resumes_bit_for_bit": [RemembersBeside()],
    "state_is_small_arrays": [KeepsTooMuch()],
    "refuses_bad_settings": [AnyThreshold()],
    "names_its_source": [GateWithoutSource()],
}


# ---- learners


class Learner(wb.SimLearner):
    def __init__(self, pool, seed):
        super().__init__(wb.ScalarIRT(kappa=0.5, forgetting=0.01), pool, seed)


class PartialCredit(Learner):
    def attempt(self, items, rollouts=8, counts=None):
        return super().attempt(items, rollouts, counts) / 2


class NoEndToAGroup(Learner):
    def attempt(self, items, rollouts=8, counts=None):
        return super().attempt(items, rollouts)


class OneLuckForAll(Learner):
    def attempt(self, items, rollouts=8, counts=None):
        self.attempts = 0
        return super().attempt(items, rollouts, counts)

    def probe(self, items, rollouts):
        return self.attempt(items, rollouts)


class LearnsFromProbes(Learner):
    def probe(self, items, rollouts):
        rewards = super().probe(items, rollouts)
        self.learn(items, rewards)
        return rewards


class TrueLuck(Learner):
    def attempt(self, items, rollouts=8, counts=None):
        rewards = super().attempt(items, rollouts, counts)
        return np.random.default_rng().permuted(rewards, axis=-1)


class DeafToItsSeed(Learner):
    def __init__(self, pool, seed):
        super().__init__(pool, np.zeros_like(np.asarray(seed, np.uint64)) if np.ndim(seed) else 0)


class GlobalLuck(Learner):
    def learn(self, *batch):
        np.random.random()  # noqa: NPY002
        super().learn(*batch)


class CleansUp(Learner):
    def learn(self, items, rewards, admitted=None, counts=None):
        super().learn(items, rewards, admitted, counts)
        rewards[:] = 0


class FirstItemOnly(Learner):
    def learn(self, items, rewards, admitted, counts=None):
        super().learn(items, rewards, admitted & (np.arange(admitted.shape[1]) == 0), counts)


class LearnsFromNothing(Learner):
    def learn(self, items, rewards, admitted, counts=None):
        super().learn(items, rewards, admitted, counts)
        self.state = self.state._replace(theta=self.state.theta + 0.01)


class LearnsFromAll(Learner):
    def learn(self, items, rewards, admitted, counts=None):
        super().learn(items, rewards, None, counts)


class InPercent(Learner):
    def evaluate(self):
        return 100 * super().evaluate()


class TiresOfExams(Learner):
    def evaluate(self):
        self.state = self.state._replace(theta=self.state.theta - 0.01)
        return super().evaluate()


class SharesItsSkill(Learner):
    def learn(self, *batch):
        super().learn(*batch)
        self.state = self.state._replace(theta=np.full_like(self.state.theta, self.state.theta.mean()))


class SavesNoSkill(Learner):
    def load_state_dict(self, state):
        super().load_state_dict(state | {"theta": np.full_like(state["theta"], -1.5)})


BROKEN_LEARNERS = {
    "attempts_are_right_or_wrong": [PartialCredit],
    "counts_end_a_group": [NoEndToAGroup],
    "probes_and_extends": [OneLuckForAll, LearnsFromProbes],
    "same_seed_same_run": [TrueLuck],
    "another_seed_another_run": [DeafToItsSeed],
    "leaves_global_random_state_alone": [GlobalLuck],
    "learns_alike": [CleansUp],
    "order_does_not_matter": [FirstItemOnly],
    "nothing_admitted_nothing_gained": [LearnsFromNothing],
    "rejected_groups_teach_nothing": [LearnsFromAll],
    "evaluates_without_a_trace": [InPercent, TiresOfExams],
    "lanes_are_single_runs": [SharesItsSkill],
    "resumes_bit_for_bit": [SavesNoSkill],
}

BROKEN = [
    (laws[law], subject)
    for laws, broken in ((RULE_LAWS, BROKEN_RULES), (GATE_LAWS, BROKEN_GATES), (LEARNER_LAWS, BROKEN_LEARNERS))
    for law, subjects in broken.items()
    for subject in subjects
]


def name_of(subject):
    return getattr(subject, "__name__", type(subject).__name__)


@pytest.mark.parametrize(("law", "subject"), BROKEN, ids=[f"{name_of(s)}-{law.__name__}" for law, s in BROKEN])
def test_who_breaks_a_law_is_caught_by_it(law, subject):
    with pytest.raises(AssertionError, match=f"^{name_of(subject)} breaks {law.__name__} "):
        law(subject)


@pytest.mark.parametrize(
    ("laws", "broken"),
    [(RULE_LAWS, BROKEN_RULES), (GATE_LAWS, BROKEN_GATES), (LEARNER_LAWS, BROKEN_LEARNERS)],
    ids=["rules", "gates", "learners"],
)
def test_every_law_has_somebody_who_breaks_it(laws, broken):
    assert set(broken) == set(laws)
    assert all(broken.values())


@pytest.mark.parametrize("law", [*RULE_LAWS.values(), *GATE_LAWS.values(), *LEARNER_LAWS.values()])
def test_every_law_is_stated_in_one_line(law):
    assert law.__doc__.endswith(".")
    assert "\n" not in law.__doc__


# ---- what a third party calls


def test_one_call_runs_every_law():
    check_rule(wb.AdaRFT())
    check_gate(wb.DynamicSampling())
    check_learner(Learner)


@pytest.mark.parametrize(
    ("check", "subject", "laws"),
    [
        (check_rule, Forgetful(), ["resumes_bit_for_bit", "names_its_source"]),
        (check_gate, HasNoCap(), ["stops_at_its_cap", "names_its_source"]),
        (check_learner, InPercent, ["evaluates_without_a_trace"]),
    ],
    ids=["rule", "gate", "learner"],
)
def test_one_call_names_every_law_that_is_broken(check, subject, laws):
    with pytest.raises(AssertionError) as caught:
        check(subject)
    lines = str(caught.value).splitlines()
    for law in laws:
        assert any(line.startswith(f"{name_of(subject)} breaks {law} (") for line in lines), law


@pytest.mark.parametrize(
    ("check", "line"),
    [(check_rule, "rule: must be a Rule"), (check_gate, "gate: must be a Gate"), (check_learner, "make: must be what")],
    ids=["rule", "gate", "learner"],
)
def test_what_is_no_rule_gate_or_learner_is_refused(check, line):
    with pytest.raises(InputError, match=f"^{line}.* got 7$"):
        check(7)


def test_a_pool_too_small_for_the_laws_is_refused():
    with pytest.raises(InputError, match=r"^pool: must have >= 16 items, got 15$"):
        RULE_LAWS["is_pure"](wb.Uniform(), small_pool(15))


def test_laws_take_a_pool_of_the_callers():
    pool = wb.Pool(np.linspace(0, 100, 30))
    check_rule(wb.AdaRFT(), pool)
    with pytest.raises(AssertionError, match=r"InputError: by: must be a column of the pool"):
        check_rule(wb.SEC(by="category"), pool)


def test_what_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(tools, "PATIENCE", 0.2)
    with pytest.raises(AssertionError, match=r"^Loops breaks gives_positions .* no end after 0\.2 seconds$"):
        check_rule(Loops())


def test_the_small_pool_has_every_column_and_many_ties():
    pool = small_pool()
    for column in ("category", "level", "features", "weak_rate", "strong_rate", "successes", "attempts"):
        assert len(getattr(pool, column)) == len(pool) == 48
    assert len(np.unique(pool.difficulty)) == 9
    assert pool.pass_rate == pytest.approx(1 - pool.difficulty / 100)
    assert len(pool.arms("category")) == 3
    assert pool.digest == small_pool().digest


def test_importing_the_laws_imports_no_pytest():
    script = "import sys, workbench.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0


def test_rules_that_keep_less_than_the_pool_may_refuse_more_but_not_a_batch():
    narrow = wb.MiddleBand(low=50.0, high=50.0)
    assert len(narrow.select(narrow.init(small_pool(), 1), draw(small_pool()), 5)[0][0]) == 5
    with pytest.raises(AssertionError, match="asked for 8 of 48 items it says 'batch: must be <= "):
        RULE_LAWS["gives_as_many_as_asked"](narrow)
