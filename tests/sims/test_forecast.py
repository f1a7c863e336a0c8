"""sims/reproduce.py real-run: learners fitted to a log, forecasts, their bands and scores."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import call

from sims import reproduce
from sims.forecasting import forecast
from sims.forecasting.discrepancy import Discrepancy, Errors, origins
from sims.forecasting.fitting import (
    CONTROLS,
    FREE,
    GRID,
    LEARNERS,
    PRIORS,
    STEP,
    Fit,
    Model,
    curvature,
    fit,
    log_likelihood,
    slope,
)
from sims.forecasting.futures import Task, growth, simulate
from sims.forecasting.laws import bank_of
from sims.forecasting.visits import BINS, VisitLog, read_log
from workbench.difficulty.counts import count_chances
from workbench.errors import InputError
from workbench.learners import SimLearner, TinyPolicy
from workbench.learners.laws.grid import GridState
from workbench.learners.laws.policy import BETA1, RIGHT, base_weights, find_problems
from workbench.pool import Pool
from workbench.registry import LAWS, make_law

N = 4


def log_of(counts, attempts=N):
    counts = np.array(counts)
    return VisitLog(np.arange(len(counts)), counts, attempts, 0)


TINY = log_of([[0, 1, 2, 2], [3, 4, 4, 2], [1, 0, 3, 4], [2, 2, 1, 3]])
B = np.array([1.5, -1.0, 0.2, -0.4])
VALUES = {"rho": 0.04, "scatter": 0.12, "kappa": 0.3, "forgetting": 0.05, "gamma": 0.7, "length": 0.8, "floor": 0.1,
          "ceiling": 0.9, "transfer": 0.4, "theta0": -0.6}  # fmt: skip
OFTEN = {"grid": 30.0, "tracing": 4.0, "policy": 0.003}  # kappa in points, in chances to learn, and Adam's rate


def parameters(model):
    """Named parameters of a model with the values above where they are free."""
    own = VALUES | {"kappa": OFTEN.get(model.name, VALUES["kappa"])}
    return model.parameters(model.centre) | {name: own[name] for name in model.free}


def sigma(z):
    return 1 / (1 + math.exp(-z))


def logit(p):
    return math.log(p / (1 - p))


# ---- likelihood ------------------------------------------------------------------------------------------------


def plain_signals(name, counts, p):
    """S of each item at each visit."""
    if name in ("grid", "tracing"):
        return np.ones(counts.T.shape)
    grpo = [math.sqrt(k * (N - k)) / N / 0.5 for k in range(N + 1)]
    rloo = [k * (N - k) / (N * (N - 1)) / 0.25 for k in range(N + 1)]
    return np.array([[(grpo if name == "grpo" else rloo)[k] ** p["gamma"] for k in visit] for visit in counts.T])


def plain_gain(name, x, signal, p):
    """What one visit adds to x of one-skill, own-skill and kernel laws, item by item."""
    items = len(signal)
    if name == "tabular":
        return signal
    if name == "kernel":
        return [sum(math.exp(-abs(B[i] - B[j]) / p["length"]) * signal[i] for i in range(items)) / items
                for j in range(items)]  # fmt: skip
    return [sum(signal) / items] * items


def plain_skills(signals, p, topic):
    theta, out = [p["theta0"]] * 4, []
    for signal in signals:
        out.append([theta[k] - p["theta0"] for k in topic])
        g = [sum(s for s, k in zip(signal, topic, strict=True) if k == skill) / len(topic) for skill in range(4)]
        gate = [1.0] + [sigma(before / 0.5) for before in theta[:3]]
        mixed = [g[k] + p["transfer"] * (sum(g) - g[k]) for k in range(4)]
        theta = [t + p["kappa"] * w * m - p["forgetting"] * (t - p["theta0"])
                 for t, w, m in zip(theta, gate, mixed, strict=True)]  # fmt: skip
    return out


def plain_chain(signals, p, topic, length):
    eta, out = [p["theta0"]] * 4, []
    kinds = [[(t + j) % 4 for j in range(n)] for t, n in zip(topic, length, strict=True)]

    def success(own):
        return math.prod(sigma(eta[k]) for k in own)

    first = [logit(success(own)) for own in kinds]
    for signal in signals:
        chances = [success(own) for own in kinds]
        out.append([logit(chance) - start for chance, start in zip(chances, first, strict=True)])
        gain = [0.0] * 4
        for s, chance, own in zip(signal, chances, kinds, strict=True):
            for k in own:
                gain[k] += s * (1 - sigma(eta[k])) / (1 - chance) / len(topic)
        eta = [e + p["kappa"] * g - p["forgetting"] * (e - p["theta0"]) for e, g in zip(eta, gain, strict=True)]
    return out


def plain_grid(signals, p, topic, level):
    cells = {(i, j): 95.0 - 10 * i for i in range(10) for j in range(10)}
    first, out = dict(cells), []
    for _ in signals:
        own = [(i, j) for i, j in zip(level, topic, strict=True)]
        out.append([logit(min(cells[c] / 100, 0.999)) - logit(first[c] / 100) for c in own])
        mastered = {c for c, points in cells.items() if points >= 75}
        after = {}
        for (i, j), points in cells.items():
            opened = (i, j) == (0, 0) or bool({(i - 1, j), (i, j - 1), (i - 1, j - 1)} & mastered)
            gained = min(100.0, points + p["kappa"] * own.count((i, j)) * opened)
            after[i, j] = gained - p["forgetting"] * (points - first[i, j])
        cells = after
    return out


def plain_tracing(signals, p, level):
    known, first, out = [0.95 - 0.1 * k for k in range(10)], [0.95 - 0.1 * k for k in range(10)], []
    for _ in signals:
        out.append([logit(known[k]) - logit(first[k]) for k in level])
        practice = [p["kappa"] * level.count(k) / len(level) for k in range(10)]
        known = [1 - (1 - now) * 0.9**n - p["forgetting"] * (now - start)
                 for now, n, start in zip(known, practice, first, strict=True)]  # fmt: skip
    return out


def problems_of(b):
    """The contexts of each item's addition, from the last digit on."""
    steps, length, *_ = find_problems(TinyPolicy(), np.zeros(1), bank_of(b))
    return [torch.tensor(asked[:n].astype(np.int64)) for asked, n in zip(steps[0], length[0], strict=True)]


def plain_logits(w, problems):
    """logit P of each problem, P the chance that a network with weights w (1034,) gets all its tokens right."""
    a, b, carry, out, bias = torch.split(w, [320, 320, 64, 320, 10])
    a, b, carry, out = a.reshape(10, 32), b.reshape(10, 32), carry.reshape(2, 32), out.reshape(32, 10)
    context = torch.arange(200)
    odds = torch.exp(torch.tanh(a[context // 20] + b[context // 2 % 10] + carry[context % 2]) @ out + bias)
    right = odds[context, torch.tensor(RIGHT)] / odds.sum(dim=1)
    success = torch.stack([right[asked].prod() for asked in problems])
    return torch.log(success / (1 - success))


def plain_policy(signals, p, level, b=B, split=lambda items: [range(items)]):
    """split: of the items of a visit into batches, a step of Adam each; one by default, right up to 128 items."""
    problems = problems_of(b)
    base = torch.tensor(base_weights(32), dtype=torch.float64)
    w, mean, square, steps = base, torch.zeros_like(base), torch.zeros_like(base), 0
    first, out = plain_logits(base, problems), []
    for signal in signals:
        moved = (plain_logits(w, problems) - first).tolist()
        own = [[m for m, other in zip(moved, level, strict=True) if other == k] for k in level]
        out.append([sum(shared) / len(shared) for shared in own])
        batches = split(len(b))
        for batch in batches:
            at = w.clone().requires_grad_()
            z = plain_logits(at, [problems[i] for i in batch])
            v = torch.tensor([0.25 * signal[i] for i in batch])
            loss = -(v * z).sum() / sum(len(problems[i]) for i in batch)
            (slope,) = torch.autograd.grad(loss, at)
            steps += 1
            mean = 0.9 * mean + 0.1 * slope
            square = 0.99 * square + 0.01 * slope**2
            w = w - p["kappa"] * (mean / (1 - 0.9**steps)) / ((square / (1 - 0.99**steps)).sqrt() + 1e-8)
            w = w - (1 - (1 - p["forgetting"]) ** (1 / len(batches))) * (w - base)
    return out


def plain_exposure(name, counts, p):
    """x before each visit, item by item: sums in plain Python."""
    signals, topic = plain_signals(name, counts, p), [int(t) for t in np.arange(4)[TOPIC]]
    if name == "skills":
        return plain_skills(signals, p, topic)
    level = {steps: [int(steps * sigma(b)) for b in B] for steps in (8, 10)}
    if name in ("chain", "grid", "tracing", "policy"):
        if name == "chain":
            out = plain_chain(signals, p, topic, [n + 1 for n in level[8]])
        elif name == "grid":
            out = plain_grid(signals, p, [int(t) for t in TOPIC], level[10])
        elif name == "policy":
            out = plain_policy(signals, p, level[10])
        else:
            out = plain_tracing(signals, p, level[10])
        middle = [sum(visit[i] for visit in out) / len(out) for i in range(len(B))]  # levels tell nothing by themselves
        return [[x - m for x, m in zip(visit, middle, strict=True)] for visit in out]
    x, out = [0.0] * len(B), []
    for signal in signals:
        out.append(list(x))
        gain = plain_gain(name, x, signal, p)
        x = [xj + p["kappa"] * g - p["forgetting"] * xj for xj, g in zip(x, gain, strict=True)]
    return out


# topics of four items, drawn in equal shares; the same for any number of topics above three
TOPIC = np.argsort(np.argsort(Model("skills", B).mechanism.column))


def plain_beta_binomial(k, n, p, rho):
    a, b = p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho

    def log_beta(x, y):
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return math.comb(n, k) * math.exp(log_beta(a + k, b + n - k) - log_beta(a, b))


def plain_log_likelihood(name, counts, p, prior):
    x, total = plain_exposure(name, counts, p), 0.0
    move = p["scatter"] ** 2 / STEP**2
    for i in range(len(counts)):
        weight = list(prior)
        for t in range(counts.shape[1]):
            if t:
                moved = [0.0] * len(GRID)
                for g, w in enumerate(weight):
                    moved[g] += (1 - move) * w
                    moved[max(g - 1, 0)] += move / 2 * w
                    moved[min(g + 1, len(GRID) - 1)] += move / 2 * w
                weight = moved
            for g, u in enumerate(GRID):
                sigma = 1 / (1 + math.exp(-(u + x[t][i])))
                chance = p["floor"] + (p["ceiling"] - p["floor"]) * sigma
                weight[g] *= plain_beta_binomial(int(counts[i, t]), N, chance, p["rho"])
        total += math.log(sum(weight))
    return total


@pytest.mark.parametrize("name", [*FREE, *CONTROLS])
def test_the_teacher_forced_likelihood_equals_a_plain_one(name):
    model = Model(name, B)
    p = parameters(model)
    prior = np.exp(-(GRID**2) / 4)
    prior /= prior.sum()
    plain = plain_log_likelihood(name, TINY.counts, p, prior)
    assert log_likelihood(model, TINY, p, prior) == pytest.approx(plain, abs=2e-3)  # x is interpolated


def policy_on(items, visits, kappa=0.003):
    """Random counts of items of which many share a level: the model, its parameters and log, x, and levels."""
    rng = np.random.Generator(np.random.Philox(1))
    model, log = Model("policy", rng.normal(0, 1.5, items)), log_of(rng.integers(0, N + 1, (items, visits)))
    p = parameters(model) | {"kappa": kappa, "forgetting": 0.2}
    x = model.exposure(log, p)[0, :-1, model.mechanism.column].T
    return model, p, log, x, [int(10 * sigma(b)) for b in model.b]


def plain_x(model, p, log, level, **split):
    """(T, I) what `policy_on` should find, about its mean over visits."""
    x = np.array(plain_policy(plain_signals("policy", log.counts, p), p, level, model.b, **split))
    return x - x.mean(axis=0)


def test_a_network_moves_an_item_as_the_mean_of_its_level():
    model, p, log, x, level = policy_on(items=30, visits=4)
    assert np.ptp(x[-1]) > 0.05
    assert x == pytest.approx(plain_x(model, p, log, level), abs=1e-11)


def test_a_network_takes_a_step_for_each_batch_of_at_most_128_items():
    """The split is drawn, so x is one of those that splits of the visits into two halves give."""
    model, p, log, x, level = policy_on(items=140, visits=4)
    rng = np.random.Generator(np.random.Philox(2))
    halves = [plain_x(model, p, log, level, split=lambda items: np.split(rng.permutation(items), 2)) for _ in range(8)]
    gain, others = (np.mean(of[-1] - of[0]) for of in (x, plain_x(model, p, log, level)))
    expected = [np.mean(of[-1] - of[0]) for of in halves]
    error = np.std(expected, ddof=1)
    assert abs(gain - np.mean(expected)) < 4 * error
    assert abs(others - np.mean(expected)) > 10 * error, "one batch would be told from two"


@pytest.mark.parametrize(("items", "sizes"), [(127, [127]), (128, [128]), (129, [64, 65]), (300, [100, 100, 100])])
def test_a_network_takes_every_item_once_a_visit_in_an_order_that_is_drawn(items, sizes):
    batches = Model("policy", np.zeros(items)).mechanism.batches
    assert sorted(map(len, batches)) == sizes
    order = np.concatenate(batches)
    assert sorted(order) == list(range(items))
    assert list(order) != list(range(items))


def test_a_network_forgets_its_share_once_a_visit_in_however_many_batches():
    model = Model("policy", np.linspace(-2, 2, 300))
    p = parameters(model)
    start = model.mechanism.start(p)
    moved = start._replace(weights=start.weights + 0.1)
    after = model.mechanism.advance(moved, np.zeros((1, 300)), p | {"kappa": 0.0, "forgetting": 0.3})
    assert after.weights - start.weights == pytest.approx(np.full_like(start.weights, 0.07), rel=1e-6)


def test_beta_binomial_sums_to_one_and_is_binomial_without_over_dispersion():
    p = np.array([0.02, 0.5, 0.97])
    assert count_chances(p, 0.1, 8).sum(axis=1) == pytest.approx(1)
    binomial = [[math.comb(8, k) * q**k * (1 - q) ** (8 - k) for k in range(9)] for q in p]
    assert count_chances(p, 1e-9, 8) == pytest.approx(np.array(binomial), rel=1e-5)


STATE = {"skills": ("theta", "theta0"), "chain": ("eta", "theta0"), "grid": ("competence", None),
         "tracing": ("known", None)}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FREE if name != "policy"])  # it draws answers: see below
def test_an_update_is_that_of_the_workbench_learner(name):
    """Whole-pool batches with the logged rewards: the SimLearner's skill moves as the fitted law's."""
    model = Model(name, B)
    p = parameters(model)
    own = {field: p[field] for field in ("kappa", "forgetting", "gamma")} | {"theta0": 0.0, "label_noise": 0.0}
    if name == "kernel":
        own["length"] = p["length"]
    if name == "tabular":
        own["kappa"] = p["kappa"] * len(B)
    if name == "guess":  # the fitted law takes the skill's share of the gradient for 1, as it is without them
        own |= {"floor": 0.0, "ceiling": 1.0}
    if name in ("skills", "chain"):
        own["theta0"] = p["theta0"]
    if name == "skills":
        own["transfer"] = p["transfer"]
    if name == "grid":  # forgets towards its own start, which is that of no run
        own["forgetting"] = p["forgetting"] = 0.0
    learner = SimLearner(make_law(name, own), Pool(np.full(len(B), 50.0)), b=B)
    if name == "grid":
        learner.state = GridState(model.mechanism.start(p), np.zeros(1))
    for t in range(TINY.visits):
        rewards = (np.arange(N) < TINY.counts[:, t, None]).astype(np.float32)
        learner.learn(np.arange(len(B)), rewards)
    if name in STATE:
        field, start = STATE[name]
        moved = getattr(learner.state, field)[0] - (p[start] if start else 0)
        assert moved == pytest.approx(model.states(TINY, p)[-1][0], rel=1e-4)
        return
    own_offset = learner.state.offset[0, : len(B)] if learner.state.offset.size else 0.0  # then come held-out items
    logits = learner.state.theta + own_offset
    expected = np.broadcast_to(model.exposure(TINY, p)[0, -1], len(B))
    assert np.broadcast_to(logits, len(B)) == pytest.approx(expected, rel=1e-4)


def test_the_slope_of_a_network_is_the_mean_over_the_answers_behind_the_rewards():
    """SimLearners with one network and the logged rewards, but answers of their own, step on average as the fitted law.

    Plain gradient descent at rate 1 shows the sampled slope; the running mean of Adam's slopes tells the averaged one.
    """
    model, lanes = Model("policy", B), 3000
    states = model.states(TINY, parameters(model))
    law = make_law("policy", {"optimizer": "sgd", "kappa": 1.0, "label_noise": 0.0})
    learner = SimLearner(law, Pool(np.full(len(B), 50.0)), seed=np.arange(lanes), b=B)
    start = learner.state
    for t, (before, after) in enumerate(pairwise(states)):
        weights = np.repeat(before.weights.astype(np.float32), lanes, axis=0)
        learner.state = start._replace(weights=weights)
        rewards = (np.arange(N) < TINY.counts[:, t, None]).astype(np.float32)
        learner.learn(np.broadcast_to(np.arange(len(B)), (lanes, len(B))), np.broadcast_to(rewards, (lanes, len(B), N)))
        sampled = (weights - learner.state.weights).astype(np.float64)
        averaged = (after.momentum - BETA1 * before.momentum)[0] / (1 - BETA1)
        error = sampled.std(axis=0, ddof=1) / math.sqrt(lanes)
        assert (np.abs(sampled.mean(axis=0) - averaged) < 4 * error + 2.5e-7).all()  # weights up to 4 have 24 bits
        size = sampled @ averaged / (averaged @ averaged)  # along the averaged slope, in its own units
        error = size.std(ddof=1) / math.sqrt(lanes)
        assert error < 0.02
        assert abs(size.mean() - 1) < 4 * error


@pytest.mark.parametrize("name", [*FREE, *CONTROLS])
def test_draws_move_each_as_if_alone(name):
    model = Model(name, B)
    vectors = np.stack([model.centre, model.centre + 0.3])
    p = model.parameters(vectors)
    x = model.exposure(TINY, p)[:, -1]
    for d in range(2):
        alone = model.exposure(TINY, model.parameters(vectors[d]))[0, -1]
        assert x[d] == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("name", ["scalar", "kernel", "chain", "tracing", "policy"])
def test_a_forecast_goes_on_from_what_the_counts_say_of_each_item(name):
    """Chances at the next visit: u given all counts, a step of its walk, and x after the last visit."""
    model = Model(name, B)
    vector = model.centre + 0.2
    p = model.parameters(vector)
    prior = np.exp(-(GRID**2) / 4)
    prior /= prior.sum()
    task = Task(TINY, 5, 4000, 0)
    known = Fit(model, vector, np.zeros((len(vector), len(vector))), prior, 0.0)
    visit = next(simulate(known, task))
    x = model.exposure(TINY, p)[0][:, model.mechanism.column]
    half = p["scatter"] ** 2 / STEP**2 / 2
    for i in range(len(B)):
        weight = prior
        for t in range(TINY.visits + 1):
            if t:
                padded = np.pad(weight, 1, mode="edge")
                weight = (1 - 2 * half) * weight + half * (padded[:-2] + padded[2:])
            chance = p["floor"] + (p["ceiling"] - p["floor"]) / (1 + np.exp(-(GRID + x[t][i])))
            if t < TINY.visits:
                weight = weight * [plain_beta_binomial(int(TINY.counts[i, t]), N, c, p["rho"]) for c in chance]
        expected = np.sum(weight * chance) / np.sum(weight)
        error = visit.p[:, i].std() / math.sqrt(4000)
        assert abs(visit.p[:, i].mean() - expected) < 4 * error, i


def test_slopes_turn_inward_at_a_bound_and_curvatures_are_those_of_a_quadratic():
    rng = np.random.Generator(np.random.Philox(1))
    root = rng.standard_normal((3, 3))
    precision, middle = root @ root.T + np.eye(3), np.array([0.3, -0.2, 0.1])

    def losses(points):
        inside = np.minimum(points, [9, 0.5, 9]) - middle  # beyond its bound a parameter changes nothing
        return 2 + 0.5 * np.einsum("dp,pq,dq->d", inside, precision, inside)

    at, top = np.array([0.7, 0.5, -0.4]), np.array([9, 0.5, 9])
    loss, gradient = slope(losses, at, top)
    assert loss == pytest.approx(2 + 0.5 * (at - middle) @ precision @ (at - middle))
    assert gradient == pytest.approx(precision @ (at - middle), rel=2e-3)
    assert curvature(losses, np.zeros(3)) == pytest.approx(precision, rel=1e-8)


# ---- fit and forecast on simulated logs ------------------------------------------------------------------------

TRUTH = {"kappa": 0.25, "forgetting": 0.02, "rho": 0.03, "scatter": 0.1}


def simulated_log(items=500, visits=20, n=8, seed=5):
    """A log of the scalar learner with the plain signal v / v_ref, by its equations."""
    rng = np.random.Generator(np.random.Philox(seed))
    u, x, counts = rng.normal(-0.5, 2, items), 0.0, np.empty((items, visits), int)
    for t in range(visits):
        p = np.clip(1 / (1 + np.exp(-(u + x))), 1e-6, 1 - 1e-6)
        size = 1 / TRUTH["rho"] - 1
        counts[:, t] = rng.binomial(n, rng.beta(p * size, (1 - p) * size))
        k = counts[:, t]
        x += TRUTH["kappa"] * np.mean(k * (n - k) / (n * (n - 1)) / 0.25) - TRUTH["forgetting"] * x
        u = u + TRUTH["scatter"] * rng.standard_normal(items)
    return log_of(counts, n)


@pytest.fixture(scope="module")
def simulated():
    return simulated_log()


def test_the_fit_recovers_what_made_the_log(simulated):
    """Gains per visit within three standard errors; kappa' at a given gamma is what such a log identifies."""
    fitted = fit(Model("scalar", np.zeros(500)), simulated)
    p, sd = fitted.model.parameters(fitted.vector), np.sqrt(np.diag(fitted.covariance))
    error = dict(zip(fitted.model.free, sd, strict=True))
    for name in ("rho", "scatter"):
        assert abs(math.log(p[name] / TRUTH[name])) < 3 * error[name] + 0.1, name
    x = fitted.model.exposure(simulated, p)[0, :, 0]
    made = p | {"gamma": 1.0} | {k: TRUTH[k] for k in ("kappa", "forgetting")}
    true = fitted.model.exposure(simulated, made)[0, :, 0]
    assert true[-1] > 1, "it learned something"
    assert x == pytest.approx(true, abs=0.15)
    assert error["kappa"] < 0.5, "and the log narrows the prior of 1.5"


TRUE_KAPPA = {"grid": 0.8, "tracing": 2.5, "policy": 0.002}
FEWER = {"policy": 200}  # items: a network is slow, and 200 of them say enough


def log_of_law(name, items=400, visits=15, n=8, seed=3, kappa=None, bent=0.0):
    """A log of any law by its own mechanism; bent: sd of what items of like difficulty gain per factor e of visits."""
    rng = np.random.Generator(np.random.Philox(seed))
    u = rng.normal(-0.3, 1.8, items)
    model = Model(name, -u)
    p = model.parameters(model.centre) | {"kappa": kappa or TRUE_KAPPA.get(name, 0.2), "scatter": 0.05}
    state, counts = model.mechanism.start(p), np.empty((items, visits), int)
    first = model.mechanism.added(state, p)
    grid = np.arange(-8, 8.1, 0.5)
    field = np.linalg.cholesky(np.exp(-np.abs(grid[:, None] - grid) / 3)) @ rng.standard_normal(len(grid))
    omega = bent * np.interp(-u, grid, field)
    for t in range(visits):
        x = (model.mechanism.added(state, p) - first)[0, model.mechanism.column]
        chance = p["floor"] + (p["ceiling"] - p["floor"]) / (1 + np.exp(-(u + x + omega * np.log(t + 1))))
        size = 1 / p["rho"] - 1
        counts[:, t] = rng.binomial(n, np.clip(rng.beta(np.maximum(chance * size, 1e-6), (1 - chance) * size), 0, 1))
        state = model.mechanism.advance(state, model.signal(counts[None, :, t], n, p["gamma"]), p)
        u = u + p["scatter"] * rng.standard_normal(items)
    return log_of(counts, n), p, model.b


@pytest.mark.parametrize("name", list(FREE))
def test_each_learner_finds_the_kappa_of_its_own_log(name):
    log, p, b = log_of_law(name, items=FEWER.get(name, 400))
    if name != "grid":  # whose levels must be known: a cell wrongly placed opens at another time
        b = forecast.difficulties(log)
    fitted = fit(Model(name, b), log)
    place = fitted.model.free.index("kappa")
    sd = math.sqrt(fitted.covariance[place, place])
    error = fitted.vector[place] - math.log(p["kappa"])
    assert abs(error) < 3 * sd + 0.15  # levels and distances come from estimated difficulties
    assert sd < 0.5 * PRIORS["kappa"].sd, "the log says more than the prior"


def test_forecasts_of_a_simulated_run_cover_it_and_beat_the_baselines(simulated):
    tables = forecast.run(simulated, 10, 20, ["scalar"], draws=60)
    scores = tables.scores.set_index("learner")
    assert scores.loc["scalar", "beats_all"] == "clearly"
    assert 0.76 < scores.loc["scalar", "coverage_groups"] < 0.84
    assert scores.loc["scalar", "coverage_bins"] > 0.6
    assert scores.loc["scalar", "log_score"] > scores.loc["still", "log_score"]
    assert scores.loc["persistence", "over_persistence"] == 0
    assert scores.loc["persistence", "beats_all"] == "baseline"


def test_growth_is_the_slope_of_a_logistic_curve():
    visits = np.arange(1, 21)
    p = 1 / (1 + np.exp(-(-1 + 0.07 * visits)))
    slope, se = growth(10_000 * p, 10_000)
    assert slope == pytest.approx(0.07, rel=1e-4)
    assert 0 < se < 0.01


def test_bins_are_those_of_the_first_visits():
    counts = np.array([[0] * 6, [1, 1, 1, 1, 0, 4], [2] * 6, [4] * 6])  # rates .0, .2, .5, 1 over five visits
    assert [BINS[k] for k in log_of(counts).bins(6)] == ["0.0-0.2", "0.0-0.2", "0.4-0.6", "0.8-1.0"]


# ---- what items share -----------------------------------------------------------------------------------------


def test_bands_cover_a_run_that_departs_from_the_law():
    """Logs of the natural law, bent by difficulty: about 80 % of visits x bins inside; far fewer without the errors."""
    inside, plain = [], []
    for seed in range(6):
        log, *_ = log_of_law("natural", items=250, visits=18, seed=seed, kappa=0.08, bent=0.6)
        seen = log.until(9)
        whole, *earlier = (forecast.Origin.after(seen, visit) for visit in (9, *origins(9)))
        task = Task(seen, log.visits, 100, seed)
        fitted, _, future = forecast.predict("natural", whole, earlier, task)
        for futures, share in ((future, inside), (forecast.futures("natural", fitted, task, whole.bins), plain)):
            rows = pd.DataFrame(forecast.assess("natural", futures, task, log, whole.bins).rows)
            joined = rows[rows["bin"] != "all"].merge(forecast.observed_table(log, whole.bins), on=["visit", "bin"])
            share.append(joined["observed"].between(joined["lower80"], joined["upper80"]).mean())
    assert 0.68 < np.mean(inside) < 0.92
    assert np.mean(plain) < np.mean(inside) - 0.15


def test_the_size_of_the_shared_error_is_found():
    rng = np.random.Generator(np.random.Philox(2))
    moved = np.abs(rng.standard_normal((30, len(GRID)))) / len(GRID)
    kernel = np.exp(-np.abs(GRID[:, None] - GRID) / 3)
    for size in (0.1, 0.5):
        errors = []
        for _ in range(40):
            omega = size * np.linalg.cholesky(kernel) @ rng.standard_normal(len(GRID))
            rates = 0.01 * rng.standard_normal((200, 30))
            errors.append(Errors(moved @ omega + 0.01 * rng.standard_normal(30), rates, moved))
        judged = [Discrepancy.judged([one]).row()["estimate"] for one in errors]
        assert np.median(judged) == pytest.approx(size, rel=0.3)


def test_without_earlier_visits_the_prior_speaks():
    assert origins(15) == [5, 7, 10]
    assert origins(3) == [2]
    assert origins(2) == []
    row = Discrepancy.judged([]).row()
    assert row["estimate"] == pytest.approx(0.2, rel=0.1)
    assert row["upper80"] / row["lower80"] == pytest.approx(math.exp(2 * 1.2816), rel=0.15)


def test_the_shared_error_moves_no_mean_and_no_group():
    """Pairs of opposite sign; the drift gives up as much variance as is shared."""
    weights = np.eye(31)[20]
    shared = Discrepancy(weights).draw(B, 2000, 0)
    assert shared.omega.sum(axis=0) == pytest.approx(0, abs=1e-9)
    assert shared.omega.std(axis=0) == pytest.approx(shared.size[0, 0], rel=0.1)
    task = Task(TINY, 10, 2000, 0, shared)
    total = sum(task.shared_variance(visit) for visit in task.horizon)
    assert total == pytest.approx((shared.size * math.log(10 / 4)) ** 2)
    assert task.shift(10) == pytest.approx(shared.omega * math.log(10 / 4))


@pytest.mark.parametrize("learners", [["natural"], ["kernel", "grid"]])
def test_no_forecast_reads_a_held_out_visit(simulated, learners):
    small = log_of(simulated.counts[:60], 8)
    changed = small.counts.copy()
    changed[:, 6:] = 8 - changed[:, 6:]
    a, b = (forecast.run(log, 6, 12, learners, draws=20) for log in (small, log_of(changed, 8)))
    for table in ("forecast", "parameters", "items"):
        pd.testing.assert_frame_equal(getattr(a, table), getattr(b, table), check_exact=True)
    assert not a.scores.equals(b.scores)


def test_the_table_in_the_results_says_what_their_scores_say():
    folder = Path(__file__).parents[2] / "sims" / "results"
    scores = pd.read_csv(folder / "real-run" / "scores.csv").set_index("learner")
    _, below = (folder / "README.md").read_text().split("| | log score per group", 1)
    shown = [[cell.strip() for cell in row.strip("|").split("|")] for row in below.split("\n\n")[0].splitlines()[2:]]
    assert {row[0].split(" (")[0] for row in shown} == set(scores.index)
    for name, log_score, over_best, over_trend, coverage, _, rmse in shown:
        row = scores.loc[name.split(" (")[0]]
        said = [float(text) for text in (log_score, coverage, rmse, *over_best.split(" ± "), *over_trend.split(" ± "))]
        meant = [row["log_score"], row["coverage_bins"], row["rmse_bins"]]
        meant += [row["over_logistic_curve"], row["se_over_best"]][: 1 + over_best.count("±")]
        meant += [row["over_trend"], row["se_over_trend"]][: 1 + over_trend.count("±")]
        digits = [4, 2, 3] + [4] * (len(said) - 3)
        assert said == [pytest.approx(value, abs=0.51 * 10.0**-d) for value, d in zip(meant, digits, strict=True)], name


# ---- the command -----------------------------------------------------------------------------------------------

FORECAST = ["learner", "visit", "bin", "mean_pass_rate", "lower80", "upper80", "zero_variance_share",
            "all_wrong_share", "all_right_share"]  # fmt: skip


@pytest.fixture
def csv(tmp_path):
    log = simulated_log(40, 8)
    rows = [(f"q{i}", t, log.counts[i, t], 8) for i in range(40) for t in range(8)]
    path = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["item", "visit", "successes", "attempts"]).to_csv(path, index=False)
    return path


def test_a_real_run_leaves_its_tables_and_figure_the_same_every_time(csv, tmp_path, monkeypatch, capsys):
    words = ["real-run", "--log", csv, "--fit-until", 5, "--forecast-until", 9, "--learners", "natural", "--draws", 10]
    for name in ("a", "b"):
        status, out, _ = call(reproduce, monkeypatch, capsys, *words, "--out", tmp_path / name)
        assert status == 0
        assert "beats all three baselines" in out
    table = pd.read_csv(tmp_path / "a" / "forecast.csv")
    assert list(table.columns) == FORECAST
    assert set(table["visit"]) == {6, 7, 8, 9}
    assert set(table["learner"]) == {"natural", "still", "trend", *forecast.BASELINES}
    assert "all" in set(table["bin"])
    assert set(table["bin"]) <= {"all", *BINS}
    assert (table["lower80"] <= table["upper80"]).all()
    parts = table["all_wrong_share"] + table["all_right_share"]
    assert table["zero_variance_share"].to_numpy() == pytest.approx(parts.to_numpy(), abs=1e-5)
    scores = pd.read_csv(tmp_path / "a" / "scores.csv")
    assert {"log_score", "over_persistence", "over_running_mean", "over_logistic_curve"} <= set(scores.columns)
    assert list(scores.columns) == list(forecast.SCORES)
    for name in ("forecast.csv", "scores.csv", "parameters.csv", "items.csv", "forecast.pdf", "forecast.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_without_torch_the_policy_is_left_out_with_a_word_or_refused(csv, tmp_path, monkeypatch, capsys):
    assert set(LEARNERS) == set(LAWS)
    monkeypatch.setattr("workbench.learners.law.find_spec", lambda name: None)
    given = ["real-run", "--log", csv, "--fit-until", 5, "--forecast-until", 9, "--draws", 2, "--out", tmp_path / "out"]
    status, out, err = call(reproduce, monkeypatch, capsys, *given, "--learners", "natural,policy")
    assert (status, out) == (2, "")
    assert err.startswith("error: TinyPolicy: must have torch, which is not installed")
    assert err.count("\n") == 1

    def stop(log, fit_until, until, learners, *rest):
        raise InputError(f"fitted: {','.join(learners)}")

    monkeypatch.setattr(forecast, "run", stop)
    said, ended = call(reproduce, monkeypatch, capsys, *given)[2].splitlines()
    assert said.startswith("policy is left out: TinyPolicy: must have torch")
    assert ended == f"error: fitted: {','.join(name for name in LEARNERS if name != 'policy')}"


def with_cell(column, row, value):
    """A change of a log: this value in that cell."""
    def change(log):
        log[column] = log[column].astype(object)
        log.loc[row, column] = value
        return log

    return change


def test_a_row_without_an_item_does_not_make_up_for_one_that_is_missing(csv):
    """One of 40 items has 7 of 8 visits, and the eighth has no name: the rows are as many as they should be."""
    with_cell("item", 5, None)(pd.read_csv(csv)).to_csv(csv, index=False)
    with pytest.raises(InputError, match=r"^item: must be given in every row, got none at row 5$"):
        read_log(csv)


def test_a_log_without_held_out_visits_leaves_a_table_of_scores_with_heads_only(csv, tmp_path, monkeypatch, capsys):
    words = ["--fit-until", 8, "--forecast-until", 9, "--learners", "natural", "--draws", 4]
    status, out, _ = call(reproduce, monkeypatch, capsys, "real-run", "--log", csv, *words, "--out", tmp_path / "out")
    assert status == 0
    assert "forecast without scores" in out
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert scores.empty
    assert list(scores.columns) == list(forecast.SCORES)


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda t: t.drop(columns="attempts"), [], "--log: must have the columns item, visit, successes,"),
        (lambda t: t.assign(successes=9), [], "successes: must be in [0, attempts], got 9 of 8 at row 0"),
        (lambda t: t.assign(successes="x"), [], "successes: must be a whole number in [0, 1000000000], got x at row 0"),
        (with_cell("item", 0, None), [], "item: must be given in every row, got none at row 0"),
        (with_cell("visit", 3, None), [], "visit: must be given in every row, got none at row 3"),
        (with_cell("successes", 3, None), [], "successes: must be given in every row, got none at row 3"),
        (with_cell("attempts", 3, None), [], "attempts: must be given in every row, got none at row 3"),
        (with_cell("visit", 3, 2.5), [], "visit: must be a whole number in [0, 1000000000], got 2.5 at row 3"),
        (with_cell("successes", 3, 0.5), [], "successes: must be a whole number in [0, 1000000000], got 0.5 at row 3"),
        (with_cell("successes", 3, 1e300), [], "successes: must be a whole number in [0, 1000000000], got 1e+300"),
        (with_cell("attempts", 3, 8.5), [], "attempts: must be a whole number in [1, 1000000000], got 8.5 at row 3"),
        (lambda t: t.assign(attempts=0, successes=0), [], "attempts: must be a whole number in [1, 1000000000], got 0"),
        (lambda t: t.iloc[1:], [], "visit: must give each of 40 items one row"),
        (lambda t: t.assign(attempts=t["visit"] + 8), [], "attempts: must be one number >= 2 for all groups"),
        (lambda t: t.iloc[:0], [], "--log: must have a row per group, got none"),
        (lambda t: t, ["--fit-until", 9], "--fit-until: must be a whole number in [2, 8], got 9"),
        (lambda t: t, ["--forecast-until", 5], "--forecast-until: must be a whole number in [6, 10000], got 5"),
        (lambda t: t, ["--learners", "narrow"], "--learners: must be one of scalar"),
        (lambda t: t, ["--draws", "1"], "--draws: must be a whole number in [2, 100000], got 1"),
        (lambda t: t, ["--seed", "-1"], "--seed: must be a whole number in [0, 4294967295], got -1"),
        (lambda t: t, ["--draws", "many"], "--draws: must be a whole number in [2, 100000], got 'many'"),
    ],
)
def test_bad_input_is_one_line(csv, tmp_path, monkeypatch, capsys, change, words, said):
    change(pd.read_csv(csv)).to_csv(csv, index=False)
    given = ["real-run", "--log", csv, "--fit-until", 5, "--forecast-until", 9, "--out", tmp_path / "out", *words]
    status, out, err = call(reproduce, monkeypatch, capsys, *given)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_log_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"--log: must be a \.csv file of item, visit, successes, attempts, got"):
        read_log(tmp_path / "none.csv")
