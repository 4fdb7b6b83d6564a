"""How tables are laid out in memory."""

import numpy as np
import pytest

from reparax.data.values import ROWS_IN_CACHE, by_columns, by_rows


@pytest.mark.parametrize("rows", [1, ROWS_IN_CACHE - 1, ROWS_IN_CACHE, 2 * ROWS_IN_CACHE + 3])
def test_tables_are_laid_out_by_columns_and_by_rows_whatever_their_length(rows):
    table = np.random.default_rng(0).normal(size=(rows, 3))
    columns = by_columns(table)
    assert columns.flags.f_contiguous
    np.testing.assert_array_equal(columns, table)
    again = by_rows([columns[:, 0], columns[:, 1].astype(np.float32), table[:, 2]], np.float32)
    assert (again.dtype, again.flags.c_contiguous) == (np.dtype(np.float32), True)
    np.testing.assert_array_equal(again, table.astype(np.float32))
