"""Intervals against scipy and theory."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from somlib.utils.quality import bootstrap, bootstrap_intervals


def test_bootstrap_intervals_agree_with_scipy() -> None:
    terms = torch.from_numpy(np.random.default_rng(0).exponential(size=(300, 2)))
    low, high = bootstrap_intervals(terms, torch.Generator().manual_seed(0), 4_000, 0.9)
    theirs = scipy.stats.bootstrap(
        (terms.numpy(),), np.mean, axis=0, confidence_level=0.9, n_resamples=4_000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose(low, theirs.low, atol=0.01)
    np.testing.assert_allclose(high, theirs.high, atol=0.01)


def test_bootstrap_intervals_of_more_rows_than_a_resample_draws_are_as_wide_as_theory_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLED_ROWS", 200)
    terms = torch.randn(5_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = bootstrap_intervals(terms, torch.Generator().manual_seed(0), 4_000)
    assert float(high - low) == pytest.approx(2 * 1.96 * float(terms.std()) / math.sqrt(5_000), rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_a_part_of_the_rows_lies_around_the_mean_of_all(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLED_ROWS", 200)
    terms = torch.randn(5_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = bootstrap_intervals(terms, torch.Generator().manual_seed(seed), 4_000)
    assert float((low + high) / 2 - terms.mean()) == pytest.approx(0, abs=0.1 * float(high - low) / 2)


def test_bootstrap_intervals_hold_the_mean_even_of_equal_terms_and_of_one_resample() -> None:
    equal = torch.full((7, 1), 0.1, dtype=torch.float64)
    for terms in (equal, torch.arange(5.0)[:, None]):
        low, high = bootstrap_intervals(terms, torch.Generator().manual_seed(0), resamples=1)
        assert low <= terms.double().mean() <= high


def test_bootstrap_intervals_of_one_sample_are_undefined() -> None:
    low, high = bootstrap_intervals(torch.ones(1, 3), torch.Generator())
    assert bool(low.isnan().all())
    assert bool(high.isnan().all())
