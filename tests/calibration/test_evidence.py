"""The likelihood of a log, against sums over a fine grid and matrix powers, and draws of u against those sums."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import betaln

from workbench.calibration.evidence import FURTHEST, GRID, STEP, Groups, Observation, draw_last, log_evidence
from workbench.calibration.log import Log

FINE = 0.04  # logits between points of the reference
U = np.arange(-7.0, 7.0 + FINE / 2, FINE)


def chance(k, n, zeta, rho, floor=0.0, ceiling=1.0, u=U):
    """Beta-binomial chance of k of n at zeta + u, without the binomial coefficient."""
    p = np.clip(floor + (ceiling - floor) / (1 + np.exp(-(zeta + u))), 1e-9, 1 - 1e-9)
    alpha, beta = p * (1 / rho - 1), (1 - p) * (1 / rho - 1)
    return np.exp(betaln(alpha + k, beta + n - k) - betaln(alpha, beta))


def walk(drift, u=U):
    """Chances from each point of u to each, in one update."""
    if drift == 0:
        return np.eye(len(u))
    jumps = np.exp(-0.5 * ((u[:, None] - u) / drift) ** 2)
    return jumps / jumps.sum(axis=1, keepdims=True)


def normal(spread, u=U):
    prior = np.exp(-0.5 * (u / spread) ** 2)
    return prior / prior.sum()


def of_run(log, zeta, rows, moves, rho, floor, ceiling):
    """(U,) chance of these groups of an item in one run given u at the run's start."""
    f, seen = np.ones(len(U)), int(log.step[rows[-1]]) if len(rows) else 1
    for row in rows[::-1]:
        f = np.linalg.matrix_power(moves, seen - int(log.step[row])) @ f
        f, seen = f * chance(log.successes[row], log.attempts[row], zeta[row], rho, floor, ceiling), int(log.step[row])
    return np.linalg.matrix_power(moves, seen - 1) @ f


def reference(log, zeta, rho, spread, drift, floor=0.0, ceiling=1.0, until=10**6):
    """(J,) log chance of each item's groups: the sum over u at the start, which all runs share."""
    moves, out = walk(drift), []
    for item in np.unique(log.item):
        both = normal(spread)
        for run in range(len(log.runs)):
            rows = np.flatnonzero((log.item == item) & (log.run == run) & (log.step <= until))
            both = both * of_run(log, zeta, rows, moves, rho, floor, ceiling)
        out.append(np.log(both.sum()))
    return np.array(out)


def given(*lanes):
    """An Observation from a (rho, spread, drift, floor, ceiling) per lane."""
    return Observation(*(np.array(values, float) for values in zip(*lanes, strict=True)))


def made(seed, spread, drift, rho, most, runs=2, steps=12, items=5):
    """A log of that law, unbalanced, with groups of 1 to `most` attempts, and a zeta for each group."""
    rng = np.random.default_rng(seed)
    there = rng.random((runs, steps, items)) < 0.35
    there[:, 0, 0] = there[:, -1, -1] = True
    run, step, item = np.nonzero(there)
    u = spread * rng.standard_normal(items) + drift * rng.standard_normal((runs, steps, items)).cumsum(axis=1)
    zeta, n = rng.normal(0, 1.5, len(run)), rng.integers(1, most + 1, len(run))
    p = 1 / (1 + np.exp(-zeta - u[run, step, item]))
    alpha = 1 / rho - 1
    k = rng.binomial(n, rng.beta(np.maximum(alpha * p, 1e-6), np.maximum(alpha * (1 - p), 1e-6)))
    return Log(step, item, k, n, run, items=list("abcde")), zeta


CASES = list(itertools.product((0.1, 0.6, 1.5), (0.0, 0.05, 0.2), (1e-4, 0.1, 0.5)))


@pytest.mark.parametrize(("spread", "drift", "rho"), CASES)
def test_evidence_is_the_sum_over_a_fine_grid(spread, drift, rho):
    """Groups of 8 attempts and fewer; the grid of u errs by .001 per item, by .02 where it is coarse beside u."""
    log, zeta = made([int(100 * x) for x in (spread, drift, rho)], spread, drift, max(rho, 0.01), 8)
    found = log_evidence(Groups(log), zeta[None], given((rho, spread, drift, 0.05, 0.95)), log.updates)[0]
    apart = found - reference(log, zeta, rho, spread, drift, 0.05, 0.95)
    assert np.abs(apart).max() < 0.02
    assert abs(apart.mean()) < 0.005


def test_large_groups_err_by_less_than_a_tenth():
    log, zeta = made(3, 0.5, 0.05, 0.02, 128)
    found = log_evidence(Groups(log), zeta[None], given((0.02, 0.5, 0.05, 0.0, 1.0)), log.updates)[0]
    assert np.abs(found - reference(log, zeta, 0.02, 0.5, 0.05)).max() < 0.1


def test_lanes_have_their_own_parameters():
    log, zeta = made(4, 0.7, 0.1, 0.1, 8)
    lanes = ((0.02, 0.3, 0.0, 0.0, 1.0), (0.3, 1.5, 0.2, 0.2, 0.8), (0.1, 0.7, 0.1, 0.0, 0.9))
    zetas = np.stack([zeta, -zeta, zeta + 0.3])
    found = log_evidence(Groups(log), zetas, given(*lanes), log.updates)
    alone = [log_evidence(Groups(log), zetas[[k]], given(lane), log.updates)[0] for k, lane in enumerate(lanes)]
    np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("until", [1, 4, 7])
def test_until_takes_the_first_updates_of_each_run(until):
    log, zeta = made(5, 0.7, 0.1, 0.1, 8)
    found = log_evidence(Groups(log), zeta[None], given((0.1, 0.7, 0.1, 0.0, 1.0)), until)[0]
    np.testing.assert_allclose(found, reference(log, zeta, 0.1, 0.7, 0.1, until=until), atol=0.01)
    lacking = [place for place, item in enumerate(np.unique(log.item)) if log.step[log.item == item].min() > until]
    np.testing.assert_allclose(found[lacking], 0.0, atol=1e-9)


def test_before_the_first_group_nothing_is_said():
    log, zeta = made(6, 0.7, 0.1, 0.1, 8)
    found = log_evidence(Groups(log), zeta[None], given((0.1, 0.7, 0.1, 0.0, 1.0)), 0)
    np.testing.assert_allclose(found, 0.0, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 128])
@pytest.mark.parametrize("all_right", [False, True])
@pytest.mark.parametrize("zeta", [-300.0, -19.99, -5.0, 0.0, 5.0, 20.0, 21.0, 1e6])
@pytest.mark.parametrize("rho", [1e-4, 0.1, 0.5])
def test_extreme_counts_and_logits_have_finite_evidence(n, all_right, zeta, rho):
    """Beyond 20 logits zeta counts as 20."""
    log = Log([0], ["a"], [n * all_right], [n])
    found = log_evidence(Groups(log), np.array([[zeta]]), given((rho, 0.7, 0.1, 0.0, 1.0)), 1)[0, 0]
    u = np.arange(GRID[0], GRID[-1], 0.05)
    wanted = np.log(chance(n * all_right, n, np.clip(zeta, -FURTHEST, FURTHEST), rho, u=u) @ normal(0.7, u))
    assert found == pytest.approx(max(wanted, np.log(1e-300)), abs=2e-3 * max(1, abs(wanted)))


def test_groups_that_contradict_each_other_do_not_underflow():
    """Sixteen groups of 128, right and wrong by turns: each chance is e^-80 and less."""
    log = Log(np.arange(16), ["a"] * 16, [0, 128] * 8, [128] * 16)
    found = log_evidence(Groups(log), np.zeros((1, 16)), given((0.1, 0.7, 0.0, 0.0, 1.0)), 16)[0, 0]
    u = np.arange(-7.0, 7.0, 0.01)
    each = sum(np.log(chance(k, 128, 0.0, 0.1, u=u)) for k in log.successes)
    wanted = np.log(normal(0.7, u) @ np.exp(each - each.max())) + each.max()
    assert found == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("spread", [1e-6, 1e-3, 0.05, 0.1, 0.2, 0.7, 1.5])
def test_a_spread_of_any_size_has_its_variance(spread):
    """Without groups the draws of u are the prior: mean 0 and the spread's variance."""
    log = Log([0], ["a"], [0], [1])
    uniform = (np.arange(4000)[:, None] + 0.5) / 4000
    many = given(*[(0.5, spread, 0.0, 0.499999, 0.500001)] * 4000)  # attempts say nothing
    u = draw_last(Groups(log), np.zeros((4000, 1)), many, 0, uniform)[:, 0]
    assert u.mean() == pytest.approx(0.0, abs=0.02 * spread + 1e-3)
    assert u.var() == pytest.approx(spread**2, rel=0.03, abs=1e-4)


@pytest.mark.parametrize("run", [0, 1])
def test_draws_of_u_follow_its_posterior_at_the_end_of_a_run(run):
    """All groups of both runs, through the u at the start that they share."""
    rho, spread, drift, count = 0.05, 0.8, 0.15, 4000
    log, zeta = made(8, spread, drift, rho, 8)
    uniform = np.random.default_rng(1).random((count, 5))
    many = given(*[(rho, spread, drift, 0.0, 1.0)] * count)
    found = draw_last(Groups(log), np.broadcast_to(zeta, (count, len(zeta))), many, run, uniform)
    moves, end = walk(drift), int(log.step[log.run == run].max())
    for item in range(5):
        at = [np.flatnonzero((log.item == item) & (log.run == r)) for r in (0, 1)]
        f, seen = normal(spread) * of_run(log, zeta, at[1 - run], moves, rho, 0.0, 1.0), 1
        for row in at[run]:
            f = f @ np.linalg.matrix_power(moves, int(log.step[row]) - seen)
            f, seen = f * chance(log.successes[row], log.attempts[row], zeta[row], rho), int(log.step[row])
        f = f @ np.linalg.matrix_power(moves, end + 1 - seen)
        cumulative = np.cumsum(f / f.sum())
        for edge in GRID[::3] + STEP / 2:
            wanted = np.interp(edge, U + FINE / 2, cumulative)
            assert (found[:, item] < edge).mean() == pytest.approx(wanted, abs=0.035)
        assert found[:, item].mean() == pytest.approx(U @ f / f.sum(), abs=0.05)
        assert found[:, item].var() == pytest.approx(U**2 @ f / f.sum() - (U @ f / f.sum()) ** 2, rel=0.12)


def test_the_density_without_the_binomial_coefficient_is_that_of_scipy():
    """The reference of these tests, once."""
    found = chance(3, 8, 0.4, 0.1, u=np.zeros(1))[0]
    p = 1 / (1 + np.exp(-0.4))
    assert found * 56 == pytest.approx(stats.betabinom(8, p * 9, (1 - p) * 9).pmf(3))
