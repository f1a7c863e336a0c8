# %% [markdown]
# # Did real runs agree with the simulation?
#
# The simulation ranked the rules before a language model was trained. Then the very same controllers steered PPO on a
# tiny Llama and RLOO on SmolLM2-135M, on the same pools, with paired seeds. This notebook reads the committed tables.

# %%
# %matplotlib inline
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

import workbench as wb

results = Path(wb.__file__).parents[1] / "real_runs" / "results"
tasks = sorted(folder.name for folder in results.iterdir() if (folder / "curves.parquet").is_file())
curves = {task: pd.read_parquet(results / task / "curves.parquet") for task in tasks}
summaries = {task: pd.read_csv(results / task / "summary.csv") for task in tasks}
seeds = {task: int(table["seeds"].min()) for task, table in summaries.items()}
print(f"tasks: {', '.join(f'{task} ({seeds[task]} seeds)' for task in tasks)}")

# %% [markdown]
# ## What happened
#
# A step is one generation batch: the same number of completions in every arm. Bands are 95 % intervals of the mean.

# %%
wb.figures.learning_curves(pd.concat(curves.values()))

# %% [markdown]
# Where the rules with a target aimed:

# %%
wb.figures.target_trajectories(pd.concat(curves.values()))

# %% [markdown]
# How much sooner than uniform sampling each rule got to 80 % of uniform's gain:

# %%
wb.figures.speedup_forest(pd.concat(summaries.values()))

# %% [markdown]
# ## By difficulty
#
# Success at the end of training minus uniform's, on the easiest and hardest held-out strata: a rule that trains on a
# narrow band may pay for it at the ends.

# %%
strata = pd.concat([pd.read_csv(results / task / "strata.csv").assign(task=task) for task in tasks])
ends = strata[strata["stratum"].isin([0, 4, 9]) & (strata["controller"] != "uniform")]
ends.pivot_table(index=["task", "pool", "controller"], columns="stratum", values="difference").round(2)

# %% [markdown]
# ## Prediction and outcome
#
# For each pool and simulated learner: Kendall's rank correlation between the area under the curve that the simulation
# predicted for the rules and the one that the real runs had. 1: same order; 0: none; -1: reversed.

# %%
rows = []
for task in tasks:
    predicted = pd.read_csv(results / task / "predicted.csv")
    for key, block in predicted.groupby(["pool", "learner"], sort=False):
        pool, learner = map(str, key)
        name = pool.partition("-")[2]  # the file was called TASK-POOL
        real = summaries[task].query("pool == @name").set_index("controller")["auc"]
        if real.empty:  # predicted, and not run yet
            continue
        simulated = block.set_index("controller")["auc"].rename({"adarft eta=50": "adarft"})  # its default
        both = pd.concat([simulated, real], axis=1, keys=["simulated", "real"]).dropna()
        tau = kendalltau(both["simulated"], both["real"]).statistic if both["simulated"].nunique() > 1 else np.nan
        rows.append({"task": task, "pool": name, "learner": learner.split()[0], "tau": tau})
agreement = pd.DataFrame(rows).pivot(index=["task", "pool"], columns="learner", values="tau")
agreement.round(2)

# %%
mean = agreement.dropna(axis=1).mean().sort_values(ascending=False)  # learners that predicted every pool
first = {
    (task, str(pool)): block["controller"].iloc[int(block["auc"].argmax())]
    for task, table in summaries.items()
    for pool, block in table.groupby("pool", sort=False)
}
gains = pd.concat([table.assign(task=task) for task, table in summaries.items()]).query("rule == 'adarft'")
sure = gains[gains["auc_gain_low"] > 0]
print(
    f"Answer: the learner whose ranking came closest is {mean.index[0]} (mean rank correlation {mean.iloc[0]:.2f}), "
    f"the worst {mean.index[-1]} ({mean.iloc[-1]:.2f}). AdaRFT was ahead of uniform, with an interval above zero, on "
    f"{len(sure)} of {len(gains)} pools. The best rule by mean area: "
    + ", ".join(f"{rule} on {task} / {pool}" for (task, pool), rule in first.items())
    + "."
)
