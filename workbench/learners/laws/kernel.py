"""L3: skill that spreads to items of similar difficulty, and fades; L0, its limit without any spreading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from workbench.errors import LARGEST, SMALLEST, check_count, check_number
from workbench.kernels.compiling import Array, compiled
from workbench.lanes import Floats, Lanes, distinct_rows, per_lane
from workbench.learners.law import BoundedLaw, Gradient, ItemBank, LearnerState, Presets, decay_to, topic_of

ABREAST = 4  # lanes whose running sums are computed in one loop


@dataclass(frozen=True)
class KernelTransfer(BoundedLaw):
    """Local transfer: training an item helps the items near it in true difficulty most.

    K_ij = transfer_all + transfer_near exp(-|b_i - b_j| / length) T_ij + transfer_self [i = j]
    T_ij = 1 within a topic, cross_topic between two
    z_j <- z_j + kappa / B sum_i K_ij S_i - forgetting (z_j - z_j at the start)

    transfer_all, transfer_near, transfer_self: 0 to 1e6, no unit. length: logits, 1e-6 to 1e6.
    floor: success by guessing, [0, 1). ceiling: best success, (floor, 1]. Success is between 0 and 1 by default.
    topics: number of topics, >= 1, and 1 by default: difficulty alone decides; items get theirs as in `topic_of`.
    cross_topic: no unit, [-0.2, 1] and >= -1 / (topics - 1), where T is still a kernel; negative: one topic's gain is
    another's loss. 0.3 by default, between separate skills and one; without topics it has no effect.
    transfer_all alone is ScalarIRT with a = 1; transfer_self alone is Tabular, both to the bit.
    Held-out items learn from their neighbours only.
    Source: ours, a neural tangent kernel between items (Jacot et al. 2018, arXiv 1806.07572) reduced to difficulty.
    """

    # local transfer, and forgetting
    presets: ClassVar[Presets] = {"kernel": {"kappa": 0.1, "length": 0.5, "forgetting": 0.01}}
    units: ClassVar[Mapping[str, str]] = {"length": "logits"}

    transfer_all: Lanes = 0.0
    transfer_near: Lanes = 1.0
    transfer_self: Lanes = 0.0
    length: Lanes = 1.0
    topics: int = 1
    cross_topic: Lanes = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("transfer_all", self.transfer_all, 0, LARGEST)
        check_number("transfer_near", self.transfer_near, 0, LARGEST)
        check_number("transfer_self", self.transfer_self, 0, LARGEST)
        check_number("length", self.length, SMALLEST, LARGEST)
        check_count("topics", self.topics)
        check_number("cross_topic", self.cross_topic, -1 / max(5, self.topics - 1), 1)

    def start(self, theta0: Floats, bank: ItemBank) -> LearnerState:
        lanes = len(theta0)
        return LearnerState(theta0, np.full(lanes, 0.5), np.zeros((lanes, bank.b.shape[1])))

    def advance(self, state: LearnerState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> LearnerState:
        lanes = len(state.theta)
        if not cache:
            cache.update(sorted_bank(bank, per_lane("length", self.length, lanes), self.topics))
        step = self.kappa * gradient.weight
        shared = self.kappa * self.transfer_all * gradient.mean
        # T is cross_topic everywhere, and 1 - cross_topic more within a topic
        between = 1.0 if self.topics == 1 else np.asarray(self.cross_topic)
        spread_transfer(
            gradient.items,
            gradient.signals,
            per_lane("transfer_self", step * self.transfer_self, lanes),
            per_lane("transfer_near", step * self.transfer_near * between, lanes),
            per_lane("cross_topic", step * self.transfer_near * (1.0 - between), lanes),
            cache["decay"],
            cache["topic_decay"],
            cache["decay_row"],
            cache["rank"],
            cache["by_rank"],
            cache["topic"],
            bank.row,
            per_lane("forgetting", self.forgetting, lanes),
            state.offset,
        )
        return state._replace(theta=state.theta + shared - decay_to(self.theta0, state.theta, self.forgetting))


@dataclass(frozen=True)
class Tabular(KernelTransfer):
    """No transfer: z_i <- z_i + kappa / B S_i for the items of the batch, all others stay as they are.

    The lower bound on transfer. kappa is large because the mean over the batch gives each item only its 1/B.
    Held-out items would never change, so `evaluate` looks at the pool's own items.
    Source: softmax policy gradient on independent bandits (Mei et al. 2020, arXiv 2005.06392).
    """

    presets: ClassVar[Presets] = {"tabular": {}}  # no transfer

    kappa: Lanes = 64.0
    transfer_near: Lanes = 0.0
    transfer_self: Lanes = 1.0

    heldout = False


def sorted_bank(bank: ItemBank, length: Floats, topics: int) -> dict[str, Any]:
    """Items by true difficulty: rank and its inverse (U, J), and the kernel between neighbours per (row, length).

    With topics also the topic of each rank (U, J), and the kernel between neighbours of a topic.
    """
    by_rank = np.argsort(bank.b, axis=1, kind="stable")
    rank = np.argsort(by_rank, axis=1, kind="stable")
    sorted_b = np.take_along_axis(bank.b.astype(np.float64), by_rank, axis=1)
    pairs, decay_row = distinct_rows(np.stack([bank.row, length], axis=1))

    def between_neighbours(gaps: Floats) -> Floats:
        return np.asarray(np.exp(-gaps[pairs[:, 0].astype(np.int64)] / pairs[:, 1:]))

    gaps = np.diff(sorted_b, axis=1, prepend=-np.inf)  # nothing comes from below the easiest item
    order = {"decay": between_neighbours(gaps), "decay_row": decay_row, "rank": rank, "by_rank": by_rank}
    if topics == 1:
        return order | {"topic": np.empty((0, 0), np.int64), "topic_decay": np.empty((0, 0))}
    topic = topic_of(bank, topics)[by_rank]
    by_topic = np.argsort(topic, axis=1, kind="stable")  # ranks, topic after topic
    gaps_by_topic = np.diff(np.take_along_axis(sorted_b, by_topic, axis=1), axis=1, prepend=0.0)
    gaps_by_topic[np.diff(np.sort(topic, axis=1), axis=1, prepend=-1) != 0] = np.inf  # the easiest of each topic
    np.put_along_axis(gaps, by_topic, gaps_by_topic, axis=1)
    return order | {"topic": topic, "topic_decay": between_neighbours(gaps)}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def spread_transfer(
    items: Array, signals: Array, gain_self: Array, gain_near: Array, gain_topic: Array, decay: Array,
    topic_decay: Array, decay_row: Array, rank: Array, by_rank: Array, topic: Array, row: Array, forgetting: Array,
    offset: Array,
) -> None:
    """One step of the per-item skill offsets (R, J), in place.

    offset_j <- (1 - forgetting) offset_j + gain_self sum_{i = j} S_i + gain_near sum_i exp(-|b_i - b_j| / l) S_i
                + gain_topic sum of the same over the items i of the topic of j.
    The exponential kernel over sorted b is two running sums, one up and one down: decay[j] is the kernel between
    neighbours of rank j - 1 and j, so the cost is O(J), not O(B J). With topics, one more of each per topic:
    topic_decay[j] is the kernel between rank j and the next rank below of the same topic, topic (U, J) that of each
    rank; (0, 0) without topics.
    """
    lanes, width = items.shape[0], offset.shape[1]
    source, up = np.zeros(width), np.zeros(width)
    sources, ups, spare = np.zeros((width, ABREAST)), np.zeros((width, ABREAST)), np.zeros(width)
    own = np.zeros(topic.max() + 1 if topic.size else 0)
    end = 0
    while end < lanes:
        r = end
        end += 1
        near, same = gain_near[r], gain_topic[r]
        if near != 0.0 and same == 0.0:  # as many lanes as have the same order and kernel
            while (end < min(r + ABREAST, lanes) and row[end] == row[r] and decay_row[end] == decay_row[r]
                   and gain_near[end] != 0.0 and gain_topic[end] == 0.0):  # fmt: skip
                end += 1
        for lane in range(r, end):
            z = offset[lane]
            if forgetting[lane] != 0.0:
                keep = 1.0 - forgetting[lane]
                for j in range(width):
                    z[j] *= keep
            if gain_self[lane] != 0.0:
                for i in range(items.shape[1]):
                    z[items[lane, i]] += gain_self[lane] * signals[lane, i]
        if near == 0.0 and same == 0.0:
            continue
        d = decay[decay_row[r]]
        place = rank[row[r]]
        if same == 0.0:
            sources[:] = 0.0
            for lane in range(r, end):
                for i in range(items.shape[1]):
                    sources[place[items[lane, i]], lane - r] += signals[lane, i]
            spread_abreast(sources, ups, d, place, gain_near[r:end], offset[r:end], spare)
            continue
        z, e, of, back = offset[r], topic_decay[decay_row[r]], topic[row[r]], by_rank[row[r]]
        source[:] = 0.0
        for i in range(items.shape[1]):
            source[place[items[r, i]]] += signals[r, i]
        rising, falling = 0.0, 0.0
        own[:] = 0.0
        for j in range(width):
            k = of[j]
            rising = rising * d[j] + source[j]
            own[k] = own[k] * e[j] + source[j]
            up[j] = near * rising + same * own[k]
        own[:] = 0.0
        for j in range(width - 1, -1, -1):
            k = of[j]
            z[back[j]] += up[j] + near * falling + same * own[k]
            falling = (falling + source[j]) * d[j]
            own[k] = (own[k] + source[j]) * e[j]


@compiled(cached=False)
def spread_abreast(
    source: Array, up: Array, decay: Array, rank: Array, gain: Array, offset: Array, spare: Array
) -> None:
    """The two running sums of up to ABREAST lanes at once: their chains of additions overlap.

    source (J, ABREAST): signals by rank. up: scratch of that shape. rank (J,): of each item. gain (N,), offset (N, J):
    of the N lanes. spare (J,): takes what lanes that are not there would get.
    """
    width, n = len(rank), len(gain)
    a, b, c, e = 0.0, 0.0, 0.0, 0.0
    for j in range(width):
        d = decay[j]
        a, b = a * d + source[j, 0], b * d + source[j, 1]
        c, e = c * d + source[j, 2], e * d + source[j, 3]
        up[j, 0], up[j, 1], up[j, 2], up[j, 3] = a, b, c, e
    g0, z0 = gain[0], offset[0]
    g1, z1 = (gain[1], offset[1]) if n > 1 else (0.0, spare)
    g2, z2 = (gain[2], offset[2]) if n > 2 else (0.0, spare)
    g3, z3 = (gain[3], offset[3]) if n > 3 else (0.0, spare)
    a, b, c, e = 0.0, 0.0, 0.0, 0.0
    for j in range(width - 1, -1, -1):
        d = decay[j]
        up[j, 0], up[j, 1] = g0 * (up[j, 0] + a), g1 * (up[j, 1] + b)
        up[j, 2], up[j, 3] = g2 * (up[j, 2] + c), g3 * (up[j, 3] + e)
        a, b = (a + source[j, 0]) * d, (b + source[j, 1]) * d
        c, e = (c + source[j, 2]) * d, (e + source[j, 3]) * d
    for j in range(width):  # what lanes get lies side by side in memory
        k = rank[j]
        z0[j] += up[k, 0]
        z1[j] += up[k, 1]
        z2[j] += up[k, 2]
        z3[j] += up[k, 3]
