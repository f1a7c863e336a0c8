"""Weights between laws, against an optimiser on the simplex."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from workbench.calibration.stacking import behind, stacked


def score(weights, log_density):
    return logsumexp(log_density, axis=1, b=weights).sum()


def optimum(log_density):
    count = log_density.shape[1]
    return max(-minimize(lambda w: -score(np.abs(w) / np.abs(w).sum(), log_density), start, method="SLSQP",
                         bounds=[(0, 1)] * count, constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                         options={"ftol": 1e-12}).fun
               for start in (np.full(count, 1 / count), *(0.9 * np.eye(count) + 0.1 / count)))  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("points", "laws"), [(5, 2), (40, 3), (200, 8)])
def test_weights_maximise_the_score_of_the_mixture(points, laws, seed):
    rng = np.random.default_rng(seed)
    log_density = rng.normal(-5, 1, (points, 1)) + rng.normal(0, 0.5, (points, laws)) - rng.random(laws)
    weights = stacked(log_density)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    assert score(weights, log_density) >= optimum(log_density) - 1e-3


def test_a_law_that_is_better_everywhere_has_all_the_weight():
    assert stacked(np.array([[-1.0, -3.0], [-2.0, -4.0], [-1.5, -2.5]]))[0] == pytest.approx(1.0, abs=1e-3)


def test_two_laws_that_are_right_by_turns_share_the_weight():
    np.testing.assert_allclose(stacked(np.array([[-1.0, -9.0], [-9.0, -1.0]])), 0.5, atol=1e-6)


def test_densities_of_any_size_have_finite_weights():
    weights = stacked(np.array([[-5000.0, -4000.0], [-90_000.0, -90_001.0]]))
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1.0)


def test_behind_is_the_sum_of_differences_with_its_standard_error():
    log_density = np.array([[-1.0, -2.0], [-3.0, -3.5], [-2.0, -1.0], [-1.0, -3.0]])
    less, error = behind(log_density)
    np.testing.assert_allclose(less, [0.0, 2.5])
    differences = np.array([1.0, 0.5, -1.0, 2.0])
    np.testing.assert_allclose(error, [0.0, 2 * differences.std(ddof=1)])


def test_a_single_point_has_no_standard_error():
    less, error = behind(np.array([[-1.0, -2.0]]))
    np.testing.assert_allclose(less, [0.0, 1.0])
    assert np.isnan(error).all()
