"""What a training is given."""

import numpy as np
import torch

from somlib.core.rule import TrainingSet


def test_the_box_of_the_data_ignores_missing_values() -> None:
    data = np.array([[1.0, np.nan, np.nan], [-2.0, 5.0, np.nan]])
    low, high = TrainingSet(torch.from_numpy(data), None, torch.tensor([-0.5, 5, 7]), incomplete=True).box
    assert low.tolist() == [-2, 5, 7]
    assert high.tolist() == [1, 5, 7]


def test_the_box_of_complete_data_has_its_smallest_and_largest_values() -> None:
    data = torch.tensor([[1.0, 5.0], [-2.0, 7.0], [0.0, 6.0]])
    low, high = TrainingSet(data, None, data.mean(dim=0), incomplete=False).box
    assert (low.tolist(), high.tolist()) == ([-2, 5], [1, 7])


def test_weights_of_rows_are_those_of_the_rows_asked_for() -> None:
    data, weight = torch.zeros(3, 1), torch.tensor([1.0, 2.0, 3.0])
    weighted, plain = (TrainingSet(data, share, torch.zeros(1), incomplete=False) for share in (weight, None))
    for rows in (slice(1, 3), torch.tensor([1, 2])):
        given = weighted.weight_of(rows)
        assert given is not None
        assert given.tolist() == [2, 3]
        assert plain.weight_of(rows) is None
