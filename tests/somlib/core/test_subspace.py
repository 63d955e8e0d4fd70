"""Coordinates on the leading axes, against scikit-learn's principal components and plain algebra."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from somlib import SOM
from somlib.core import batch_steps
from somlib.core.rule import TrainingSet
from somlib.core.subspace import AXES, FEWEST_FEATURES, Subspace
from somlib.utils.training import WinnerSums

D = FEWEST_FEATURES


def rows_of(n: int = 900, rank: int = 6, noise: float = 0.01, d: int = D) -> TrainingSet:
    rng = np.random.default_rng(2)
    data = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + noise * rng.normal(size=(n, d)) + 5
    samples = torch.from_numpy(data)
    return TrainingSet(samples, None, samples.mean(dim=0), incomplete=False)


def subspace_of(rows: TrainingSet) -> Subspace:
    return Subspace.of(rows, torch.Generator().manual_seed(1))


def test_the_axes_are_orthonormal_and_hold_the_principal_components() -> None:
    rows = rows_of()
    axes = subspace_of(rows).axes.numpy()
    np.testing.assert_allclose(axes.T @ axes, np.eye(AXES), atol=1e-12)
    components = PCA(6).fit(rows.data.numpy()).components_
    np.testing.assert_allclose(np.linalg.norm(components @ axes, axis=1), 1, atol=1e-4)


def test_distances_among_rows_are_kept_but_for_what_the_axes_do_not_hold() -> None:
    rows = rows_of(noise=0.0)
    low = subspace_of(rows).rows(rows).data
    assert low.shape == (900, AXES)
    np.testing.assert_allclose(pdist(low.numpy()), pdist(rows.data.numpy()), rtol=1e-6)


def test_a_codebook_and_sums_come_back_where_they_lie_on_the_axes() -> None:
    rows = rows_of(noise=0.0)
    subspace = subspace_of(rows)
    codebook = rows.data[:20]
    torch.testing.assert_close(subspace.features(subspace.coordinates(codebook)), codebook)
    count = torch.arange(20.0, dtype=torch.float64)[:, None]
    sums = WinnerSums(torch.cat((count * (codebook - rows.center), count), dim=1), rows.center)
    there = subspace.sums_in(sums)
    torch.testing.assert_close(there.total, count * subspace.coordinates(codebook))
    assert torch.equal(there.count, count)
    back = subspace.sums_out(there)
    torch.testing.assert_close(back.values, sums.values)
    assert torch.equal(back.center, rows.center)


def test_a_map_of_wide_data_is_as_good_as_one_that_never_left_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows_of(3_000, noise=0.3).data.float()
    errors = []
    for fewest in (D, D + 1):
        monkeypatch.setattr(batch_steps, "FEWEST_FEATURES", fewest)
        qe, te = SOM(12, 9, D, random_seed=3, preset="fast", device="cpu").fit(data, verbose=False)
        errors.append((qe[-1], te[-1]))
    narrow, wide = errors
    assert narrow != wide  # the two ways were two
    assert narrow[0] / wide[0] < 1.01
    assert narrow[1] - wide[1] < 0.02


def test_signed_kernels_weights_and_gaps_stay_on_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("went to the axes")

    monkeypatch.setattr(Subspace, "of", refuse)
    data = rows_of(2_500).data.float()
    gaps = data.clone()
    gaps[5, 3] = float("nan")
    cases: list[tuple[dict[str, Any], torch.Tensor]] = [
        ({"neighborhood_function": "mexican_hat"}, data),
        ({"feature_weights": [1.0] * D}, data),
        ({"missing": "mask"}, gaps),
    ]
    for settings, samples in cases:
        som = SOM(6, 5, D, random_seed=3, preset="fast", device="cpu", **settings)
        assert np.isfinite(som.fit(samples, verbose=False)[0]).all()
    with pytest.raises(AssertionError, match="went to the axes"):
        SOM(6, 5, D, random_seed=3, preset="fast", device="cpu").fit(data, verbose=False)
