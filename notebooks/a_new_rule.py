# %% [markdown]
# # Is a rule that I write in ten minutes better than what there is?
#
# The rule: train on the items that are solved half of the time, which teach most if learning is a policy gradient.
# Items that were never tried count as solved half of the time, so they come first.

# %%
# %matplotlib inline
from dataclasses import dataclass

import numpy as np

import workbench as wb
from workbench.controllers import Draw, Feedback
from workbench.controllers.items import RateState, take_best, with_rates
from workbench.controllers.rule import Items
from workbench.testing import check_rule


@dataclass(frozen=True)
class NearHalf(wb.Rule):
    """The items whose mean reward so far is nearest to one half; equals at random.

    Source: this notebook.
    """

    name = "near-half"
    memory = "item"

    def init(self, pool: wb.Pool, lanes: int) -> RateState:
        return RateState(np.full((lanes, len(pool)), 0.5, np.float32), np.zeros((lanes, len(pool)), np.float32))

    def select(self, state: RateState, draw: Draw, count: int) -> tuple[Items, RateState]:
        return take_best(-np.abs(state.rate - np.float32(0.5)), draw, count), state

    def update(self, state: RateState, feedback: Feedback) -> RateState:
        return with_rates(state, feedback)


# %% [markdown]
# ## Is it a rule?
#
# `check_rule` tries every law that a rule must keep: distinct items, the same run from the same seed, exact resume,
# late and partial feedback, no change of a state that it was given. It is silent where all hold.

# %%
check_rule(NearHalf())

# %% [markdown]
# ## Is it any good?
#
# Beside uniform, AdaRFT, which has difficulty labels to go by, and MoPPS, which as this rule learns from rewards alone.
# A rule should be held against learners that do not share its assumption: on `natural` every batch teaches alike.

# %%
study = wb.Study(
    pools=["skew-difficult"], learners=["scalar", "kernel", "natural"], controllers=[NearHalf(), "adarft", "mopps"],
    seeds=10, steps=120, batch=128,
)  # fmt: skip
result = study.run(progress=False)
labels = {"__main__:NearHalf": "near-half"}  # a rule of one's own is known by the file that it is in
wb.figures.learning_curves(result.curves, labels=labels)

# %%
wb.figures.paired_differences(result.runs, labels=labels)

# %%
summary = result.summary
summary[["learner", "controller", "auc_gain", "auc_gain_low", "auc_gain_high", "verdict"]].round(3)

# %%
mine = summary[summary["controller"].str.contains("NearHalf|near-half")]
lines = [f"{row.learner}: {row.verdict} ({row.auc_gain:+.3f})" for row in mine.itertuples()]
rivals = summary.groupby("controller")["auc"].mean().drop("uniform").sort_values()
print(f"Answer: against uniform, on {'; '.join(lines)}. Largest mean area over the learners: {rivals.index[-1]}.")
