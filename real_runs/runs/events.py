"""What went wrong in a run: in words, for its console and manifest."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import ndtri

from real_runs.runs.record import RunRecord

LARGEST_KL = 5.0  # nats per token between policy and start: beyond it a run has come apart
LEAST_ENTROPY = 0.01  # nats
PATIENCE = 5  # updates of equal rewards before that is said
MOST_CUT = 0.5  # share of completions that end at the limit
# Differences between a token's log-probabilities when it was sampled and in training, by the arithmetic of the passes:
LARGEST_GAP = {"float32": 1e-3, "bfloat16": 0.5}
CONSTANT, BELOW, CUT, GAP = "every reward", "held-out success fell", "completions cut", "log-probabilities differ"


def divergence(record: RunRecord) -> list[str]:
    """What came apart, and when."""
    events = []
    for row in record.steps:
        if row["admitted"] and not math.isfinite(row["grad_norm"]):
            events.append(f"gradient not finite at step {row['step']:.0f}")
        elif row["kl"] > LARGEST_KL:
            events.append(f"kl {row['kl']:.1f} nats per token at step {row['step']:.0f}")
    success = list(record.success.values())
    if record.steps and record.steps[-1]["entropy"] < LEAST_ENTROPY and success[-1] < success[0]:
        events.append(f"entropy collapsed to {record.steps[-1]['entropy']:.4f} nats while success fell")
    return events[:1] + ([f"{len(events) - 1} more"] if len(events) > 1 else [])


def warnings(record: RunRecord, dtype: str) -> list[str]:
    """What makes a run that did not diverge doubtful. dtype: of the passes, "float32" or "bfloat16"."""
    found = [constant_rewards(record), fall(pd.DataFrame(record.evals)), cut(record), gap(record, dtype)]
    return [event for event in found if event]


def early_warnings(record: RunRecord) -> list[str]:
    """What is said after update PATIENCE already."""
    found = [constant_rewards(record), cut(record)] if len(record.steps) == PATIENCE else []
    return [event for event in found if event]


def constant_rewards(record: RunRecord) -> str:
    """Rewards that are all 0, or all 1, from the first update on, for PATIENCE updates or more."""
    rewards = np.array([row["reward"] for row in record.steps])
    for value in (0.0, 1.0):
        same = int(np.argmin(np.append(rewards == value, False)))  # updates before the first other reward
        if same >= PATIENCE:
            so_far = "so far" if same == len(rewards) else "at first"
            return f"{CONSTANT} {so_far} is {value:.0f} ({same} updates): nothing to learn from"
    return ""


def fall(evals: pd.DataFrame) -> str:
    """Held-out success that is lower at the end than at the start by more than noise, 95 %, two-sided; "" otherwise.

    evals: rows of step, stratum, success and n problems. Success is the mean over the S strata of p_s. The variance of
    one attempt per problem is sum over s of p_s (1 - p_s) / n_s / S^2; noise is 1.96 times the root of its sum over
    both evaluations. There p_s is (n_s p_s + 1/2) / (n_s + 1), so that strata never or always solved have noise, too.
    Both evaluations are of the same problems, so that the bound is rather too large.
    """
    first, last = (evals[evals["step"] == step] for step in (evals["step"].min(), evals["step"].max()))
    variance = 0.0
    for table in (first, last):
        n, p = table["n"].to_numpy(), table["success"].to_numpy()
        p = (n * p + 0.5) / (n + 1)
        variance += float((p * (1 - p) / n).sum() / len(n) ** 2)
    start, end, noise = first["success"].mean(), last["success"].mean(), ndtri(0.975) * math.sqrt(variance)
    return f"{BELOW} from {start:.3f} to {end:.3f}, more than noise ({noise:.3f})" if start - end > noise else ""


def cut(record: RunRecord) -> str:
    """Completions of which more than half ended at the limit."""
    shares = [row["cut_share"] for row in record.steps if math.isfinite(row["cut_share"])]
    share = float(np.mean(shares)) if shares else 0.0
    if share <= MOST_CUT:
        return ""
    return f"{CUT} at --limit: {share:.0%} of them; a larger one, or --stop where an answer ends, lets them end"


def gap(record: RunRecord, dtype: str) -> str:
    """Tokens whose log-probability in training is another than when they were sampled."""
    gaps = {row["step"]: row["logp_gap_max"] for row in record.steps if row["logp_gap_max"] > LARGEST_GAP[dtype]}
    if not gaps:
        return ""
    step, most = max(gaps.items(), key=lambda found: found[1])
    return (
        f"{GAP} between sampling and training by up to {most:.3g} nats (step {step:.0f}), the bound is "
        f"{LARGEST_GAP[dtype]:g} for {dtype}"
    )
