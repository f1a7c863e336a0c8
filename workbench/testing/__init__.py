"""Laws that every rule, gate and learner must keep, for tests of ours and of other people's.

All of them at once, with an AssertionError that names each law that is broken and how:

    from workbench.testing import check_gate, check_learner, check_rule

    check_rule(MyRule())
    check_gate(MyGate())
    check_learner(partial(wb.SimLearner, MyLaw()))

or one test for each, with pytest:

    from workbench.testing import RULE_LAWS

    @pytest.mark.parametrize("law", RULE_LAWS.values(), ids=RULE_LAWS)
    def test_my_rule(law):
        law(MyRule())

GATE_LAWS and LEARNER_LAWS likewise. Give hyper-parameters that are reached within a dozen batches of 8 items: a window
that is never full is never tested. Laws take a pool as second argument; the default is `small_pool()`, of 48 items.
A law that computes for more than `tools.PATIENCE` seconds is broken.
"""

from workbench.testing.gates import GATE_LAWS, check_gate
from workbench.testing.learners import LEARNER_LAWS, check_learner
from workbench.testing.rules import RULE_LAWS, check_rule
from workbench.testing.tools import draw, feedback, small_pool

__all__ = [
    "GATE_LAWS",
    "LEARNER_LAWS",
    "RULE_LAWS",
    "check_gate",
    "check_learner",
    "check_rule",
    "draw",
    "feedback",
    "small_pool",
]
