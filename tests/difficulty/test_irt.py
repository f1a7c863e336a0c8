"""Item response models against published fits, closed forms, enumeration and simulation."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.special import expit, logit

from workbench.difficulty import irt
from workbench.difficulty.irt import conditional, estimates, grid, marginal
from workbench.difficulty.irt.core import _Core
from workbench.errors import InputError

# LSAT6, 1000 persons: Bock & Lieberman 1970, counts of the patterns 00000, 00001, ..., 11111, last item fastest
LSAT6 = [3, 6, 2, 11, 1, 1, 3, 4, 1, 8, 0, 16, 0, 3, 2, 15, 10, 29, 14, 81, 3, 28, 15, 80, 16, 56, 21, 173, 11, 61, 28]
LSAT6 += [298]


def responses(successes, attempts=None):
    s = np.asarray(successes, float)
    n = np.ones_like(s) if attempts is None else np.broadcast_to(np.asarray(attempts, float), s.shape).copy()
    return irt.Responses(s, n, [f"p{k}" for k in range(len(s))], [f"i{k}" for k in range(s.shape[1])])


def simulated(persons, items, seed, attempts=1, a=1.0, c=0.0, b=None, theta=None):
    luck = np.random.default_rng(seed)
    theta = luck.standard_normal(persons) if theta is None else theta
    b = luck.normal(0, 1, items) if b is None else b
    p = c + (1 - c) * expit(a * (theta[:, None] - b))
    n = np.broadcast_to(np.asarray(attempts, float), p.shape)
    return responses(luck.binomial(n.astype(int), p), n), theta, b


@pytest.fixture(scope="module")
def lsat6():
    return responses(np.repeat(list(itertools.product([0, 1], repeat=5)), LSAT6, axis=0))


# ---- published values ---------------------------------------------------------------------------------------


def test_lsat6_2pl_is_the_published_fit(lsat6):  # ltm (Rizopoulos 2006), printed output
    fit = irt.fit(lsat6, "2pl")
    np.testing.assert_allclose(fit.b, [-3.3597, -1.3696, -0.2799, -1.8659, -3.1236], atol=3e-3)
    np.testing.assert_allclose(fit.a, [0.8254, 0.7229, 0.8905, 0.6886, 0.6575], atol=1e-3)
    np.testing.assert_allclose(fit.se_b, [0.867, 0.307, 0.100, 0.434, 0.870], atol=2e-3)
    np.testing.assert_allclose(fit.se_a, [0.258, 0.187, 0.233, 0.185, 0.210], atol=1e-3)
    assert fit.log_likelihood == pytest.approx(-2466.653, abs=1e-3)
    assert fit.aic == pytest.approx(2 * 10 + 2 * 2466.653, abs=2e-3)
    assert fit.bic == pytest.approx(10 * np.log(1000) + 2 * 2466.653, abs=2e-3)
    assert fit.converged


def test_lsat6_abilities_are_the_published_means_and_modes(lsat6):
    fit = irt.fit(lsat6, "2pl")
    np.testing.assert_allclose(fit.theta[[0, -1]], [-1.897, 0.646], atol=1e-3)
    np.testing.assert_allclose(fit.theta_se[[0, -1]], [0.801, 0.859], atol=1e-3)
    np.testing.assert_allclose(irt.map_theta(fit, lsat6)[[0, -1]], [-1.895, 0.606], atol=1e-3)


def test_lsat6_1pl_is_the_published_fit(lsat6):  # ltm, printed output of `rasch(LSAT)`; mirt, page of LSAT6
    fit = irt.fit(lsat6, "1pl")
    np.testing.assert_allclose(fit.a, 0.7551, atol=1e-4)
    np.testing.assert_allclose(fit.b, [-3.6153, -1.3224, -0.3176, -1.7301, -2.7802], atol=1e-4)
    np.testing.assert_allclose(fit.se_b, [0.3266, 0.1422, 0.0977, 0.1691, 0.2510], atol=1e-3)
    np.testing.assert_allclose(fit.se_a, 0.0694, atol=1e-3)
    np.testing.assert_allclose(-fit.a * fit.b, [2.730, 0.999, 0.240, 1.307, 2.100], atol=1e-3)
    assert fit.log_likelihood == pytest.approx(-2466.938, abs=1e-3)
    assert (fit.aic, fit.bic) == pytest.approx((4945.875, 4975.322), abs=2e-3)
    assert fit.parameters == 6


def test_lsat6_conditional_rasch(lsat6):
    fit = irt.fit(lsat6, "rasch")
    np.testing.assert_allclose(fit.b, [-1.2561, 0.4749, 1.2360, 0.1684, -0.6232], atol=1e-4)
    assert fit.log_likelihood == pytest.approx(-1091.5697, abs=1e-4)
    assert fit.b.sum() == pytest.approx(0, abs=1e-9)
    # a normal ability of sd s and a = 1 is the 1PL with a = s: two routes to one model, nearly
    assert fit.theta_sd == pytest.approx(0.7551, abs=0.002)
    assert irt.fit(lsat6, "1pl").b[0] * 0.7551 == pytest.approx(fit.b[0] - fit.theta_mean, abs=0.01)


# ---- derivatives --------------------------------------------------------------------------------------------


def small(model):
    problem = simulated(40, 4, 3, a=np.array([0.7, 1.0, 1.4, 0.9]), c=0.2 if model == "3pl" else 0.0)[0]
    n = np.random.default_rng(1).integers(0, 4, problem.attempts.shape).astype(float)
    s = np.minimum(n, np.random.default_rng(2).binomial(n.astype(int), 0.5))
    problem_ = marginal._Marginal(s, n, model, grid.COARSE)
    x = problem_.start()
    return problem_, x + 0.2 * np.random.default_rng(4).standard_normal(x.size)


def slopes(function, x, step):
    return np.array([(function(x + step * e) - function(x - step * e)) / (2 * step) for e in np.eye(len(x))])


@pytest.mark.parametrize("model", ["1pl", "2pl", "3pl"])
def test_score_and_information_are_derivatives_of_the_objective(model):
    """With missing cells and several attempts, away from the maximum."""
    marginal, x = small(model)
    information, score = marginal.information(x)
    np.testing.assert_allclose(score, slopes(marginal.objective, x, 1e-5), atol=1e-6)
    hessian = slopes(lambda y: marginal.information(y)[1], x, 1e-5)
    np.testing.assert_allclose(information, -hessian, atol=1e-6)


@pytest.mark.parametrize("model", ["1pl", "2pl", "3pl"])
def test_marginal_likelihood_is_the_integral(model):
    from scipy.integrate import quad
    from scipy.stats import norm

    marginal, x = small(model)
    a, d, c = marginal.unpacked(x)

    def joint(theta, person):
        p = c + (1 - c) * expit(a * theta + d)
        s, n = marginal.s[person], marginal.n[person]
        return np.prod(p**s * (1 - p) ** (n - s)) * norm.pdf(theta)

    whole = [np.log(quad(joint, -8, 8, args=(k,), epsabs=1e-13)[0]) for k in range(40)]
    np.testing.assert_allclose(marginal.posterior(x)[0], whole, atol=1e-6)


@pytest.mark.parametrize("model", ["1pl", "2pl"])
def test_many_items_get_the_answer_of_few(model, monkeypatch):
    table = simulated(200, 60, 5, a=np.linspace(0.6, 1.6, 60))[0]
    exact = irt.fit(table, model)
    monkeypatch.setattr(marginal, "MOST_PARAMETERS", 10)
    many = irt.fit(table, model)
    assert many.converged
    np.testing.assert_allclose(many.b, exact.b, atol=1e-5)
    np.testing.assert_allclose(many.a, exact.a, atol=1e-5)
    np.testing.assert_allclose(many.se_b, exact.se_b, rtol=0.08)
    np.testing.assert_allclose(many.se_a, exact.se_a, rtol=0.1)


def test_many_items_conditionally(monkeypatch):
    table = simulated(30, 80, 6)[0]
    exact = irt.fit(table, "rasch")
    monkeypatch.setattr(marginal, "MOST_PARAMETERS", 10)
    many = irt.fit(table, "rasch")
    assert many.converged
    np.testing.assert_allclose(many.b, exact.b, atol=1e-6)
    np.testing.assert_allclose(many.se_b, exact.se_b, rtol=0.02)


# ---- conditional likelihood by enumeration --------------------------------------------------------------------


@pytest.mark.parametrize(("tries", "score"), [((1, 1, 1, 1, 1), 2), ((1, 3, 0, 2, 1), 4), ((2, 2), 1), ((1, 1), 1)])
def test_conditional_likelihood_is_the_sum_over_all_outcomes(tries, score):
    """Every attempt right or wrong, those with the score kept; log gamma, means and covariances."""
    n = np.array(tries, float)
    b = np.array([-1.3, 0.4, 2.2, 0.0, -0.6])[: len(n)]
    columns = np.repeat(np.arange(len(n)), n.astype(int))
    outcomes = np.array([u for u in itertools.product([0, 1], repeat=len(columns)) if sum(u) == score])
    totals = np.array([np.bincount(columns, u, len(n)) for u in outcomes])
    weight = np.exp(-totals @ b)
    log_gamma = np.log(weight.sum())
    mean = weight @ totals / weight.sum()
    covariance = (totals.T * weight) @ totals / weight.sum() - np.outer(mean, mean)
    s = totals[0].astype(float)
    value, gradient, information = conditional._conditional_parts(b, [(np.append(n, score), 1, s)])
    assert value == pytest.approx(-s @ b - log_gamma, abs=1e-11)
    np.testing.assert_allclose(gradient, mean - s, atol=1e-11)
    np.testing.assert_allclose(information - 1 / len(n), covariance, atol=1e-11)


@pytest.mark.parametrize("score", [1, 7, 60, 199])
def test_conditional_likelihood_of_many_items_is_the_recursion(score):
    """gamma_r(1 .. k) = gamma_r(1 .. k - 1) + e_k gamma_(r - 1)(1 .. k - 1), in exact fractions."""
    from fractions import Fraction

    b = np.linspace(-4, 4, 200)
    ease = [Fraction(float(x)) for x in np.exp(-b)]
    gamma = [Fraction(1)] + [Fraction(0)] * score
    for e in ease:
        for r in range(score, 0, -1):
            gamma[r] += e * gamma[r - 1]
    exact = float(np.log(float(gamma[score] / 2**200))) + 200 * np.log(2)
    log_gamma, share, _, _ = conditional._given_score(b, np.ones(200), score)
    assert log_gamma == pytest.approx(exact, abs=1e-9)
    assert share.sum() == pytest.approx(score, abs=1e-9)


# ---- recovery -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "a"), [("rasch", 1.0), ("1pl", 1.3), ("2pl", np.linspace(0.7, 1.7, 12))])
def test_estimates_are_unbiased_and_their_errors_honest(model, a):
    """z = (estimate - truth) / se over 12 items x 12 tables: mean 0, sd 1, 95 % within 1.96 (binomial 4 sd: 0.073)."""
    b = np.linspace(-1.8, 1.8, 12)
    z, of_a = [], []
    for seed in range(12):
        fit = irt.fit(simulated(400, 12, 100 + seed, a=a, b=b)[0], model)
        assert fit.converged
        z.append((fit.b - b) / fit.se_b)
        of_a.append(fit.a - a)
        if model != "rasch":
            of_a[-1] = of_a[-1] / fit.se_a
    z, of_a = np.array(z), np.array(of_a)
    assert abs(np.mean(np.abs(z) < 1.96) - 0.95) < 0.073
    assert 0.8 < z.std() < 1.2
    if model == "2pl":
        assert abs(np.mean(np.abs(of_a) < 1.96) - 0.95) < 0.073
    if model == "rasch":
        assert (of_a == 0).all()


def test_3pl_recovers_curves():
    """c, a and b trade off, so the curves are what is compared: closer than chance at 3000 persons."""
    b, a = np.linspace(-1.5, 1.5, 20), np.linspace(0.8, 2.0, 20)
    table, _, _ = simulated(3000, 20, 8, a=a, b=b, c=0.22)
    fit = irt.fit(table, "3pl")
    grid = np.linspace(-2, 2, 21)
    truth = 0.22 + 0.78 * expit(a * (grid[:, None] - b))
    assert fit.converged
    assert np.abs(fit.probability(grid) - truth).mean() < 0.02
    assert np.median(fit.c) == pytest.approx(0.22, abs=0.05)


@pytest.mark.parametrize("model", ["rasch", "1pl"])
def test_many_attempts_pin_abilities_down(model):
    """Posteriors much narrower than the coarse grid: theta - b is known to 1 / sqrt(n p (1 - p)) per cell."""
    table, theta, b = simulated(8, 50, 9, attempts=200)
    fit = irt.fit(table, model)
    assert fit.converged
    assert fit.theta_se.max() < 0.1 * grid.SPACING * 2
    made = fit.a * (fit.theta[:, None] - fit.b)
    seen = logit((table.successes + 0.5) / 201)
    assert np.abs(made - (theta[:, None] - b)).mean() < 0.07 < np.abs(seen - (theta[:, None] - b)).mean()
    shift = fit.theta[:, None] - fit.theta  # differences of abilities against their standard errors
    z = (fit.a[0] * shift - (theta[:, None] - theta))[np.triu_indices(8, 1)]
    assert np.abs(z).max() < 5 * fit.a[0] * np.hypot(fit.theta_se.max(), fit.theta_se.max()) + 0.05


# ---- identities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", irt.MODELS[:3])
def test_everyone_twice_halves_the_variances(model):
    table = simulated(150, 8, 10)[0]
    one, two = irt.fit(table, model), irt.fit(responses(np.vstack([table.successes] * 2)), model)
    np.testing.assert_allclose(two.b, one.b, atol=1e-5)
    np.testing.assert_allclose(two.se_b**2, one.se_b**2 / 2, rtol=1e-4)
    assert two.log_likelihood == pytest.approx(2 * one.log_likelihood, rel=1e-9)


def test_attempts_are_columns_of_one_b():
    """3 attempts at an item = 3 columns that share its parameters; the likelihoods of the attempts are the same."""
    s, n = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 2.0]]), np.array([[3.0, 2.0]] * 3)
    wide = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 1, 0], [1, 1, 1, 1, 1.0]])
    a, d, zero = np.array([0.8, 1.3]), np.array([0.2, -0.5]), np.zeros(2)
    folded = grid._posterior(s, n, a, d, zero, grid.COARSE)
    at = [0, 0, 0, 1, 1]
    split = grid._posterior(wide, np.ones((3, 5)), a[at], d[at], zero[at], grid.COARSE)
    np.testing.assert_allclose(folded[0], split[0], atol=1e-12)
    np.testing.assert_allclose(folded[1], split[1], atol=1e-12)


@pytest.mark.parametrize("model", irt.MODELS[:3])
def test_order_does_not_matter(model):
    table = simulated(200, 6, 11)[0]
    luck = np.random.default_rng(0)
    rows, columns = luck.permutation(200), luck.permutation(6)
    one, two = irt.fit(table, model), irt.fit(responses(table.successes[rows][:, columns]), model)
    np.testing.assert_allclose(two.b, one.b[columns], atol=1e-6)
    np.testing.assert_allclose(two.theta, one.theta[rows], atol=1e-6)


@pytest.mark.parametrize("model", irt.MODELS[:3])
def test_wrong_for_right_mirrors_difficulty(model):
    """1 - sigma(z) = sigma(-z): exchanging right and wrong turns b and theta around, with a > 0 kept."""
    table = simulated(200, 6, 12)[0]
    one, two = irt.fit(table, model), irt.fit(responses(1 - table.successes), model)
    np.testing.assert_allclose(two.b, -one.b, atol=1e-5)
    np.testing.assert_allclose(two.theta, -one.theta, atol=1e-5)
    np.testing.assert_allclose(two.a, one.a, atol=1e-5)


def test_persons_without_an_item_cost_only_information():
    """Blank cells at random: estimates of complete items within their errors, errors larger for the blank item."""
    table = simulated(600, 8, 13)[0]
    n = table.attempts.copy()
    n[np.random.default_rng(1).random(600) < 0.5, 0] = 0
    for model in irt.MODELS[:3]:
        whole, holes = irt.fit(table, model), irt.fit(responses(table.successes * n, n), model)
        assert np.abs((holes.b - whole.b)[1:] / whole.se_b[1:]).max() < 0.5
        assert 1.3 < holes.se_b[0] / whole.se_b[0] < 1.6  # sqrt 2, as half the answers are left
        np.testing.assert_allclose(holes.se_b[1:] / whole.se_b[1:], 1, atol=0.06)


def test_persons_who_answered_nothing_of_use_change_nothing():
    """Conditional likelihood: scores of 0 and of all items say nothing about b."""
    table = simulated(100, 5, 14)[0]
    more = np.vstack([table.successes, np.zeros((7, 5)), np.ones((9, 5))])
    one, two = irt.fit(table, "rasch"), irt.fit(responses(more), "rasch")
    np.testing.assert_allclose(two.b, one.b, atol=1e-9)
    assert two.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-9)
    assert two.theta_sd > one.theta_sd


def test_shift_and_scale_of_abilities():
    """Rasch b do not know where abilities are; the 1PL takes up their sd as a and their mean as a shift of b."""
    luck = np.random.default_rng(0)
    b = np.linspace(-1, 1, 10)
    theta = 0.7 + 1.6 * luck.standard_normal(3000)
    table = simulated(3000, 10, 15, b=b, theta=theta)[0]
    rasch, one = irt.fit(table, "rasch"), irt.fit(table, "1pl")
    assert np.abs((rasch.b - b) / rasch.se_b).max() < 4
    assert (rasch.theta_mean, rasch.theta_sd) == pytest.approx((theta.mean(), theta.std()), abs=0.08)
    assert one.a[0] == pytest.approx(theta.std(), abs=0.08)
    np.testing.assert_allclose(one.b, (b - theta.mean()) / theta.std(), atol=0.12)


# ---- one person ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["rasch", "1pl"])
def test_one_person_with_counts(model):
    fit = irt.fit(responses([[0, 32, 64, 128]], 128), model)
    np.testing.assert_allclose(fit.b, np.log([128.5 / 0.5, 96.5 / 32.5, 1, 0.5 / 128.5]))
    np.testing.assert_allclose(fit.se_b[2], np.sqrt(2 / 64.5))
    assert (fit.theta[0], fit.theta_se[0], fit.parameters) == (0, 0, 4)
    assert fit.bic == pytest.approx(4 * np.log(512) - 2 * fit.log_likelihood)
    p = np.array([0.5 / 129, 32.5 / 129, 0.5, 128.5 / 129])
    s = np.array([0, 32, 64, 128])
    assert fit.log_likelihood == pytest.approx((s * np.log(p) + (128 - s) * np.log(1 - p)).sum())


def test_one_person_is_covered():
    """95 % intervals of b cover, at p = .2 to .8 with 128 attempts."""
    b = np.linspace(-1.4, 1.4, 5000)
    table = simulated(1, 5000, 16, attempts=128, b=b, theta=np.zeros(1))[0]
    fit = irt.fit(table, "rasch")
    assert np.mean(np.abs(fit.b - b) < 1.96 * fit.se_b) == pytest.approx(0.95, abs=0.0125)  # 4 sd


# ---- what cannot be estimated -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", irt.MODELS)
def test_items_nobody_or_everybody_solves_are_finite(model):
    table = simulated(200, 8, 17)[0]
    s = table.successes.copy()
    s[:, 0], s[:, 1] = 0, 1
    fit = irt.fit(responses(s), model)
    alone = irt.fit(responses(s[:, 2:]), model)
    assert fit.converged
    assert fit.extreme.tolist() == [True, True] + [False] * 6
    np.testing.assert_allclose(fit.b[2:], alone.b, atol=1e-9)
    for values in (fit.a, fit.b, fit.c, fit.se_a, fit.se_b, fit.se_c, fit.theta, fit.theta_se):
        assert np.isfinite(values).all()
    assert fit.b[1] < fit.b[2:].min() < fit.b[2:].max() < fit.b[0]
    if model == "1pl":  # b is where the ability distribution expects half a success
        theta = np.random.default_rng(0).standard_normal(400_000)
        assert expit(fit.a[0] * (theta - fit.b[0])).mean() == pytest.approx(0.5 / 201, rel=0.02)


def test_a_guttman_scale_does_not_converge():
    """Perfectly ordered answers: the slope that fits best is infinite."""
    fit = irt.fit(responses(np.tril(np.ones((7, 6)), -1)), "2pl")
    assert not fit.converged


@pytest.mark.parametrize(
    "successes",
    [
        [[1, 1, 1], [0, 0, 0]],  # scores of none and all
        [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]],  # the first two beat the others always
    ],
)
def test_items_that_no_score_compares_do_not_converge(successes):
    assert not irt.fit(responses(successes), "rasch").converged  # Fischer 1981


# ---- slopes of nearly 0 -------------------------------------------------------------------------------------


def test_no_difficulty_is_beyond_use_on_small_rasch_tables():
    """Of 25 tables of a size, where a common slope is not told from 0, b = -d / a is not reported."""
    flat = 0
    for persons, items in ((20, 5), (30, 4), (6, 6)):
        for seed in range(25):
            fit = irt.fit(simulated(persons, items, seed)[0], "1pl")
            flat += fit.flat.any()
            assert fit.converged == (not fit.flat.any())
            if fit.converged:
                assert np.abs(fit.b).max() < 20
                assert fit.se_b.max() < 20
            else:
                assert np.isnan(fit.b[fit.flat]).all()
    assert 3 <= flat <= 25


@pytest.mark.parametrize("model", ["1pl", "2pl"])
def test_a_small_slope_is_valid_with_enough_data(model):
    b = np.linspace(-1.5, 1.5, 12)
    a = np.full(12, 0.25) if model == "1pl" else np.array([0.2, -0.3] + [1.0] * 10)
    fit = irt.fit(simulated(3000, 12, 21, a=a, b=b)[0], model)
    assert fit.converged
    assert not fit.flat.any()
    assert np.abs((fit.a - a) / fit.se_a).max() < 4
    assert np.abs((fit.b - b) / fit.se_b).max() < 4


@pytest.mark.parametrize("model", ["2pl", "3pl"])
def test_an_item_of_chance_is_flat_and_others_stand(model):
    s = simulated(2000, 8, 22, a=1.5)[0].successes.copy()
    s[:, 2] = np.arange(2000) % 2
    fit = irt.fit(responses(s), model)
    assert fit.converged
    assert fit.flat.tolist() == [False, False, True] + [False] * 5
    assert fit.se_b[2] > 1 > np.delete(fit.se_b, 2).max()
    assert np.isfinite([fit.b, fit.se_b]).all()
    assert np.isfinite(fit.theta).all()


def core(a, d, variance):
    """One item, with standard errors from the variances of a and of a b + d, uncorrelated: how steep, and where."""
    b = -d / a
    of_d = variance[1] + b**2 * variance[0]
    covariance = np.array([[[variance[0], -b * variance[0], 0], [-b * variance[0], of_d, 0], [0, 0, 0.0]]])
    return _Core(np.array([a]), np.array([d]), np.zeros(1), covariance, 0.0, 2, True, 1)


@pytest.mark.parametrize(
    ("a", "variance", "flat"),
    [
        (0.2, (0.1**2, 0.1**2), False),  # small, known
        (-0.2, (0.1**2, 0.1**2), False),
        (0.2, (0.3**2, 0.3**2), True),  # small, not told from 0
        (-0.2, (0.3**2, 0.3**2), True),
        (5.0, (8.0**2, 0.5**2), False),  # steep: how steep is not known, where it is to 0.1
        (0.0, (0.3**2, 0.3**2), True),
    ],
)
def test_flat_is_a_slope_not_told_from_0_with_a_difficulty_not_known(a, variance, flat):
    made = core(a or 1.0, -0.5, variance)
    made.a[:] = a
    found, b, se_b = estimates._difficulty(made)
    assert found[0] == flat
    if a:
        assert b[0] == pytest.approx(0.5 / a)
        assert se_b[0] == pytest.approx(np.sqrt(variance[1]) / abs(a))
    else:
        assert not np.isfinite(b[0])


@pytest.mark.parametrize(("slope", "converged"), [(1e-3, True), (1e-9, False)])
def test_a_slope_of_nothing_leaves_no_difficulty_and_counts_as_not_converged(slope, converged):
    steep, level = core(1.0, -0.5, (0.1**2, 0.1**2)), core(slope, -0.5, (0.2**2, 0.2**2))
    names = ("a", "d", "c", "covariance")
    both = {name: np.concatenate([getattr(steep, name), getattr(level, name)]) for name in names}
    fit = estimates._completed(dataclasses.replace(steep, **both), "2pl", responses([[1, 0], [0, 1], [1, 1], [0, 0]]))
    assert fit.flat.tolist() == [False, True]
    assert fit.converged == converged
    assert np.isfinite(fit.b).tolist() == np.isfinite(fit.se_b).tolist() == [True, converged]
    assert np.isfinite(fit.theta).all()


def test_the_able_are_those_who_solve():
    """-a and -theta fit as well: the sign is such that slopes sum to something positive."""
    s, n = np.array([[5, 4], [0, 9], [10, 5]]), np.array([[6, 11], [2, 12], [10, 12]])
    fit = irt.fit(responses(s, n), "2pl")
    assert fit.converged
    assert fit.a[0] > 0 > fit.a[1]
    assert fit.theta[2] > fit.theta[0] > fit.theta[1]
    np.testing.assert_allclose(irt.map_theta(fit, responses(s, n)), fit.theta, atol=0.4)


def test_nothing_is_an_estimate_without_a_maximum():
    fit = irt.fit(responses(np.tril(np.ones((7, 6)), -1)), "2pl")
    for values in (fit.a, fit.b, fit.c, fit.se_a, fit.se_b, fit.se_c, fit.theta, fit.theta_se):
        assert np.isnan(values).all()


@pytest.mark.parametrize("model", ["1pl", "2pl"])
def test_an_item_all_solve_beside_two_that_are_unrelated(model):
    fit = irt.fit(responses([[1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]]), model)
    assert not fit.converged


@pytest.mark.parametrize("a", [0.05, 0.2, 1.0, 4.0])
@pytest.mark.parametrize(("right", "tries", "c"), [(0, 20000, 0.0), (20000, 20000, 0.0), (0, 3, 0.2), (3, 3, 0.2)])
def test_difficulty_of_an_extreme_item_is_met(a, right, tries, c):
    """The ability distribution expects (s + 1/2) / (n + 1) right there, however flat the others are."""
    from scipy.integrate import quad
    from scipy.stats import norm

    (b,), (se,) = estimates._extreme(np.array([right]), np.array([tries]), a, c, grid.COARSE.nodes)
    rate = max((right + 0.5) / (tries + 1), c + (1 - c) * 0.5 / (tries + 1))

    def expected(b):
        return c + (1 - c) * quad(lambda t: expit(a * (t - b)) * norm.pdf(t), -9, 9, epsabs=1e-14)[0]

    assert expected(b) == pytest.approx(rate, rel=1e-4)
    slope = (expected(b - 0.01 / a) - expected(b + 0.01 / a)) / (0.02 / a)
    assert se == pytest.approx(np.sqrt(rate * (1 - rate) / tries) / slope, rel=1e-3)


def test_items_are_comparable_unless_two_sets_of_them_are_ordered():
    """All splits of small tables: someone must have solved one of the first set and failed one of the second."""
    luck, found = np.random.default_rng(0), []
    for _ in range(200):
        persons, items = luck.integers(2, 7), luck.integers(2, 5)
        n = luck.integers(0, 3, (persons, items))
        s = luck.binomial(n, 0.5)
        splits = [np.array(kept) for kept in itertools.product([False, True], repeat=int(items))][1:-1]
        crossed = all(((s > 0)[:, k].any(axis=1) & (s < n)[:, ~k].any(axis=1)).any() for k in splits)
        assert (len(set(conditional._sets(s, n))) == 1) == crossed
        found.append(crossed)
    assert 20 < sum(found) < 180


def test_rasch_without_a_maximum_is_not_taken_for_converged():
    """All with a middle score solved the second item: its b runs off, though slowly enough to look settled."""
    rows = [[0, 1, 0, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]]
    assert not irt.fit(responses(rows), "rasch").converged


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: responses([[2, 0], [0, 1]]), "successes: must be whole numbers in [0, attempts], got 2 of 1"),
        (lambda: responses([[np.nan, 0], [0, 1]]), "got nan of 1"),
        (lambda: responses([[0, 0], [0, 1]], np.inf), "got 0 of inf"),
        (lambda: responses([[0, 0], [0, 0]], [[1, 0], [1, 0]]), "at least one response each, got none for 'i1'"),
        (lambda: responses([[0, 0], [0, 0]], [[1, 1], [0, 0]]), "at least one response each, got none for 'p1'"),
        (lambda: irt.fit(responses([[0, 1], [0, 1]]), "1pl"), "items: must be at least 2 that some and not all"),
        (lambda: irt.fit(responses([[0, 1]]), "2pl"), "persons: must be at least 2 for 2pl"),
        (lambda: irt.fit(responses([[0, 1], [1, 0]]), "4pl"), "model: must be one of rasch, 1pl, 2pl, 3pl"),
        (lambda: responses(np.zeros((0, 2))), "persons, items: must be at least 1 each, got 0 and 2"),
        (lambda: irt.Responses(np.zeros((2, 2)), np.ones((2, 3)), ["a", "b"], ["c", "d"]), "persons x items"),
    ],
)
def test_bad_input_is_one_line(change, message):
    with pytest.raises(InputError) as error:
        change()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# ---- fit statistics -----------------------------------------------------------------------------------------


def test_infit_and_outfit_are_1_under_the_model_and_not_beside_it():
    table, _, _ = simulated(2000, 40, 18)
    good = irt.item_fit(irt.fit(table, "rasch"), table)
    assert np.abs(good["infit"] - 1).max() < 0.1
    assert np.abs(good["outfit"] - 1).mean() < 0.1
    s = table.successes.copy()
    s[:, 0] = np.random.default_rng(0).random(2000) < 0.5  # an item that has nothing to do with ability
    noisy = responses(s)
    bad = irt.item_fit(irt.fit(noisy, "rasch"), noisy)
    assert bad["infit"][0] > 1.1 > bad["infit"][1:].max()


def test_overdispersion_is_what_was_put_in():
    luck = np.random.default_rng(0)
    theta, b, n, rho = luck.standard_normal(60), np.linspace(-1.5, 1.5, 60), 20, 0.1
    p = expit(theta[:, None] - b)
    size = 1 / rho - 1
    spread = responses(luck.binomial(n, luck.beta(p * size, (1 - p) * size)), n)
    plain = responses(luck.binomial(n, p), n)
    ones = responses((luck.random(p.shape) < p).astype(float))
    assert irt.overdispersion(irt.fit(spread, "1pl"), spread) == pytest.approx(rho, abs=0.015)
    assert irt.overdispersion(irt.fit(plain, "1pl"), plain) < 0.003
    assert irt.overdispersion(irt.fit(ones, "1pl"), ones) == 0
