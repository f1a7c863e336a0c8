"""What runs side by side share: distinct rows of their settings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from workbench.lanes import distinct_rows

ROWS = some.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8).flatmap(
    lambda shape: some.arrays(np.float64, shape, elements=st.sampled_from([-1.0, 0.5, 2.0]))
)


@given(ROWS)
def test_distinct_rows_are_those_of_numpy(rows):
    found, which = distinct_rows(rows)
    expected, index = np.unique(rows, axis=0, return_inverse=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(which, index.ravel())


@pytest.mark.parametrize(("shape", "rows"), [((0, 2), 0), ((3, 0), 1)])
def test_rows_of_nothing_are_all_alike(shape, rows):
    found, which = distinct_rows(np.empty(shape, np.uint64))
    assert len(found) == rows
    assert which.tolist() == [0] * shape[0]


def test_whole_numbers_keep_all_their_bits():
    rows = np.array([[2**63, 1], [2**63 + 1, 0], [2**63, 1]], np.uint64)
    found, which = distinct_rows(rows)
    assert found.tolist() == [[2**63, 1], [2**63 + 1, 0]]
    assert which.tolist() == [0, 1, 0]
