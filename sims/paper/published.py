"""Published numbers that predictions are held against, with their source. The 7B rows of Table 1 are not used."""

from __future__ import annotations

# Shi, Wu, Song, Zhou, Zhao 2025, arXiv 2504.05520 v4, Table 1, Qwen2.5-Math-1.5B, one seed per cell:
# pool -> method -> (final average accuracy in %, seconds per step, extra steps to AdaRFT's accuracy at step 60).
TABLE1: dict[str, dict[str, tuple[float, float, int]]] = {
    "skew-difficult": {
        "adarft": (40.48, 122.24, 0),
        "ppo": (37.41, 132.95, 43),
        "filter": (37.22, 128.20, 49),
        "fixed": (37.22, 130.91, 16),
    },
    "uniform": {
        "adarft": (41.11, 121.31, 0),
        "ppo": (37.20, 126.82, 34),
        "filter": (37.87, 126.35, 52),
        "fixed": (37.27, 126.40, 48),
    },
    "skew-easy": {
        "adarft": (39.18, 120.52, 0),
        "ppo": (38.46, 121.15, 16),
        "filter": (38.15, 115.12, 21),
        "fixed": (38.09, 121.99, 35),
    },
}
MATCH_STEP = 60  # whose accuracy the others are to reach
EVAL_EVERY, SMOOTHING = 5, 0.3  # section 5.2
STEPS, BATCH, ROLLOUTS = 100, 1024, 1  # section 4.3, PPO
CELLS = [f"{pool}/{method}" for pool, row in TABLE1.items() for method in row if method != "adarft"]
EXTRA = {cell: TABLE1[cell.split("/")[0]][cell.split("/")[1]][2] for cell in CELLS}

# Table 2, the same runs: pool -> method -> accuracy in % on each of BENCHMARKS after 100 steps.
BENCHMARKS = ("GSM8K", "MATH500", "OlympiadBench", "Minerva", "AMC23", "AIME24")
SMALL = ("AMC23", "AIME24")  # of 40 and 30 problems
TABLE2: dict[str, dict[str, tuple[float, ...]]] = {
    "skew-difficult": {
        "adarft": (74.00, 66.40, 20.36, 15.07, 55.00, 12.08),
        "ppo": (69.67, 64.60, 20.65, 12.87, 47.50, 9.17),
        "filter": (71.65, 62.40, 20.06, 15.07, 45.00, 9.17),
        "fixed": (72.55, 66.40, 20.95, 14.34, 45.00, 4.06),
    },
    "uniform": {
        "adarft": (74.53, 66.20, 21.99, 14.34, 57.50, 12.08),
        "ppo": (71.95, 65.20, 21.10, 15.81, 42.50, 6.67),
        "filter": (72.63, 65.80, 20.21, 13.60, 45.00, 10.00),
        "fixed": (71.95, 65.60, 19.61, 14.71, 42.50, 9.27),
    },
    "skew-easy": {
        "adarft": (73.62, 66.20, 19.91, 13.97, 55.00, 9.17),
        "ppo": (72.71, 67.40, 19.17, 13.97, 45.00, 12.50),
        "filter": (74.75, 65.20, 20.36, 13.60, 45.00, 10.00),
        "fixed": (72.40, 66.20, 20.06, 13.24, 50.00, 6.67),
    },
}

# Figure 1a: share of items whose pass rate from so many of the 128 attempts is within 0.05 (text: about 0.80, > 0.90).
STABLE_WITHIN = 0.05
STABLE_SHARE = {40: 0.80, 64: 0.90}
# Figure 1b: Pearson correlation of the solve rate with difficulty ratings of GPT-4o, and the mean solve rate in % of
# each rating, 1 to 5 in half points; the labels of its bars, taken to fall from the easiest to the hardest.
JUDGE_CORRELATION = -0.32
JUDGE_RATES = (63.7, 50.6, 43.6, 39.9, 33.9, 29.0, 27.5, 21.9, 21.4)
