"""Conditional maximum likelihood: Rasch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import expit, logit

from workbench.difficulty.irt.core import _Core
from workbench.difficulty.irt.grid import COARSE, _settled
from workbench.difficulty.irt.marginal import FARTHEST, MOST_PARAMETERS, _Information, _newton
from workbench.difficulty.irt.responses import Floats


def _conditional(s: Floats, n: Floats) -> _Core:
    """Rasch by conditional maximum likelihood (Andersen 1972), with b that sum to 0.

    P(pattern | score r) = exp(-sum u b) / gamma_r(e^-b), gamma_r the elementary symmetric functions. Given the score,
    the pattern does not depend on ability. A person with missing items is conditioned on the items answered. n attempts
    at an item count as n items of the same b.
    """
    of_item = _sets(s, n)
    runaway = of_item != np.bincount(of_item).argmax()
    if runaway.sum() == len(runaway) - 1:  # no two items are compared
        runaway[:] = True
    groups = [] if runaway.any() else _equals(s, n)
    b = -logit((s.sum(axis=0) + 0.5) / (n.sum(axis=0) + 1))
    b -= b.mean()
    converged, iterations, items = False, 0, s.shape[1]
    value, covariance, mean, sd = np.nan, np.full((items, 3, 3), np.nan), 0.0, 1.0
    for _ in range(50 if groups else 0):
        iterations += 1
        value, gradient, information = _conditional_parts(b, groups)
        try:
            step = _newton(information, gradient)
        except np.linalg.LinAlgError:  # comparable only by probabilities that rounding loses
            break
        step -= step.mean()
        if np.abs(step).max() < 1e-8:
            converged = bool(np.abs(b).max() < FARTHEST)
            break
        b = b + step * min(1.0, 2.0 / np.abs(step).max())
    if converged:
        if isinstance(information, _Information):
            variance = information.inverse_blocks()[:, 0, 0]
        else:
            root = np.linalg.cholesky(information)
            variance = (solve_triangular(root, np.eye(items), lower=True) ** 2).sum(axis=0)  # of its inverse
        covariance = np.zeros((items, 3, 3))
        covariance[:, 1, 1] = variance - 1 / items  # the part that 11' / I added
        mean, sd = _ability(s, n, b)
    ones, runaway = np.ones(items), runaway | (np.abs(b) >= FARTHEST)
    return _Core(ones, -b, 0 * ones, covariance, value, items - 1, converged, iterations, mean, sd, runaway)


def _sets(s: Floats, n: Floats) -> NDArray[np.int32]:
    """(I,) numbers of the sets of items that the answers compare with each other.

    The conditional likelihood has a maximum at finite b, the only one, if there is one set (Fischer 1981). It has none
    if the items fall into two sets such that nobody who solved an item of the first failed one of the second: the
    likelihood then grows with the distance between the sets. Equivalently, the graph with an edge from each item solved
    to each item failed by the same person has more than one strongly connected component.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    persons, items = s.shape
    (winner, solved), (loser, failed) = np.nonzero(s > 0), np.nonzero(s < n)
    begin, end = np.append(solved, items + loser), np.append(items + winner, failed)  # item -> person -> item
    graph = coo_array((np.ones(len(begin), bool), (begin, end)), shape=(items + persons,) * 2)
    return np.asarray(connected_components(graph, connection="strong")[1][:items])


def _equals(s: Floats, n: Floats) -> list[tuple[Floats, int, Floats]]:
    """Attempts (I,) and score of persons who share both, with the sum (I,) of their successes.

    Persons who solved nothing or everything are left out: they carry no information about b.
    """
    total, tries = s.sum(axis=1), n.sum(axis=1)
    inner = (total > 0) & (total < tries)
    rows, first, of_person, count = np.unique(
        np.column_stack([n, total])[inner], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(rows), s.shape[1]))
    np.add.at(sums, of_person.ravel(), s[inner])
    return [(rows[k], int(count[k]), sums[k]) for k in range(len(first))]


def _conditional_parts(
    b: Floats, groups: list[tuple[Floats, int, Floats]]
) -> tuple[float, Floats, Floats | _Information]:
    """Conditional log likelihood, its gradient by b, and its information plus 11' / I, as b sum to 0.

    Beyond MOST_PARAMETERS, the part of the information that varies with the score alone, if that is the smaller matrix.
    """
    items, many = len(b), len(groups) < len(b) > MOST_PARAMETERS
    value, gradient = 0.0, np.zeros(items)
    information = np.ones((items, items)) / items if not many else np.zeros((0, 0))
    diagonal, columns = np.zeros(items), []
    for tries_and_score, count, solved in groups:
        n, score = tries_and_score[:-1], int(tries_and_score[-1])
        have = np.flatnonzero(n)
        log_gamma, share, mixed, weight = _given_score(b[have], n[have], score)
        expected = n[have] * share
        value -= float(solved @ b) + count * log_gamma
        gradient[have] += count * expected - solved[have]
        if many:
            spread = expected * (1 - share)
            column = np.zeros(items)
            column[have] = spread * np.sqrt(count / spread.sum())
            diagonal[have] += count * spread
            columns.append(column)
            continue
        pairs = (mixed.real * weight.real - mixed.imag * weight.imag) @ mixed.real.T
        pairs -= (mixed.real * weight.imag + mixed.imag * weight.real) @ mixed.imag.T  # P(both right | score)
        moment = np.outer(n[have], n[have]) * pairs - np.outer(expected, expected)
        moment[np.diag_indices(len(have))] += expected - n[have] * np.diag(pairs)
        information[np.ix_(have, have)] += count * moment
    if not many:
        return value, gradient, information
    sign = np.append(np.full(len(columns), -1.0), 1.0)
    columns.append(np.full(items, items**-0.5))  # 11' / I
    return value, gradient, _Information(diagonal[:, None, None], np.array(columns).T[:, None], sign)


def _given_score(b: Floats, n: Floats, score: int) -> tuple[float, Floats, Floats, Floats]:
    """ln gamma_r, P(u = 1 | r) (I,), and g (I, T), w (T,) complex, with P(u_i = u_j = 1 | r) = Re sum_t w g_i g_j.

    At any ability the score is a sum of independent attempts. Its distribution is the Fourier sum of its characteristic
    function phi (Hong 2013), and conditional on r it does not depend on ability. At the ability whose expected score is
    r, few terms matter: terms are left out where Bernstein's bound puts them, and the aliases of r, below 1e-14.
    """
    theta = 0.0
    for _ in range(200):
        p = expit(theta - b)
        step = (score - n @ p) / (n @ (p * (1 - p)))
        theta += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-10:
            break
    p = expit(theta - b)
    variance = float(n @ (p * (1 - p)))
    period = int(min(11 + np.sqrt(121 + 66 * variance), n.sum())) | 1  # odd: t = pi, where a term may vanish, is out
    angle = 2 * np.pi * np.arange((period + 1) // 2) / period
    angle = angle[variance * (1 - np.cos(angle)) < 33]
    right, p = np.exp(1j * angle), p[:, None]
    real, imaginary = 1 - p + p * right.real, p * right.imag  # of 1 - p + p e^it
    square = real**2 + imaginary**2
    phi = np.exp(n @ np.log(square) / 2 + 1j * (n @ np.arctan2(imaginary, real) - angle * score))
    law = phi * np.where(angle == 0, 1.0, 2.0)
    total = law.sum().real
    mixed = np.empty(square.shape, np.complex128)  # p e^it / (1 - p + p e^it)
    mixed.real, mixed.imag = p * (right.real * real + right.imag * imaginary) / square, (1 - p) * imaginary / square
    weight = law / total
    log_gamma = np.log(total / period) + n @ np.logaddexp(0.0, theta - b) - theta * score
    return float(log_gamma), (mixed @ weight).real, mixed, weight


def _ability(s: Floats, n: Floats, b: Floats) -> tuple[float, float]:
    """Mean and sd of a normal ability distribution, items (Rasch) given: expectation-maximisation."""
    mean, sd, grid = 0.0, 1.0, COARSE
    one, zero = np.ones(len(b)), np.zeros(len(b))
    for _ in range(500):
        grid, weight = _settled(s, n, one * sd, mean - b, zero, grid)
        share = weight.mean(axis=0)
        centre = float(share @ grid.nodes)
        width = max(float(np.sqrt(share @ (grid.nodes - centre) ** 2)), 1e-3)
        mean, sd = mean + sd * centre, sd * width
        if max(abs(sd * centre / width), abs(sd - sd / width)) < 1e-8:
            break
    return mean, sd
