"""Training and going on: what `fit` and `partial_fit` promise beside the rules."""

import logging
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import Tensor

from somlib import SOM
from somlib.core import trainer
from somlib.core.trainer import EpochReport
from somlib.errors import (
    ArgumentError,
    DataError,
    DataTypeError,
    ShapeError,
    SomlibError,
)
from somlib.utils import torch_search
from somlib.utils.heuristics import FEWEST_ROWS, SHORT_STEPS
from tests.somlib import oracle
from tests.somlib.core.small_maps import LATTICE, fitted, new_map, samples
from tests.somlib.oracle import Array

Call = Callable[[], object]
RULES = ("batch", "minibatch")
TO_ONE = "sig_geometric_decay_to_one"


def reports_of(som: SOM, data: Tensor) -> list[EpochReport]:
    reports: list[EpochReport] = []
    som.fit(data, verbose=False, on_epoch=reports.append)
    return reports


# ---- short steps of the batch map


def test_a_batch_epoch_of_many_rows_is_made_of_short_steps_unless_asked_otherwise() -> None:
    data = samples(FEWEST_ROWS)
    left_open, short, whole = (
        fitted(data, algorithm="batch", epochs=2, steps_per_epoch=steps) for steps in (None, SHORT_STEPS, 1)
    )
    assert torch.equal(left_open.weights, short.weights)
    assert not torch.equal(left_open.weights, whole.weights)


@pytest.mark.parametrize("why", ["few rows", "weights", "a narrow radius"])
def test_a_batch_epoch_is_one_step_where_short_ones_save_nothing_or_rows_count_differently(why: str) -> None:
    data = samples(FEWEST_ROWS - 1 if why == "few rows" else FEWEST_ROWS)
    weight = torch.linspace(1, 2, len(data)) if why == "weights" else None
    maps = [
        new_map(algorithm="batch", epochs=2, steps_per_epoch=steps, sigma=0.1 if why == "a narrow radius" else None)
        for steps in (None, 1, SHORT_STEPS)
    ]
    for som in maps:
        som.fit(data, verbose=False, sample_weight=weight)
    left_open, whole, short = (som.weights for som in maps)
    assert torch.equal(left_open, whole)
    assert not torch.equal(left_open, short)


def test_short_steps_come_as_near_to_the_data_as_whole_ones() -> None:
    data = samples(4_000)
    settings: dict[str, Any] = {"algorithm": "batch", "epochs": 10, "x": 10, "y": 10, "sigma_decay_function": TO_ONE}
    short, whole = (fitted(data, steps_per_epoch=steps, **settings) for steps in (SHORT_STEPS, 1))
    assert short.quantization_errors[-1] < 1.03 * whole.quantization_errors[-1]
    assert short.topographic_errors[-1] < whole.topographic_errors[-1] + 0.03


@pytest.mark.parametrize("algorithm", RULES)
def test_the_radius_ends_at_the_final_one(algorithm: str) -> None:
    for final in (0.7, 1.0, 1.6):
        reports = reports_of(
            new_map(algorithm=algorithm, sigma=3.0, sigma_decay_function=TO_ONE, final_sigma=final), samples()
        )
        assert reports[-1].sigma == pytest.approx(final)
    left_alone = reports_of(new_map(algorithm=algorithm, sigma=3.0, final_sigma=0.2), samples())
    assert [report.sigma for report in left_alone] == pytest.approx([3.0, 3 / (1 + 2 / 3), 3 / (1 + 4 / 3)])


# ---- errors and reports


@pytest.mark.parametrize("algorithm", RULES)
def test_fit_returns_one_pair_of_errors_an_epoch_the_last_of_the_map_it_leaves(algorithm: str) -> None:
    som = new_map(algorithm=algorithm, epochs=4)
    quantization, topographic = som.fit(samples(), verbose=False)
    assert [len(quantization), len(topographic)] == [4, 4]
    assert all(type(error) is float for error in quantization + topographic)
    assert (som.quantization_errors, som.topographic_errors) == (quantization, topographic)
    expected = oracle.errors(som.codebook.numpy(), samples().numpy(), LATTICE)
    assert (quantization[-1], topographic[-1]) == pytest.approx(expected, rel=1e-9)
    assert som.quantization_error(samples()) == pytest.approx(expected[0], rel=1e-9)
    assert som.topographic_error(samples()) == expected[1]


@pytest.mark.parametrize("algorithm", RULES)
def test_errors_of_many_rows_are_of_one_fixed_sample_and_the_last_of_all(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 50)
    data = samples(400)
    som = new_map(algorithm=algorithm, learning_rate=1e-12, sigma=30.0, sigma_decay_function="sig_linear_decay_to_one")
    som.initialize_weights(data)
    codebooks: list[Array] = []
    quantization, _ = som.fit(data, verbose=False, on_epoch=lambda _: codebooks.append(som.codebook.numpy().copy()))
    of_all = [oracle.errors(codebook, data.numpy(), LATTICE)[0] for codebook in codebooks]
    assert quantization[-1] == pytest.approx(of_all[-1], rel=1e-9)
    assert all(abs(one - other) > 1e-6 for one, other in zip(quantization[:-1], of_all[:-1], strict=True))
    assert quantization[:-1] == pytest.approx(of_all[:-1], rel=0.2)
    if algorithm == "minibatch":  # the map stands still, so equal errors mean equal rows
        assert quantization[0] == pytest.approx(quantization[1], rel=1e-9)


def test_the_rows_measured_are_not_those_that_the_map_started_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stream of random numbers for both would put a neuron on every measured row."""
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 20)
    quantization, _ = new_map(learning_rate=1e-12).fit(samples(400), verbose=False)
    assert quantization[0] == pytest.approx(quantization[-1], rel=0.3)


def test_on_epoch_sees_the_weights_of_its_epoch_and_may_stop_the_training() -> None:
    som, seen = new_map(epochs=5), []

    def stop_after_the_third(report: EpochReport) -> None:
        seen.append((report.epoch, report.epochs, report.quantization_error, som.quantization_error(samples())))
        if report.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        som.fit(samples(), verbose=False, on_epoch=stop_after_the_third)
    assert [(epoch, epochs) for epoch, epochs, _, _ in seen] == [(0, 5), (1, 5), (2, 5)]
    assert [reported for *_, reported, _ in seen] == pytest.approx([measured for *_, measured in seen], rel=1e-9)
    assert som.quantization_errors == [reported for *_, reported, _ in seen]
    assert som.identify_bmus(samples()).shape == (60, 2)


def test_topographic_error_of_a_single_neuron_is_not_a_number() -> None:
    for algorithm in RULES:
        som = new_map(x=1, y=1, topology="rectangular", algorithm=algorithm)
        quantization, topographic = som.fit(samples(), verbose=False)
        assert np.isnan(topographic).all()
        assert np.isfinite(quantization).all()
    torch.testing.assert_close(som.codebook[0], samples().mean(dim=0), rtol=0, atol=1.0)


@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 1), (30, 1)])
def test_the_smallest_data_trains_a_finite_map(n: int, d: int, algorithm: str) -> None:
    som = SOM(device="cpu", algorithm=algorithm, epochs=2)
    som.fit(samples(n, d), verbose=False)
    assert bool(torch.isfinite(som.weights).all())
    assert som.weights.shape[2] == d


def test_the_progress_bar_is_shown_on_standard_error_and_only_when_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    new_map().fit(samples(), verbose=False)
    assert capsys.readouterr() == ("", "")
    new_map().fit(samples())
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err


# ---- going on


def test_a_second_fit_goes_on_with_its_schedules_anew_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    som = new_map(epochs=4, sigma=3.0)
    with caplog.at_level(logging.INFO, logger="somlib"):
        first = reports_of(som, samples())
        assert "goes on" not in caplog.text
        second = reports_of(som, samples())
    assert "goes on from the present weights" in caplog.text
    assert [report.sigma for report in first] == [report.sigma for report in second]
    assert [report.learning_rate for report in first] == [report.learning_rate for report in second]
    assert len(som.quantization_errors) == 4
    restarted = fitted(epochs=4, sigma=3.0)
    assert not torch.equal(som.weights, restarted.weights)


def test_a_second_fit_shuffles_anew() -> None:
    def second(seen_before: int) -> Tensor:
        som = new_map(batch_size=5, epochs=1)
        for _ in range(seen_before):
            som.fit(samples(), verbose=False)
        som.initialize_weights(samples())
        som.fit(samples(), verbose=False)
        return som.weights

    assert not torch.equal(second(0), second(1))
    assert torch.equal(second(1), second(1))


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("algorithm", RULES)
def test_partial_fit_is_one_epoch_at_the_last_schedule_values_or_the_first_of_a_new_map(
    algorithm: str, before: int
) -> None:
    settings: dict[str, Any] = {"algorithm": algorithm, "sigma": 3.0, "learning_rate": 0.8, "batch_size": 1_000}
    som = fitted(**settings) if before else new_map(**settings)
    if not before:
        som.initialize_weights(samples())
    sigma, rate = (3.0 / (1 + 2 / 1.5), 0.8 / (1 + 2 / 1.5)) if before else (3.0, 0.8)
    expected = som.codebook.numpy().copy()
    for part in (samples(30, seed=7), samples(25, seed=8)):
        kernel = oracle.kernel_matrix(LATTICE, "gaussian", sigma)
        if algorithm == "batch":
            expected = oracle.batch_epoch(expected, part.numpy(), kernel)
        else:
            expected = oracle.minibatch_update(expected, part.numpy(), kernel, rate)
        errors = som.partial_fit(part)
        np.testing.assert_allclose(som.codebook.numpy(), expected, rtol=1e-9, atol=1e-11)
        measured = oracle.errors(expected, part.numpy(), LATTICE)
        assert [*errors[0], *errors[1]] == pytest.approx(measured)


def test_partial_fit_of_a_new_map_starts_it() -> None:
    begun, fresh = new_map(), new_map()
    begun.initialize_weights(samples())
    begun.partial_fit(samples())
    fresh.partial_fit(samples())
    assert torch.equal(begun.weights, fresh.weights)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_partial_fit_with_forgetting_takes_the_means_of_faded_and_new_sums(
    factor: float, algorithm: str, gaps: bool
) -> None:
    som = fitted(samples(40), algorithm=algorithm, sigma=3.0, missing="mask")
    weights = som.codebook.numpy().copy()
    sums, counts = oracle.sums_by_winner(weights, samples(40).numpy())
    kernel = oracle.kernel_matrix(LATTICE, "gaussian", 3.0 / (1 + 2 / 1.5))
    for seed in (7, 8):
        part = samples(40, seed=seed) + 0.3
        part[::4, 1] = torch.nan if gaps else 0.0
        share = [float(k % 3) for k in range(40)]
        errors = som.partial_fit(part, forgetting_factor=factor, sample_weight=share)
        new_sums, new_counts = oracle.sums_by_winner(weights, part.numpy(), share)
        sums, counts = factor * sums + new_sums, factor * counts + new_counts
        weights = oracle.smoothed_means(weights, sums, counts, kernel)
        np.testing.assert_allclose(som.codebook.numpy(), weights, rtol=1e-9, atol=1e-11)
        measured = oracle.errors(weights, part.numpy(), LATTICE, share)
        assert [*errors[0], *errors[1]] == pytest.approx(measured)


def test_partial_fit_with_forgetting_on_a_new_map_is_a_batch_epoch() -> None:
    som, data = new_map(sigma=3.0), samples()
    som.initialize_weights(data)
    expected = oracle.batch_epoch(som.codebook.numpy(), data.numpy(), oracle.kernel_matrix(LATTICE, "gaussian", 3.0))
    som.partial_fit(data, forgetting_factor=0.9)
    np.testing.assert_allclose(som.codebook.numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("factor", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_forgetting_factor_outside_of_zero_to_one_is_refused(factor: float) -> None:
    som = fitted()
    before = som.weights.clone()
    with pytest.raises(ArgumentError, match=r"forgetting_factor must lie in \[0, 1\], got"):
        som.partial_fit(samples(), forgetting_factor=factor)
    assert torch.equal(som.weights, before)


# ---- the same each time, and nothing else touched


@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("mode", ["random", "pca"])
def test_one_seed_gives_bit_identical_maps_and_another_seed_another_map(mode: str, algorithm: str) -> None:
    def run(seed: int) -> Tensor:
        som = new_map(random_seed=seed, initialization_mode=mode, algorithm=algorithm, batch_size=7)
        som.fit(samples().float(), verbose=False)
        som.partial_fit(samples(20, seed=5).float())
        return som.weights

    assert torch.equal(run(3), run(3))
    if mode == "random" or algorithm == "minibatch":
        assert not torch.equal(run(3), run(4))


def test_new_maps_of_one_seed_hold_the_same_finite_random_weights() -> None:
    one, same, other = (new_map(num_features=3, random_seed=seed) for seed in (1, 1, 2))
    assert bool(torch.isfinite(one.weights).all())
    assert torch.equal(one.weights, same.weights)
    assert not torch.equal(one.weights, other.weights)
    assert one.identify_bmus(samples()).shape == (60, 2)


@pytest.mark.parametrize("algorithm", RULES)
def test_the_global_random_state_is_neither_moved_nor_read(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 10)  # the sample of measured rows is drawn too

    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())]  # noqa: NPY002

    maps = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = states()
        som = SOM(device="cpu", algorithm=algorithm, epochs=2)
        som.initialize_weights(samples(), "random")
        som.fit(samples(), verbose=False)
        som.partial_fit(samples())
        som.partial_fit(samples(), forgetting_factor=0.5)
        assert states() == before
        maps.append(som.weights)
    assert torch.equal(*maps)


@pytest.mark.parametrize("algorithm", RULES)
def test_chunks_of_any_size_give_the_same_map(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = samples(700).float()
    settings: dict[str, Any] = {"algorithm": algorithm, "batch_size": 350}
    whole = fitted(data, **settings)
    monkeypatch.setattr(torch_search, "CHUNK_ENTRIES", {"cpu": 1})
    chunked = fitted(data, **settings)
    torch.testing.assert_close(chunked.weights, whole.weights, rtol=1e-5, atol=1e-5)
    assert chunked.quantization_errors == pytest.approx(whole.quantization_errors, rel=1e-5)


def test_data_of_any_kind_trains_the_same_map_and_is_not_changed() -> None:
    array = samples().numpy()
    reference = fitted().weights
    columns = ["a", "b", "c"]
    for data in (array, pl.DataFrame(array, schema=columns), pd.DataFrame(array, columns=columns), array.tolist()):
        som = new_map()
        som.fit(data, verbose=False)
        torch.testing.assert_close(som.weights.double(), reference, rtol=1e-4, atol=1e-4)
        assert som.feature_names == (columns if hasattr(data, "columns") else None)
    np.testing.assert_array_equal(array, samples().numpy())


def test_a_map_takes_the_type_of_its_data_and_stays_double_once_it_is() -> None:
    som = fitted(samples().float())
    assert som.weights.dtype == torch.float32
    som.fit(samples(), verbose=False)
    assert som.weights.dtype == torch.float64
    som.partial_fit(samples().float())
    som.partial_fit(samples().float(), forgetting_factor=0.5)
    assert som.weights.dtype == torch.float64


# ---- the live codebook


@pytest.mark.parametrize("write", ["copy_", "data", "index"])
def test_what_is_written_into_the_weights_is_what_every_later_call_uses(write: str) -> None:
    som, data = fitted(), samples()
    som.identify_bmus(data)  # whatever a search might keep is kept now
    weights = samples(20, seed=9).reshape(5, 4, 3)
    if write == "copy_":
        som.weights.data.copy_(weights)
    elif write == "data":
        som.weights.data = weights
    else:
        som.weights[:] = weights
    flat = weights.flatten(0, 1).numpy()
    expected = [list(divmod(oracle.ranked(sample, flat)[0], 4)) for sample in data.numpy()]
    assert som.identify_bmus(data).tolist() == expected
    errors = (som.quantization_error(data), som.topographic_error(data))
    assert errors == pytest.approx(oracle.errors(flat, data.numpy(), LATTICE), rel=1e-9)
    kernel = oracle.kernel_matrix(LATTICE, "gaussian", som.sigma or 0)
    batch = new_map(algorithm="batch", epochs=1)
    batch.initialize_weights(data)
    batch.weights.data = weights
    batch.fit(data, verbose=False)
    np.testing.assert_allclose(batch.codebook.numpy(), oracle.batch_epoch(flat, data.numpy(), kernel), rtol=1e-9)


# ---- refusals


def refused_data() -> list[tuple[str, Any, dict[str, Any], type[SomlibError], str]]:
    """Name, data, settings, error and its message."""
    good, gap, infinite = samples(), samples(), samples()
    gap[4, 1], infinite[2, 0] = torch.nan, torch.inf
    text = pd.DataFrame({"a": [1.0], "b": ["x"]})
    fails: list[tuple[str, Any, dict[str, Any], type[SomlibError], str]] = [
        ("empty", torch.empty(0, 3), {}, DataError, "data must not be empty"),
        ("no features", torch.empty(3, 0), {}, DataError, "data must not be empty"),
        ("one sample", good[0], {"num_features": 3}, ShapeError, r"data must have shape \(n, 3\), got \(3,\)"),
        ("wrong width", good[:, :2], {"num_features": 3}, ShapeError, "data must have 3 features"),
        ("gap", gap, {}, DataError, r"got nan at row 4, column 1 \(1 such value\)"),
        ("infinity", infinite, {"missing": "mask"}, DataError, "got inf at row 2, column 0"),
        ("text", text, {}, DataTypeError, "column 'b'"),
        ("none", None, {}, DataTypeError, "data must be"),
        ("complex", good.to(torch.complex64), {}, DataTypeError, "real numbers"),
        ("nothing observed", good * torch.nan, {"missing": "mask"}, DataError, "none in 60 rows"),
        ("zero vectors", good * 0, {"distance_function": "cosine"}, DataError, "none in 60 rows"),
        ("feature weights", good, {"feature_weights": [1.0, 2.0]}, ArgumentError, "must have 3 values"),
    ]
    on_zeros = good.clone()
    on_zeros[:, 0] = 0
    cosine = {"distance_function": "cosine", "feature_weights": [1.0, 0.0, 0.0]}
    return [*fails, ("zero where it counts", on_zeros, cosine, DataError, "none in 60 rows")]


@pytest.mark.parametrize(
    ("data", "settings", "error", "message"), [pytest.param(*case[1:], id=case[0]) for case in refused_data()]
)
def test_refused_data_changes_nothing_on_a_new_map(
    data: Any, settings: dict[str, Any], error: type[SomlibError], message: str
) -> None:
    som = new_map(**settings)
    calls: list[Call] = [lambda: som.fit(data, verbose=False), lambda: som.partial_fit(data)]
    for call in calls:
        with pytest.raises(error, match=message):
            call()
        assert (som.initialized, som.num_features, som.batch_size) == (False, settings.get("num_features"), None)
        assert (som.quantization_errors, som.topographic_errors, som.feature_names) == ([], [], None)
    if "feature_weights" not in settings:
        twin = new_map(**settings)
        som.fit(samples(), verbose=False)
        twin.fit(samples(), verbose=False)
        assert torch.equal(som.weights, twin.weights)  # the next training is as if nothing had happened


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (torch.ones(59), ShapeError, r"sample_weight must have shape \(60,\), got \(59,\)"),
        (-torch.ones(60), DataError, "sample_weight must be finite and not negative"),
        (torch.full((60,), torch.nan), DataError, "sample_weight must be finite and not negative"),
        (torch.zeros(60), DataError, "sample_weight must not be 0 for every sample"),
        (torch.arange(60) >= 30, DataError, "none in 60 rows"),  # the rows that count have no value
    ],
)
def test_refused_calls_change_nothing_on_a_trained_map(weight: Tensor, error: type[SomlibError], message: str) -> None:
    som, twin = fitted(missing="mask"), fitted(missing="mask")
    data = samples()
    if weight.dtype == torch.bool:
        data[30:] = torch.nan
    before = (som.weights.clone(), list(som.quantization_errors), list(som.topographic_errors))
    calls: list[Call] = [
        lambda: som.fit(data, verbose=False, sample_weight=weight),
        lambda: som.partial_fit(data, sample_weight=weight),
        lambda: som.partial_fit(data, sample_weight=weight, forgetting_factor=0.5),
    ]
    for call in calls:
        with pytest.raises(error, match=message):
            call()
    assert torch.equal(som.weights, before[0])
    assert (som.quantization_errors, som.topographic_errors) == before[1:]
    for one in (som, twin):
        one.partial_fit(samples(), forgetting_factor=0.5)
        one.partial_fit(samples())
    assert torch.equal(som.weights, twin.weights)
