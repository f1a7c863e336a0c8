# %% [markdown]
# # Which curriculum for the run behind this log, what would it save, and how sure is that?
#
# The log is that of a run of SmolLM2-135M on arithmetic with uniform sampling, which comes with the project. For your
# own, give the path of a table with the columns step, item, successes, attempts, or the folder of TRL's completions.

# %%
# %matplotlib inline
from pathlib import Path

import pandas as pd

import workbench as wb

results = Path(wb.__file__).parents[1] / "real_runs" / "results"
log = wb.Log.load(results / "smollm2" / "runs" / "skew-difficult" / "uniform" / "seed-0")
print(log.understood)

# %% [markdown]
# ## Which simulated learner learns like this model?
#
# Learners are fitted to the log and weighed by how well they predict its last third from what came before. Here are
# four of them, with rough fits, for a first look.

# %%
fit = wb.calibrate(log, learners=["scalar", "natural", "kernel", "tabular"], enough=60, progress=False)
fit.table[["learner", "weight", "log_score", "behind", "se"]].round(3)

# %%
wb.figures.law_weights(fit.table)

# %% [markdown]
# What the log cannot tell is part of the answer:

# %%
print("\n".join(fit.unknown))

# %% [markdown]
# Are the predictions right on average? Points on the diagonal are.

# %%
wb.figures.calibration_plot(fit.foretold())

# %% [markdown]
# ## What would other curricula save?
#
# The fitted learners are asked for 100 more updates under each curriculum. Without the pool's difficulty labels only
# rules that need none can be asked for; `wb.calibrate(log, pool)` has them all.

# %%
advice = wb.advise(fit, steps=100, batch=8, candidates=["greso", "mopps", "plr"], lanes=32, progress=False)
advice.table[["controller", "saved", "saved_low", "saved_high", "best", "no_better"]].round(2)

# %%
wb.figures.advice_forest(advice.table)

# %% [markdown]
# ## Doubt
#
# Forecasts like these were committed before the runs that they speak of, and scored. A real gain outside of the
# interval that was foretold, or with another sign, is a reason to try the advised rule in a short pilot first.

# %%
parts = []
for path in sorted((results / "forecasts").glob("*/score.csv")):
    parts.append(pd.read_csv(path).assign(setting=path.parent.name))
scored = pd.concat(parts)
scored["inside"] = scored["real"].between(scored["low80"], scored["high80"])
scored[["setting", "arm", "gain", "low80", "high80", "real", "inside"]].round(3)

# %%
clear = scored[(scored["real_low80"] > 0) | (scored["real_high80"] < 0)]
right = ((clear["gain"] > 0) == (clear["real"] > 0)).sum()
row = advice.table.set_index("controller").loc[advice.advised]
chance = "nothing tried is surely better" if advice.advised == "uniform" else f"no better in {row['no_better']:.0%}"
print(
    f"Answer: {advice.advised}; {chance}. Of {len(scored)} gains that were foretold for real runs so far, "
    f"{scored['inside'].mean():.0%} were in their 80 % interval; of {len(clear)} that were clear, {right} had the sign "
    "foretold."
)
