"""What `fit` makes of data under both training rules, against the rules written as plain loops."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from somlib import SOM
from somlib.core.scan import Scan
from somlib.core.trainer import EpochReport
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, KERNELS, Array, Lattice

D, EPOCHS, SIGMA = 3, 3, 3.5
RULES = ("batch", "minibatch")


class Training(NamedTuple):
    """A trained map, its start, and codebook and report after every epoch."""

    som: SOM
    start: Array
    codebooks: list[Array]
    reports: list[EpochReport]

    @property
    def end(self) -> Array:
        return self.codebooks[-1]


def samples(n: int = 60, d: int = D, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.linspace(0.5, 2, d) + np.linspace(-3, 5, d)


def with_gaps(data: Array) -> Array:
    """A third of the rows without one of their features."""
    data, rng = data.copy(), np.random.default_rng(9)
    for row in range(0, len(data), 3):
        data[row, rng.integers(data.shape[1])] = np.nan
    return data


def trained(data: NDArray[Any], lattice: Lattice = FOUR[0], start: Array | None = None, **settings: Any) -> Training:
    """Fit a map; one mini-batch holds all rows unless told otherwise, so that their order does not matter."""
    arguments = {
        "num_features": data.shape[1], "epochs": EPOCHS, "sigma": SIGMA, "batch_size": len(data), "device": "cpu",
        **lattice.arguments,
    }  # fmt: skip
    sample_weight = settings.pop("sample_weight", None)
    som = SOM(**{**arguments, **settings})
    if start is None:
        som.initialize_weights(data)
    else:
        som.initialize_from(torch.from_numpy(start).reshape(lattice.x, lattice.y, -1))
    begin = som.codebook.numpy().copy()
    codebooks: list[Array] = []
    reports: list[EpochReport] = []

    def keep(report: EpochReport) -> None:
        codebooks.append(som.codebook.numpy().copy())
        reports.append(report)

    som.fit(data, verbose=False, sample_weight=sample_weight, on_epoch=keep)
    return Training(som, begin, codebooks, reports)


# ---- the rules


@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_fit_follows_the_rule_and_reports_the_errors_of_each_codebook(
    lattice: Lattice, name: str, algorithm: str
) -> None:
    data = samples()
    sigma = 1.9 if name == "bubble" else SIGMA  # a bubble as wide as the torus makes all neurons equal
    run = trained(data, lattice, algorithm=algorithm, neighborhood_function=name, sigma=sigma, learning_rate=0.8)
    expected = run.start
    for t, codebook in enumerate(run.codebooks):
        kernel = oracle.kernel_matrix(lattice, name, oracle.asymptotic(sigma, t, EPOCHS))
        if algorithm == "batch":
            expected = oracle.batch_epoch(expected, data, kernel)
        else:
            expected = oracle.minibatch_update(expected, data, kernel, oracle.asymptotic(0.8, t, EPOCHS))
        expected = oracle.confined(expected, data) if name == "mexican_hat" else expected
        np.testing.assert_allclose(codebook, expected, rtol=1e-9, atol=1e-11)
        errors = (run.som.quantization_errors[t], run.som.topographic_errors[t])
        assert errors == pytest.approx(oracle.errors(expected, data, lattice), rel=1e-9)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine", "chebyshev"])
def test_fit_trains_by_the_winners_of_every_metric_with_feature_and_sample_weights(
    metric: str, algorithm: str, gaps: bool
) -> None:
    data = with_gaps(samples()) if gaps else samples()
    data[5] = np.nan if gaps else data[5]  # a row with nothing observed is left out
    factors, share = np.array([0.5, 2.0, 1.0]), [float(k % 4) for k in range(len(data))]
    run = trained(
        data, FOUR[1], algorithm=algorithm, distance_function=metric, feature_weights=factors, missing="mask",
        sample_weight=share,
    )  # fmt: skip
    expected = run.start
    for t in range(EPOCHS):
        kernel = oracle.kernel_matrix(FOUR[1], "gaussian", oracle.asymptotic(SIGMA, t, EPOCHS))
        if algorithm == "batch":
            expected = oracle.batch_epoch(expected, data, kernel, share, metric, factors)
        else:
            rate = oracle.asymptotic(0.5, t, EPOCHS)
            expected = oracle.minibatch_update(expected, data, kernel, rate, share, metric, factors)
        np.testing.assert_allclose(run.codebooks[t], expected, rtol=1e-9, atol=1e-11)
        errors = (run.som.quantization_errors[t], run.som.topographic_errors[t])
        assert errors == pytest.approx(oracle.errors(expected, data, FOUR[1], share, metric, factors), rel=1e-9)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("asymptotic_decay", [4, 4 / 1.5, 4 / 2, 4 / 2.5]),
        ("sig_inverse_decay_to_one", [4, 4 / 1.75, 4 / 2.5, 4 / 3.25]),
        ("sig_linear_decay_to_one", [4, 3.25, 2.5, 1.75]),
        ("sig_geometric_decay_to_one", [4, 4 ** (2 / 3), 4 ** (1 / 3), 1]),
    ],
)
@pytest.mark.parametrize("algorithm", RULES)
def test_each_epoch_uses_its_radius_by_the_schedule(algorithm: str, schedule: str, values: list[float]) -> None:
    run = trained(samples(), algorithm=algorithm, epochs=4, sigma=4.0, sigma_decay_function=schedule)
    assert [report.sigma for report in run.reports] == pytest.approx(values)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("asymptotic_decay", [0.6, 0.4, 0.3, 0.24]),
        ("lr_inverse_decay_to_zero", [0.6, 0.6 / 26, 0.6 / 51, 0.6 / 76]),
        ("lr_linear_decay_to_zero", [0.6, 0.45, 0.3, 0.15]),
    ],
)
def test_each_epoch_uses_its_learning_rate_by_the_schedule(schedule: str, values: list[float]) -> None:
    run = trained(samples(), epochs=4, learning_rate=0.6, lr_decay_function=schedule)
    assert [report.learning_rate for report in run.reports] == pytest.approx(values)


def test_a_learning_rate_means_nothing_to_the_batch_map() -> None:
    slow, fast = (trained(samples(), algorithm="batch", learning_rate=rate) for rate in (0.01, 5.0))
    np.testing.assert_array_equal(slow.end, fast.end)


# ---- batches


def batches_taken(monkeypatch: pytest.MonkeyPatch) -> list[list[int] | None]:
    """The rows of every batch from now on; None for all at once."""
    batches: list[list[int] | None] = []
    original = Scan.sums

    def sums(self: Scan, codebook: torch.Tensor, index: torch.Tensor | None = None) -> Any:
        batches.append(None if index is None else index.tolist())
        return original(self, codebook, index)

    monkeypatch.setattr(Scan, "sums", sums)
    return batches


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(59, [30, 30]), (13, [12] * 5), (8, [8] * 4 + [7] * 4), (1, [1] * 60)]
)
def test_batches_never_exceed_their_size_and_hold_every_row_once_an_epoch(
    batch_size: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = batches_taken(monkeypatch)
    trained(samples(), batch_size=batch_size)
    rows = [row for batch in batches for row in batch or []]
    assert [len(batch or []) for batch in batches] == sizes * EPOCHS
    epochs = [rows[t * 60 : (t + 1) * 60] for t in range(EPOCHS)]
    assert all(sorted(order) == list(range(60)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == EPOCHS  # shuffled anew


@pytest.mark.parametrize("batch_size", [60, 1_000])
def test_a_batch_of_all_rows_is_searched_once_an_epoch_with_the_errors(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = batches_taken(monkeypatch)
    trained(samples(), batch_size=batch_size)
    assert batches == [None]  # the search that measures an epoch gives the sums of the next


# ---- weights and missing values


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("algorithm", RULES)
def test_a_sample_weight_acts_like_so_many_copies(algorithm: str, gaps: bool) -> None:
    data = with_gaps(samples()) if gaps else samples()
    copies = np.arange(len(data)) % 4
    start = samples(20, seed=4)
    settings: dict[str, Any] = {"algorithm": algorithm, "missing": "mask", "start": start, "batch_size": 1_000}
    weighted = trained(data, sample_weight=copies, **settings)
    repeated = trained(np.repeat(data, copies, axis=0), **settings)
    for one, other in zip(weighted.codebooks, repeated.codebooks, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
    assert weighted.som.quantization_errors == pytest.approx(repeated.som.quantization_errors, rel=1e-9)
    assert weighted.som.topographic_errors == pytest.approx(repeated.som.topographic_errors, rel=1e-9)


def test_a_sample_weight_acts_like_copies_also_where_the_start_is_as_near_to_rows_from_several_neurons() -> None:
    """Rows of whole numbers, and neurons that are such rows: many have two nearest neurons at first."""
    data = np.random.default_rng(3).integers(0, 4, (60, D)).astype(float)
    copies, start = np.arange(60) % 4, data[:20]
    assert np.mean([len(set(np.sort(((row - start) ** 2).sum(axis=1))[:2])) == 1 for row in data]) > 0.2
    settings: dict[str, Any] = {"algorithm": "batch", "start": start}
    weighted = trained(data, sample_weight=copies, **settings)
    repeated = trained(np.repeat(data, copies, axis=0), **settings)
    np.testing.assert_allclose(weighted.codebooks[0], repeated.codebooks[0], rtol=1e-9, atol=1e-11)


def test_equal_sample_weights_change_nothing_whatever_their_size() -> None:
    plain = trained(samples(), batch_size=7)
    for scale in (1e-3, 1.0, 1e3):
        scaled = trained(samples(), batch_size=7, sample_weight=np.full(60, scale))
        np.testing.assert_allclose(scaled.end, plain.end, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("algorithm", RULES)
def test_a_feature_is_trained_by_the_samples_that_have_it(algorithm: str) -> None:
    """The last feature decides no winner, so its gaps cannot matter to anything but itself."""
    data = samples()
    gaps = data.copy()
    gaps[::3, 2] = np.nan
    start = samples(20, seed=4)
    settings: dict[str, Any] = {"algorithm": algorithm, "feature_weights": [1.0, 1.0, 0.0], "start": start}
    full, holed = trained(data, **settings), trained(gaps, missing="mask", **settings)
    np.testing.assert_allclose(holed.end[:, :2], full.end[:, :2], rtol=1e-10, atol=1e-12)
    have = ~np.isnan(gaps[:, 2])
    expected = start
    for t in range(EPOCHS):
        kernel = oracle.kernel_matrix(FOUR[0], "gaussian", oracle.asymptotic(SIGMA, t, EPOCHS))
        winners = [oracle.ranked(sample, full.codebooks[t - 1] if t else start, factors=np.array([1.0, 1, 0]))[0]
                   for sample in data[have]]  # fmt: skip
        pull = kernel[:, winners]
        mean = pull @ data[have, 2] / pull.sum(axis=1)
        step = 1.0 if algorithm == "batch" else oracle.asymptotic(0.5, t, EPOCHS) * pull.mean(axis=1)
        expected = expected.copy()
        expected[:, 2] += step * (mean - expected[:, 2])
    np.testing.assert_allclose(holed.end[:, 2], expected[:, 2], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("algorithm", RULES)
def test_rows_without_a_winner_have_no_part_in_training(algorithm: str) -> None:
    data, start = samples(), samples(20, seed=4)
    nothing, zeros = np.full((7, D), np.nan), np.zeros((7, D))
    settings: dict[str, Any] = {"algorithm": algorithm, "start": start, "batch_size": 1_000}
    for idle, changed in ((nothing, {"missing": "mask"}), (zeros, {"distance_function": "cosine"})):
        alone = trained(data, **{**settings, **changed})
        joined = trained(np.concatenate((idle, data)), **{**settings, **changed})
        np.testing.assert_allclose(joined.end, alone.end, rtol=1e-9, atol=1e-11)
        assert joined.som.quantization_errors == pytest.approx(alone.som.quantization_errors)


# ---- what no training may do


@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_a_mexican_hat_never_leaves_the_neighborhood_of_the_data(lattice: Lattice, algorithm: str) -> None:
    data = samples(60)
    low, high = data.min(axis=0), data.max(axis=0)
    for settings in (
        {"epochs": 100, "learning_rate": 0.5},
        {
            "epochs": 30,
            "learning_rate": 40.0,
            "batch_size": 20,
            "sigma": 1.0,
            "sigma_decay_function": "sig_linear_decay_to_one",
        },
    ):
        run = trained(data, lattice, algorithm=algorithm, neighborhood_function="mexican_hat", **settings)
        assert np.isfinite(run.som.quantization_errors).all()
        assert (run.end >= low - (high - low) - 1e-9).all()
        assert (run.end <= high + (high - low) + 1e-9).all()


@pytest.mark.parametrize("forgetting_factor", [0.5, 1.0])
def test_a_mexican_hat_stays_near_all_data_it_was_told_in_parts(forgetting_factor: float) -> None:
    data = samples(60).astype(np.float32)
    som = SOM(6, 6, D, neighborhood_function="mexican_hat", algorithm="batch", device="cpu")
    som.fit(data, verbose=False)
    for part in range(40):
        som.partial_fit(data[part % 15 :: 15], forgetting_factor=forgetting_factor)
        reach = data.max(axis=0) - data.min(axis=0)
        assert (som.codebook.numpy() >= data.min(axis=0) - reach - 1e-4).all()
        assert (som.codebook.numpy() <= data.max(axis=0) + reach + 1e-4).all()


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0, 1e4])
@pytest.mark.parametrize("name", ["gaussian", "bubble", "triangle"])
def test_no_learning_rate_carries_neurons_out_of_the_data(name: str, rate: float) -> None:
    data = samples()
    run = trained(data, neighborhood_function=name, learning_rate=rate, batch_size=5, epochs=20)
    assert (run.end >= data.min(axis=0) - 1e-9).all()
    assert (run.end <= data.max(axis=0) + 1e-9).all()


def test_the_highest_learning_rate_on_one_batch_is_the_batch_map() -> None:
    highest, batch = trained(samples(), learning_rate=1e9), trained(samples(), algorithm="batch")
    np.testing.assert_allclose(highest.end, batch.end, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("name", ["bubble", "triangle"])
def test_neurons_out_of_reach_of_every_winner_keep_their_weights(name: str, algorithm: str) -> None:
    lattice = Lattice(1, 9, False, False)
    start = np.arange(9.0)[:, None] * np.ones(D)
    run = trained(
        np.full((30, D), 0.2), lattice, start, algorithm=algorithm, neighborhood_function=name, sigma=2.0, epochs=1
    )
    np.testing.assert_array_equal(run.end[3:], start[3:])
    assert (np.abs(run.end[:2] - start[:2]) > 0.01).all()


# ---- what must not matter


@pytest.mark.parametrize(
    "settings", [{"algorithm": "batch"}, {"batch_size": 6}, {"initialization_mode": "pca"}], ids=str
)
@pytest.mark.parametrize("name", ["gaussian", "mexican_hat"])
def test_an_offset_of_the_data_moves_the_map_and_nothing_else(name: str, settings: dict[str, Any]) -> None:
    data = np.round(samples(200) * 64) / 64  # so that neither type rounds the data itself
    for dtype, offset, tolerance in ((np.float64, 1e6, 1e-8), (np.float32, 1e3, 2e-3)):
        settings = {**settings, "neighborhood_function": name, "epochs": 10}
        still, moved = (trained((data + by).astype(dtype), **settings) for by in (0.0, offset))
        np.testing.assert_allclose(moved.end.astype(np.float64) - offset, still.end, rtol=0, atol=tolerance)
        np.testing.assert_allclose(moved.som.quantization_errors, still.som.quantization_errors, rtol=tolerance)


@pytest.mark.parametrize("algorithm", RULES)
def test_float32_differs_from_float64_by_rounding_only(algorithm: str) -> None:
    data = samples(200).astype(np.float32)
    single = trained(data, algorithm=algorithm, batch_size=20)
    double = trained(data.astype(np.float64), algorithm=algorithm, batch_size=20)
    assert (single.som.weights.dtype, double.som.weights.dtype) == (torch.float32, torch.float64)
    np.testing.assert_allclose(single.end, double.end, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("name", ["gaussian", "mexican_hat"])  # the others make equal neurons, and ties go by index
@pytest.mark.parametrize("lattice", [grid for grid in FOUR if grid.pbc], ids=str)
def test_rolling_the_start_of_a_torus_rolls_the_trained_map(lattice: Lattice, name: str, algorithm: str) -> None:
    data, start = samples(), samples(lattice.m, seed=4)

    def rolled(codebook: Array) -> Array:
        return np.roll(codebook.reshape(lattice.x, lattice.y, D), (2, 3), axis=(0, 1)).reshape(-1, D)

    settings: dict[str, Any] = {"algorithm": algorithm, "neighborhood_function": name}
    still = trained(data, lattice, start, **settings)
    moved = trained(data, lattice, rolled(start), **settings)
    np.testing.assert_allclose(moved.end, rolled(still.end), rtol=1e-9, atol=1e-11)


def test_training_makes_a_map_that_fits_and_is_ordered() -> None:
    """Uniform data on a square: neighbors must end next to each other, closer to the data than a random start."""
    square = np.random.default_rng(0).random((900, 2))
    for algorithm in RULES:
        run = trained(square, Lattice(8, 8, False, False), algorithm=algorithm, epochs=10, batch_size=15, sigma=3.0)
        assert run.som.quantization_errors[-1] < 0.08  # 64 squares of side 1 / 8 have a mean radius of 0.048
        assert run.som.topographic_errors[-1] < 0.1
