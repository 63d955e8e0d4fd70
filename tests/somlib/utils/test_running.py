"""Moments of rows that come block by block, against those of all rows at once."""

import numpy as np
import pytest
import torch

from somlib.utils.initialization import moments
from somlib.utils.running import RunningMoments

N, D = 500, 4


def rows(gaps: bool, offset: float = 0.0) -> torch.Tensor:
    rng = np.random.default_rng(5)
    data = rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) + offset
    data[:, 0] += np.linspace(0, 5, N)  # the first block lies elsewhere than the rest
    if gaps:
        data[rng.random((N, D)) < 0.2] = np.nan
        data[:40, 1] = np.nan
    return torch.from_numpy(data)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("size", [1, 37, N])
def test_blocks_add_up_to_the_moments_of_all_rows(size: int, gaps: bool) -> None:
    data, running = rows(gaps), RunningMoments()
    for block in torch.split(data, size):
        running.add(block)
    mean, covariance = moments(data)
    torch.testing.assert_close(running.mean, mean)
    torch.testing.assert_close(running.covariance, covariance)
    np.testing.assert_allclose(running.variance, np.nanvar(data.numpy(), axis=0))
    assert running.low.tolist() == np.nanmin(data.numpy(), axis=0).tolist()
    assert running.high.tolist() == np.nanmax(data.numpy(), axis=0).tolist()
    assert (running.n, running.incomplete) == (N, gaps)


def test_an_offset_costs_float32_no_precision() -> None:
    data, running = rows(gaps=False, offset=1_000.0).float(), RunningMoments()
    for block in torch.split(data, 50):
        running.add(block)
    np.testing.assert_allclose(running.covariance.numpy(), np.cov(data.double().numpy().T), rtol=1e-4, atol=1e-4)


def test_a_factor_on_the_rows_is_one_on_what_is_known_of_them() -> None:
    data, running, scaled = rows(gaps=True), RunningMoments(), RunningMoments()
    running.add(data)
    scaled.add(data * 3)
    torch.testing.assert_close(running.times(3).covariance, scaled.covariance)
    torch.testing.assert_close(running.times(3).mean, scaled.mean)


def test_a_feature_that_was_never_observed_has_mean_0_and_no_range() -> None:
    running = RunningMoments()
    running.add(torch.tensor([[1.0, torch.nan], [3.0, torch.nan]]))
    assert running.mean.tolist() == [2.0, 0.0]
    assert running.covariance.tolist() == [[2.0, 0.0], [0.0, 0.0]]
    assert running.low[1] > running.high[1]
