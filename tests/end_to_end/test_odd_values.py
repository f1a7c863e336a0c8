"""A few doors against drawn values of any kind: a result that is right, or one line. No other error, no warning."""

import math
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import workbench as wb
from workbench import difficulty
from workbench.analysis import stats, tables
from workbench.difficulty import irt
from workbench.errors import InputError

quick = settings(max_examples=80, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))  # fmt: skip
SIZE = 4
POOL = wb.Pool([10.0, 30.0, 60.0, 90.0])
NUMBERS = (int, float, np.integer, np.floating, Fraction, Decimal)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(min_value=10**300, max_value=10**320), st.floats(),
    st.complex_numbers(), st.text(max_size=4), st.binary(max_size=4), st.fractions(), st.decimals(),
    st.sampled_from([pd.NA, pd.NaT, np.ma.masked, pd.Timestamp("2026-01-01"), np.datetime64("NaT"), 1, 0, 3, 0.5]),
    st.dates(), st.just(object()), st.just(set()), st.just({1: 2}),
)  # fmt: skip
good = st.one_of(st.integers(0, 8), st.floats(0, 8), st.fractions(0, 8), st.decimals(0, 8), st.just(np.int8(3)))
rows = st.one_of(st.lists(good, min_size=SIZE, max_size=SIZE), st.lists(scalars, min_size=SIZE, max_size=SIZE))
dtypes = st.one_of(hnp.scalar_dtypes(), hnp.array_dtypes(max_size=2), hnp.unicode_string_dtypes(max_len=4))
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, st.one_of(hnp.array_shapes(max_dims=3, max_side=4, min_side=0),
                                                                  st.just((SIZE,)))))  # fmt: skip
KINDS = ("Int64", "Float64", "boolean", "string", "category", "object", "complex128", "datetime64[ns]")


@st.composite
def columns(draw):
    """A pandas column of some type, with an odd index."""
    values = draw(st.lists(st.one_of(good, st.none()), min_size=SIZE, max_size=SIZE))
    levels = pd.MultiIndex.from_product([[0, 1]] * 2)
    index = draw(st.sampled_from([None, [0] * SIZE, list("abcd"), [3.5, None, "a", 1], levels]))
    try:
        return pd.Series(pd.array(values, dtype=draw(st.sampled_from(KINDS))), index)
    except (TypeError, ValueError):
        return pd.Series(values, index, dtype=object)


masked = st.builds(lambda mask: np.ma.array(np.arange(1.0, SIZE + 1), mask=mask), hnp.arrays(bool, SIZE))
odd = st.one_of(scalars, rows, arrays, columns(), masked, st.lists(rows, max_size=3), st.sets(st.integers(0, 5)),
                st.tuples(good, good, good, good), columns().map(pd.Series.to_frame))  # fmt: skip


def taken(door, value):
    """What the door gives, None where it refuses in one line. Warnings are errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return door(value)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) <= 1000
    return None


def plainly(value):
    """The floats that a value says, read one by one; a value that holds anything else has been taken wrongly."""
    assert not isinstance(value, np.ma.MaskedArray)
    flat = list(np.asarray(value, dtype=object).ravel())
    assert all(isinstance(entry, (bool, np.bool_, *NUMBERS)) for entry in flat), flat
    return [float(entry) for entry in flat]


@pytest.mark.parametrize("values", [
    [1, 0, 1, 0], np.array([1, 0, 1, 0], np.int8), (1.0, 0.0, 1.0, 0.0), pd.Series([1, 0, 1, 0], list("aabb"), "Int64"),
    pd.array([1, 0, 1, 0], dtype="Float64"), np.array([True, False, True, False]).astype(np.uint8),
], ids=range(6))  # fmt: skip
def test_every_door_takes_numbers_of_any_type(values):
    """So that the other tests are of more than refusals."""
    controller = wb.Controller(wb.AdaRFT(), POOL, seed=1)
    assert wb.Pool(values).difficulty.tolist() == [1, 0, 1, 0]
    assert difficulty.from_counts(values, 1)[0].tolist() == [0, 100, 0, 100]
    assert controller.observe(controller.next_batch(SIZE), values).all()
    assert stats.interval(values, lambda x, axis: x.mean(axis)).value == 0.5


@quick
@given(odd)
def test_a_pool_has_the_difficulties_that_it_was_given(value):
    pool = taken(wb.Pool, value)
    if pool is not None:
        floats = plainly(value)
        assert np.array_equal(pool.difficulty, floats, equal_nan=True)
        assert all(math.isnan(number) or 0 <= number <= 100 for number in floats)


@quick
@given(odd)
def test_counts_give_the_difficulties_of_their_rates(value):
    found = taken(lambda value: difficulty.from_counts(value, 8), value)
    if found is not None:
        successes = np.array(plainly(value))
        assert np.allclose(found[0], 100 * (1 - successes / 8))
        assert ((found[1] >= 0) & (found[1] <= found[0]) & (found[0] <= found[2]) & (found[2] <= 100)).all()


@quick
@given(odd)
def test_a_controller_takes_rewards_in_the_unit_interval(value):
    controller = wb.Controller(wb.AdaRFT(), POOL, seed=1)
    items = controller.next_batch(SIZE)
    before = controller.state.target.copy()
    admitted = taken(lambda value: controller.observe(items, value), value)
    if admitted is None:
        assert np.array_equal(controller.state.target, before)
        return
    rewards = plainly(value)
    assert admitted.shape == (SIZE,)
    assert len(rewards) % SIZE == 0
    assert all(0 <= reward <= 1 for reward in rewards)


@quick
@given(odd)
def test_an_interval_is_around_the_mean_of_what_was_given(value):
    found = taken(lambda value: stats.interval(value, lambda x, axis: x.mean(axis), resamples=50), value)
    if found is not None:
        numbers = np.array(plainly(value))
        with np.errstate(over="ignore"):
            assert found.value == pytest.approx(numbers.mean(), nan_ok=True)
        assert np.isfinite(numbers).all()


@settings(quick, max_examples=40)
@given(odd, odd)
def test_responses_are_fitted_as_they_were_given(one, other):
    table = np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 1], [0, 0, 1, 1]])

    def door(value):
        first, second = value
        return irt.fit(irt.Responses(first, second, list("pqrs"), list("abcd")), "1pl")

    for attempts in (other, np.full((SIZE, SIZE), 8.0)):
        if taken(door, (one, attempts)) is not None:
            assert np.shape(one) == (SIZE, SIZE)
            assert all(0 <= s <= n for s, n in zip(plainly(one), plainly(attempts), strict=True))
    assert taken(door, (table, other)) is None or np.shape(other) == (SIZE, SIZE)
    assert taken(door, (table.tolist(), np.ones_like(table).tolist())) is not None


def curves():
    learner, controller = wb.SimLearner(wb.ScalarIRT(), POOL, seed=1), wb.Controller(wb.Uniform(), POOL, seed=1)
    return wb.train(controller, learner, 2, 4, 4, 1).to_frame()


FRAME = curves()


@settings(quick, max_examples=25)
@given(st.sampled_from(list(FRAME.columns)), st.integers(0, len(FRAME) - 1), scalars)
def test_a_table_of_curves_with_one_odd_cell(column, row, value):
    cells = list(FRAME[column])
    cells[row] = value
    frame = FRAME.assign(**{column: pd.Series(cells, dtype=object)})
    for table in (frame, frame.infer_objects()):
        runs = taken(tables.runs_table, table)
        if runs is not None and column == "success":
            assert 0 <= plainly([value])[0] <= 1 or np.isfinite(float(value))
