"""In which number type rows are trained on: by their spread, whatever their offset."""

import re

import pytest
import torch

from somlib.errors import DataError
from somlib.utils.precision import trainable


def rows(*spreads: float, offset: float = 0.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor([[0.0] * len(spreads), list(spreads)], dtype=dtype) + offset


@pytest.mark.parametrize(
    ("spreads", "dtype"),
    [
        ((1.0, 1e-5), torch.float32),
        ((0.0, 1e12), torch.float32),
        ((1.0, 9e-7), torch.float64),
        ((1.0, 1.2e12), torch.float64),
        ((1e-44, 3e38), torch.float64),
    ],
)
def test_float32_is_left_where_a_feature_spreads_too_little_or_too_much(
    spreads: tuple[float, ...], dtype: torch.dtype
) -> None:
    given = rows(*spreads)
    held = trainable(given)
    assert held.dtype == dtype
    assert torch.equal(held, given.to(dtype))


def test_an_offset_gaps_and_features_without_a_value_say_nothing_of_the_spread() -> None:
    given = rows(1.0, 2.0, 0.0, offset=1e6)
    given[0, 2], given[:, 1] = torch.nan, torch.nan
    assert trainable(given) is given
    given[1, 1] = 1e30  # one value alone
    assert trainable(given) is given


@pytest.mark.parametrize("spread", [1e-150, 1e150])
def test_what_float64_cannot_square_is_refused_with_its_column(spread: float) -> None:
    with pytest.raises(DataError, match=re.escape(f"got {spread:g} in column 1: use another unit")):
        trainable(rows(1.0, spread, dtype=torch.float64))


def test_a_spread_that_float32_cannot_hold_is_held_by_float64() -> None:
    held = trainable(torch.tensor([[-3e38], [3e38]]))
    assert held.dtype == torch.float64
