# %% [markdown]
# # How should my problems be labelled, and how much does it matter?
#
# Many curricula need to know how hard a problem is. Three sources are common: attempts of a reference model, ratings by
# a judge, and a table of which models solved which problem. Here all three label the same 600 problems, whose true
# difficulty we know, since we make them up. Then a simulated model is trained by each of the labels.

# %%
# %matplotlib inline
from pathlib import Path

import numpy as np
import pandas as pd

import workbench as wb
from workbench import difficulty
from workbench.difficulty import irt

folder = Path("results/your_own_items")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)
size = 600
b = rng.normal(1.5, 1.8, size)  # true difficulty, in logits
names = [f"problem {k}" for k in range(size)]


def chance(theta: float) -> "pd.Series[float]":
    return pd.Series(1 / (1 + np.exp(b - theta)), index=names)


truth = 100 * (1 - chance(0.0))  # for the model that is to be trained, of skill 0 before training

# %% [markdown]
# ## Counts
#
# The model attempts every problem eight times. Say the file has column names of its own: a mapping tells which is
# which.

# %%
solved = rng.binomial(8, chance(0.0))
pd.DataFrame({"name": names, "solved": solved, "tries": 8, "text": names}).to_csv(folder / "counts.csv", index=False)
counted = wb.Pool.load(
    folder / "counts.csv", {"ids": "name", "successes": "solved", "attempts": "tries", "prompt": "text"}
)
print(counted.understood)
counted

# %% [markdown]
# Eight attempts say little about one problem. The interval shows how little, and `shrink` pulls extreme counts towards
# the other problems. How many attempts would be enough, if nine problems in ten are to be within ten points of what 64
# attempts say?

# %%
plain, low, high = difficulty.from_counts(solved, 8)
shrunk, _, _ = difficulty.from_counts(solved, 8, shrink=True)
enough = difficulty.attempts_needed(rng.binomial(64, chance(0.0)), 64, share=0.9, margin=0.1)
print(f"{enough} attempts; the 95 % interval of eight is {np.mean(high - low):.0f} points wide on average")

# %% [markdown]
# ## Ratings
#
# A judge rates each problem from 1 to 5. Its idea of difficulty is not the model's: here the two correlate by about a
# half.

# %%
opinion = 3 + 0.6 * (b - b.mean()) / b.std() + 0.9 * rng.standard_normal(size)
rated = difficulty.from_ratings(np.clip(np.round(opinion), 1, 5), low=1, high=5)
print(f"correlation with the true difficulty: {np.corrcoef(rated, truth)[0, 1]:.2f}")

# %% [markdown]
# ## A table of responses
#
# Forty models of a leaderboard, one attempt each. An item response model separates the skill of the models from the
# difficulty of the problems. What we need is the difficulty for one model: 100 times its chance to fail. The model to
# be trained is the last row. The answers are made by the model that is fitted, which favours it: on your own table,
# `irt.item_fit` says which problems it does not describe.

# %%
skills = np.append(rng.normal(1.0, 1.2, 39), 0.0)
answers = pd.DataFrame([rng.binomial(1, chance(skill)) for skill in skills], columns=names)
answers.insert(0, "person", [f"model {k}" for k in range(39)] + ["mine"])
answers.to_csv(folder / "responses.csv", index=False)
responses = difficulty.read_responses(folder / "responses.csv")
fit = irt.fit(responses, "1pl")
mine = responses.persons.index("mine")
scaled = 100 * (1 - fit.probability(fit.theta[[mine]])[0])
print(f"fitted: {len(responses.persons)} models, {len(responses.items)} problems, skill of mine {fit.theta[mine]:.2f}")

# %% [markdown]
# ## Which labels are right?
#
# `error` is the mean distance from the true difficulty in points, `order` the rank correlation with it.

# %%
labels = pd.DataFrame(
    {"truth": truth.to_numpy(), "counts": plain, "counts, shrunk": shrunk, "ratings": rated, "responses": scaled}
)
cost = {"counts": 8 * size, "counts, shrunk": 8 * size, "responses": size}  # attempts of the model itself
quality = pd.DataFrame(
    {
        "error": labels.sub(labels["truth"], axis=0).abs().mean(),
        "order": labels.corr("spearman")["truth"],
        "attempts": pd.Series(cost),
    }
).loc[list(labels)]
quality.round(2)

# %% [markdown]
# ## What do labels do for training?
#
# AdaRFT on each set of labels, sixteen runs, on a learner with one common skill. `b` tells the learner the true
# difficulties; the rule sees the labels only. Uniform sampling needs none.

# %%
seeds = wb.streams.run_seeds(0, 16)


def trained(name: str, rule: wb.Rule, label: "pd.Series[float]") -> pd.DataFrame:
    pool = wb.Pool(label, name="600 problems")
    learner = wb.SimLearner(wb.ScalarIRT(theta0=0.0), pool, seeds, 16, b=b)
    record = wb.train(wb.Controller(rule, pool, seed=seeds, lanes=16), learner, steps=100, batch=32, rollouts=8)
    return record.to_frame().assign(controller=name)


runs = [trained("uniform", wb.Uniform(), labels["truth"])]
runs += [trained(f"adarft, {name}", wb.AdaRFT(), labels[name]) for name in labels]
curves = pd.concat(runs, ignore_index=True)
wb.figures.learning_curves(curves)

# %% [markdown]
# `gain` is success averaged over training, over that of uniform sampling on the same seeds, with a 95 % interval.
# `kept` is the part of the gain from true labels that is left.

# %%
area = curves.groupby(["seed", "controller"])["success"].mean().unstack("controller")
rows = {}
for name in labels:
    difference = (area[f"adarft, {name}"] - area["uniform"]).to_numpy()
    gain, lower, upper = wb.stats.interval(difference, np.mean)
    rows[name] = {"gain": gain, "low": lower, "high": upper}
worth = pd.DataFrame(rows).T
worth["kept"] = worth["gain"] / rows["truth"]["gain"]
worth.round(3)

# %%
errors = quality.drop(index="truth")["error"]
kept = worth.drop(index="truth")["kept"]
print(
    f"Answer: here {kept.idxmax()} keep {kept.max():.0%} of what true labels gain, {kept.idxmin()} {kept.min():.0%}. "
    f"Closest to the true difficulty: {errors.idxmin()}, off by {errors.min():.0f} points on average.\n"
    f"Pass rates cost {8 * size:,} attempts before training, the row of a model in a table that is there {size:,}; the "
    f"run itself takes {100 * 32 * 8:,}."
)
