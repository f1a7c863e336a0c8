"""Posteriors by weight, against targets whose evidence and moments are known."""

import numpy as np
import pytest
from scipy.special import logsumexp

from workbench.calibration.sampler import Sampled, Student, Weighted, explore, found_power


def standard(points):
    """Log density of the prior of all targets: standard normal."""
    return -0.5 * np.sum(points**2, axis=1) - points.shape[1] / 2 * np.log(2 * np.pi)


def gaussian(mean, covariance):
    """A normalised Gaussian likelihood in the parameters, (D, P) -> (D,)."""
    precision, size = np.linalg.inv(covariance), len(mean)
    constant = -0.5 * (size * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1])
    return lambda x: constant - 0.5 * np.einsum("dp,pq,dq->d", x - mean, precision, x - mean)


def known(mean, covariance):
    """Evidence, posterior mean and covariance of a standard normal prior and that likelihood."""
    size = len(mean)
    together = covariance + np.eye(size)
    square = mean @ np.linalg.solve(together, mean)
    evidence = -0.5 * (size * np.log(2 * np.pi) + np.linalg.slogdet(together)[1] + square)
    posterior = np.linalg.inv(np.linalg.inv(covariance) + np.eye(size))
    return evidence, posterior @ np.linalg.solve(covariance, mean), posterior


def found(likelihoods, size, enough=800.0, seed=0):
    def parts(x):
        return np.stack([likelihood(x) for likelihood in likelihoods], axis=1)

    return explore(standard, lambda z: z, parts, size, 256, enough, seed)


def moments(sample):
    weights = np.exp(sample.log_weights)
    mean = weights @ sample.points
    return mean, (weights[:, None] * (sample.points - mean)).T @ (sample.points - mean)


def target(size, correlation, width=0.3, away=1.0):
    covariance = width**2 * ((1 - correlation) * np.eye(size) + correlation)
    return np.full(size, away), covariance


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("size", "correlation", "width"), [(2, 0.0, 0.3), (3, 0.9, 0.3), (6, 0.0, 0.2), (6, 0.8, 0.3),
                                                            (4, 0.5, 0.05)])  # fmt: skip
def test_a_gaussian_posterior_has_its_moments_and_evidence(size, correlation, width, seed):
    mean, covariance = target(size, correlation, width)
    sample = found([gaussian(mean, covariance)], size, seed=seed).posterior()
    evidence, centre, posterior = known(mean, covariance)
    assert sample.effective >= 800
    assert sample.log_evidence == pytest.approx(evidence, abs=0.12)
    got, spread = moments(sample)
    sd = np.sqrt(np.diag(posterior))
    np.testing.assert_allclose((got - centre) / sd, 0.0, atol=0.17)  # 4.8 standard errors
    np.testing.assert_allclose(spread / np.outer(sd, sd), posterior / np.outer(sd, sd), atol=0.2)


def test_a_banana_has_its_moments_and_evidence():
    """x normal(0, 1) by the prior, y | x near x^2 - 1: by a sum over a grid."""
    def likelihood(p):
        return -0.5 * ((p[:, 1] - p[:, 0] ** 2 + 1) / 0.2) ** 2

    grid = np.linspace(-5, 5, 1001)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    joint = standard(points) + likelihood(points)
    evidence = logsumexp(joint) + 2 * np.log(grid[1] - grid[0])
    weights = np.exp(joint - logsumexp(joint))
    mean = weights @ points
    sample = found([likelihood], 2).posterior()
    assert sample.log_evidence == pytest.approx(evidence, abs=0.15)
    np.testing.assert_allclose(moments(sample)[0], mean, atol=0.15)
    np.testing.assert_allclose(np.diag(moments(sample)[1]), weights @ points**2 - mean**2, rtol=0.25)


def test_each_part_of_the_data_has_its_posterior():
    first, both = target(3, 0.3, 0.6), target(3, 0.3, 0.15, away=-0.5)
    sampled = found([gaussian(*first), gaussian(*both)], 3, enough=400.0)
    for part, given in enumerate((first, both)):
        sample = sampled.posterior(part)
        evidence, centre, posterior = known(*given)
        assert sample.effective >= 400
        assert sample.log_evidence == pytest.approx(evidence, abs=0.2)
        np.testing.assert_allclose((moments(sample)[0] - centre) / np.sqrt(np.diag(posterior)), 0.0, atol=0.25)


def test_a_likelihood_that_says_nothing_returns_the_prior():
    said = []
    sampled = explore(standard, lambda z: z, lambda x: np.zeros((len(x), 2)), 4, 512, 400.0, 0,
                      lambda *round_: said.append(round_))  # fmt: skip
    assert said == [(1, 1.0, pytest.approx(512))]
    sample = sampled.posterior()
    assert sample.log_evidence == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(sample.log_weights, -np.log(512))
    np.testing.assert_allclose(moments(sample)[0], 0.0, atol=0.2)
    np.testing.assert_allclose(np.diag(moments(sample)[1]), 1.0, atol=0.3)


def test_weights_sum_to_one_and_the_same_seed_gives_the_same_points():
    likelihood = gaussian(*target(3, 0.5))
    one, again, other = (found([likelihood], 3, 100.0, seed) for seed in (0, 0, 1))
    assert logsumexp(one.posterior().log_weights) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(one.points, again.points)
    assert not np.array_equal(one.points[:256], other.points[:256])


def test_rows_are_drawn_systematically():
    """Each row the whole part of its expected times or one more, whatever the start."""
    weights = np.array([0.07, 0.0, 0.43, 0.3, 0.2])
    with np.errstate(divide="ignore"):
        sample = Weighted(np.zeros((5, 1)), np.log(weights), 0.0)
    for uniform in (0.0, 0.3, 0.999999):
        times = np.bincount(sample.rows(10, uniform), minlength=5)
        assert times.sum() == 10
        assert (times >= np.floor(10 * weights)).all()
        assert (times <= np.ceil(10 * weights)).all()
    mean = np.mean([np.bincount(sample.rows(10, u), minlength=5) for u in (np.arange(1000) + 0.5) / 1000], axis=0)
    np.testing.assert_allclose(mean, 10 * weights, atol=0.02)


def test_the_effective_number_is_that_of_kish():
    sample = Weighted(np.zeros((3, 1)), np.log([0.5, 0.25, 0.25]), 0.0)
    assert sample.effective == pytest.approx(1 / (0.25 + 0.0625 + 0.0625))


def test_a_proposal_integrates_to_one_and_draws_from_its_density():
    student = Student(np.array([1.0, -2.0]), np.array([[1.0, 0.0], [0.5, 0.3]]))
    grid = np.linspace(-60, 60, 1201)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(student.log_density(points)) * (grid[1] - grid[0]) ** 2
    assert density.sum() == pytest.approx(1.0, abs=0.01)
    drawn = student.draw(40_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), student.location, atol=0.03)
    wanted = student.axes @ student.axes.T * 6 / 4  # the variance of a Student with 6 degrees
    np.testing.assert_allclose(np.cov(drawn.T), wanted, rtol=0.08)


@pytest.mark.parametrize("width", [1.0, 0.1, 1e-3])
def test_the_power_leaves_the_effective_number_that_chooses_the_next_proposal(width):
    x = np.random.default_rng(0).standard_normal((256, 3))
    likelihood = gaussian(np.zeros(3), width**2 * np.eye(3))(x)
    sampled = Sampled(x, standard(x), standard(x), likelihood[:, None])
    power = found_power(sampled)
    if sampled.posterior().effective >= 40:
        assert power == 1
    else:
        assert sampled.posterior(power=power).effective == pytest.approx(40.0, rel=1e-3)


@pytest.mark.parametrize("apart", [0.0, 1.0, 4.0])
def test_draws_near_the_posterior_save_rounds_and_change_nothing(apart):
    """Draws of another posterior, off by so many of its deviations in each parameter. At 4 nothing is left to save:
    over seeds it takes 8 or 9 rounds either way."""
    mean, covariance = target(4, 0.5, 0.1)
    evidence, centre, posterior = known(mean, covariance)
    sd = np.sqrt(np.diag(posterior))
    normal = np.random.default_rng(0).standard_normal((300, 4))
    near = centre + apart * sd + normal @ np.linalg.cholesky(posterior).T  # the same on every processor
    likelihood, rounds = gaussian(mean, covariance), {}
    for start in (None, near):
        told = []
        sampled = explore(standard, lambda z: z, lambda x: likelihood(x)[:, None], 4, 256, 800.0, 0,
                          lambda number, power, effective, told=told: told.append(number), start)  # fmt: skip
        sample, rounds[start is None] = sampled.posterior(), len(told)
    assert rounds[False] < rounds[True] if apart < 4 else rounds[False] <= rounds[True]
    assert sample.log_evidence == pytest.approx(evidence, abs=0.12)
    got, spread = moments(sample)
    np.testing.assert_allclose((got - centre) / sd, 0.0, atol=0.17)
    np.testing.assert_allclose(spread / np.outer(sd, sd), posterior / np.outer(sd, sd), atol=0.2)
