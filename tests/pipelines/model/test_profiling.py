"""The profile of a training: bins, parts of the map and windows, by hand and by loops."""

import numpy as np
import pytest
from scipy import ndimage

from pipelines.errors import DatasetError
from pipelines.model.profile import (
    AssignedRows,
    Bins,
)
from pipelines.model.profiling import map_regions, training_profile
from tests.pipelines.model.profiled import GRID, NAN, rows


def test_features_are_cut_into_tenths_of_the_training_rows() -> None:
    bins = training_profile(GRID, rows()).features["a"].bins
    assert bins.counts == (40,) * 10
    assert bins.edges == tuple(np.sort(rows().features["a"])[39:399:40])


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        ([0] * 8 + [1, 2], (0, 1), (8, 1, 1)),  # most rows at the least value
        ([0, 1] + [2] * 8, (0, 1), (1, 1, 8)),  # at the greatest
        ([0] * 19 + [1], (0,), (19, 1)),  # a switch that was nearly always off
        ([1] * 19 + [0], (0,), (1, 19)),
        ([3] * 20, (), (20,)),
    ],
)
def test_values_that_many_rows_share_are_one_bin_and_none_is_empty(
    values: list[int], edges: tuple[int, ...], counts: tuple[int, ...]
) -> None:
    n = len(values)
    flat = AssignedRows({"v": np.array(values)}, np.zeros(n), np.ones(n))  # type: ignore[arg-type]  # floats will do
    assert training_profile(GRID, flat).features["v"].bins == Bins(edges=edges, counts=counts)


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_the_map_hold_enough_hits_each_and_are_one_piece(seed: int) -> None:
    hits = np.random.default_rng(seed).poisson(np.random.default_rng(seed).gamma(0.3, 20, (25, 15)))
    regions = map_regions(hits).reshape(25, 15)
    labels = np.unique(regions)
    assert labels.tolist() == list(range(len(labels)))
    assert 8 <= len(labels) <= 20
    for label in labels:
        assert hits[regions == label].sum() >= 0.05 * hits.sum()
        assert ndimage.label(regions == label)[1] == 1


def test_a_map_whose_hits_all_fall_on_one_neuron_is_one_part() -> None:
    hits = np.zeros((3, 3), dtype=np.int64)
    hits[1, 1] = 50
    assert map_regions(hits).tolist() == [0] * 9


def test_parts_are_cut_where_the_hits_are_halved_across_the_longer_side() -> None:
    hits = np.array([[10, 0, 0, 0, 10], [10, 0, 0, 0, 10]])
    corners = map_regions(hits).reshape(2, 5)[:, [0, -1]]
    assert len(np.unique(corners)) == 4


def test_windows_of_training_say_what_is_usual() -> None:
    training = rows(128)
    profile = training_profile(GRID, training)
    usual = profile.usual["mean/a"]
    assert usual.sizes == (1, 4, 16)
    assert usual.windows == (100, 32, 8)
    a = training.features["a"]
    means = [(a[start : start + 16].mean() - a.mean()) / a.std() for start in range(0, 128, 16)]
    assert usual.means[2] == pytest.approx(np.mean(means))
    assert usual.variances[2] == pytest.approx(np.var(means, ddof=1))


def test_without_held_out_rows_the_training_rows_stand_in() -> None:
    assert training_profile(GRID, rows(), rows()[:0]) == training_profile(GRID, rows(), rows())


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (rows(7), "a drift profile needs at least 8 training rows, got 7"),
        (AssignedRows({"v": np.full(9, NAN)}, np.zeros(9, dtype=int), np.ones(9)), "got none of v"),
        (
            AssignedRows({}, np.full(9, -1), np.full(9, NAN)),
            "a drift profile needs rows with a nearest neuron, got none",
        ),
        (AssignedRows({}, np.zeros(9, dtype=int), np.ones(9), {"y": np.full(9, NAN)}), "of each target, got none of y"),
    ],
)
def test_training_that_says_nothing_is_refused(training: AssignedRows, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        training_profile(GRID, training)


def test_answers_are_usual_by_the_windows_of_held_out_rows() -> None:
    training, heldout = rows(400, 0), rows(160, 1)
    usual = training_profile(GRID, training, heldout).usual["error_ratio"]
    assert usual.sizes == (1, 4, 16, 20)
    windows = [heldout.distance[start : start + 20].mean() for start in range(0, 160, 20)]
    ratios = np.array(windows) / heldout.distance.mean()
    assert usual.means[-1] == pytest.approx(ratios.mean())
    assert usual.variances[-1] == pytest.approx(ratios.var(ddof=1))


def test_far_is_what_99_of_100_held_out_rows_stay_below() -> None:
    training, heldout = rows(400), rows(300, seed=1)
    shares = np.random.default_rng(2).permutation(300) / 299  # 0 to 1 in equal steps
    apart = AssignedRows(heldout.features, heldout.winner, 10 * shares, heldout.predictions)
    assert training_profile(GRID, training, apart).far == pytest.approx(9.9)


def test_what_is_usual_of_a_share_is_the_size_of_its_change_whichever_way() -> None:
    training = rows(128)
    usual = training_profile(GRID, training).usual["missing/b"]
    gaps = np.isnan(training.features["b"])
    changes = [gaps[start : start + 16].mean() - gaps.mean() for start in range(0, 128, 16)]
    assert usual.sizes[-1] == 16
    assert usual.means[-1] == pytest.approx(np.abs(changes).mean())
    assert usual.variances[-1] == pytest.approx(np.abs(changes).var(ddof=1))
