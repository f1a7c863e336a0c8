"""What tests of rules do by hand: a pool, a batch drawn, feedback told."""

from dataclasses import replace

import numpy as np

import workbench as wb
from workbench import testing


def pool_of(size):
    return wb.Pool(difficulty=np.linspace(0, 100, size))


def half(successes, of=8):
    """Rewards of a group."""
    return [1.0] * successes + [0.0] * (of - successes)


def told(rule, state, pool, items, rewards, counts=None, step=1, probe=False):
    """The state after feedback: items (B,) are the same in every lane, (R, B) are each lane's own; rewards alike."""
    lanes = len(state[0])
    items = np.broadcast_to(items, (lanes, np.shape(items)[-1]))
    rewards = np.asarray(rewards, np.float32)
    rewards = rewards if rewards.ndim == 3 else np.broadcast_to(rewards, (lanes, *rewards.shape))
    sizes = None if counts is None else np.tile(counts, (lanes, 1))
    feedback = testing.feedback(pool, items, rewards, step, np.arange(lanes), sizes)
    return rule.update(state, replace(feedback, probe=probe))


def select(rule, state, pool, count, step=1):
    """A batch of distinct items (R, count), and the state after it."""
    items, state = rule.select(state, testing.draw(pool, step, np.arange(len(state[0]))), count)
    assert items.shape == (len(state[0]), count)
    assert all(len(set(row)) == count for row in items.tolist())
    return items, state


def batch(rule, state, pool, count, step=1):
    """The batch of `select` alone."""
    return select(rule, state, pool, count, step)[0]
