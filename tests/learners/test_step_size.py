"""The size of an update: warm-up of the learning rate, and an optimiser that cancels the size of gradients."""

import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError

HALF = np.array([[1, 1, 1, 1, 0, 0, 0, 0]] * 4, np.float32)  # each group's signal: 16 / 56 / .25
SILENT = np.zeros((4, 8), np.float32)
POOL = wb.Pool(np.linspace(0, 100, 20))
ITEMS = np.arange(4)
S = 16 / 56 / 0.25


def gains(law, batches):
    """What each update adds to theta."""
    learner = wb.SimLearner(law, POOL)
    path = [learner.state.theta[0]]
    for rewards in batches:
        learner.learn(ITEMS, rewards)
        path.append(learner.state.theta[0])
    return np.diff(path)


def test_the_step_rises_to_its_full_size_by_the_update_after_the_warm_up():
    got = gains(wb.ScalarIRT(kappa=0.1, warm_up=4), [HALF] * 7)
    np.testing.assert_allclose(got, 0.1 * S * np.array([0.2, 0.4, 0.6, 0.8, 1, 1, 1]), rtol=1e-5)


def test_the_optimiser_divides_by_the_root_mean_square_of_the_signals_so_far():
    quarter = HALF.copy()
    quarter[1:] = 0
    batches = [HALF, quarter, SILENT, HALF]
    g = S * np.array([1, 0.25, 0, 1])
    rms = np.sqrt(np.cumsum(g**2) / np.arange(1, 5))
    np.testing.assert_allclose(gains(wb.ScalarIRT(kappa=0.1, adam=1.0), batches), 0.1 * g / rms, rtol=1e-5)
    np.testing.assert_allclose(gains(wb.ScalarIRT(kappa=0.1, adam=0.5), batches), 0.1 * g / rms**0.5, rtol=1e-5)


def test_batches_with_four_times_the_signal_teach_no_more():
    quarter = HALF.copy()
    quarter[1:] = 0
    law = wb.ScalarIRT(kappa=0.1, adam=1.0)
    np.testing.assert_allclose(gains(law, [HALF] * 5), gains(law, [quarter] * 5), rtol=1e-6)


def test_silent_batches_at_the_start_leave_the_learner_as_it_is():
    got = gains(wb.ScalarIRT(kappa=0.1, adam=1.0), [SILENT, SILENT, HALF])
    np.testing.assert_allclose(got, [0, 0, 0.1 * np.sqrt(3)], rtol=1e-5)


def test_a_narrow_batch_loses_a_share_of_its_step():
    """b of items 8 to 11 spreads less than b of the pool; items of one difficulty lose the whole share."""
    b = np.linspace(-3, 3, 20)
    b[:4] = 1.0

    def gain(items, admitted=None, **settings):
        learner = wb.SimLearner(wb.ScalarIRT(kappa=0.1, **settings), POOL, b=b)
        before = learner.state.theta[0]
        learner.learn(items, HALF, admitted)
        return learner.state.theta[0] - before

    some = np.array([8, 9, 10, 11])
    narrow = 1 - b[some].std() / b.std()
    assert 0.5 < narrow < 0.9
    assert gain(some, redundancy=0.6) == pytest.approx(0.1 * S * (1 - 0.6 * narrow), rel=1e-5)
    assert gain(ITEMS, redundancy=0.6) == pytest.approx(0.1 * S * 0.4, rel=1e-5)
    wide = np.array([4, 19, 5, 18])
    assert gain(wide, redundancy=0.6) == pytest.approx(0.1 * S, rel=1e-5)  # wider than the pool
    mask = np.array([True, False, False, True])
    pair = 1 - b[[8, 11]].std() / b.std()
    assert gain(some, mask, redundancy=0.6) == pytest.approx(0.1 * S * (1 - 0.6 * pair), rel=1e-5)


@pytest.mark.parametrize("law", [wb.KernelTransfer, wb.Tabular, wb.Interference, wb.MultiSkill, wb.Chain])
def test_every_law_with_a_policy_gradient_takes_both(law):
    def change(**settings):
        learner = wb.SimLearner(law(label_noise=0.0, **settings), POOL)
        before = learner.success(ITEMS).astype(float)
        learner.learn(ITEMS, HALF)
        return learner.success(ITEMS) - before

    whole = change(kappa=0.02)
    np.testing.assert_allclose(change(kappa=0.08, warm_up=3), whole, atol=1e-6)
    np.testing.assert_allclose(change(kappa=0.02 * S, adam=1.0), whole, atol=1e-6)
    assert np.abs(whole).max() > 1e-5


def test_a_learner_that_is_taken_up_again_knows_its_signals():
    law = wb.ScalarIRT(kappa=0.1, adam=1.0, warm_up=5)
    whole, part = (wb.SimLearner(law, POOL) for _ in range(2))
    for learner in (whole, part):
        learner.learn(ITEMS, HALF)
    again = wb.SimLearner(law, POOL)
    again.load_state_dict(part.state_dict())
    for learner in (whole, again):
        learner.learn(ITEMS, HALF)
    np.testing.assert_array_equal(whole.state.theta, again.state.theta)


@pytest.mark.parametrize(
    ("name", "value"), [("warm_up", -1), ("adam", 1.5), ("adam", float("nan")), ("redundancy", -0.1)]
)
def test_sizes_outside_their_domain_are_refused(name, value):
    with pytest.raises(InputError, match=f"^{name}: must be"):
        wb.ScalarIRT(**{name: value})
