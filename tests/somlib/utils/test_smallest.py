"""The smallest values of rows, against a stable sort."""

import pytest
import torch

from somlib.utils.smallest import place_of_smallest, smallest

NAN, INF = float("nan"), float("inf")


def random_values(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(50, 16, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_smallest_are_those_of_a_stable_sort(k: int, dtype: torch.dtype) -> None:
    values = random_values(dtype)
    expected = values.sort(dim=1, stable=True)
    value, index = smallest(values.clone(), k)
    assert torch.equal(value, expected.values[:, : k + 1])
    assert torch.equal(index, expected.indices[:, :k])
    assert torch.equal(place_of_smallest(values), expected.indices[:, 0])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_value_after_the_smallest_is_left_out_where_it_is_not_wanted(k: int) -> None:
    values = random_values()
    expected = values.sort(dim=1, stable=True)
    value, index = smallest(values.clone(), k, one_more=False)
    assert torch.equal(value[:, :k], expected.values[:, :k])
    assert torch.equal(index, expected.indices[:, :k])
    assert torch.isinf(value[:, k]).all()


def test_columns_of_a_wider_block_are_ranked_alone() -> None:
    block = random_values()
    expected = block[:, 3:9].argmin(dim=1)
    assert torch.equal(place_of_smallest(block[:, 3:9]), expected)


def test_nan_and_infinity_never_are_the_smallest_and_ties_go_to_the_lowest_index() -> None:
    values = torch.tensor([[NAN, 2.0, 1.0, 1.0], [INF, NAN, INF, -5.0], [NAN, NAN, INF, NAN], [3.0, -INF, 1.0, 2.0]])
    value, index = smallest(values, 2)
    assert index.tolist() == [[2, 3], [3, -1], [-1, -1], [2, 3]]
    assert value.tolist() == [[1.0, 1.0, 2.0], [-5.0, INF, INF], [INF, INF, INF], [1.0, 2.0, 3.0]]


def test_a_tie_within_reach_goes_to_the_lowest_index() -> None:
    values = torch.tensor([[4.0 + 1e-7, 4.0, 9.0]], dtype=torch.float64)
    assert smallest(values.clone(), 1)[1].tolist() == [[1]]
    assert smallest(values, 1, ties=1e-7)[1].tolist() == [[0]]


def test_there_is_nothing_beyond_the_last_column() -> None:
    value, index = smallest(torch.tensor([[2.0, 1.0]]), 3)
    assert index.tolist() == [[1, 0, -1]]
    assert value.tolist() == [[1.0, 2.0, INF, INF]]
