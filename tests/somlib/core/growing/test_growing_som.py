"""The growing map as a whole: when it stops, what it inserts, and that it is a flat map in every other respect."""

import inspect
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from somlib import SOM, GrowingSOM
from somlib.core.growing import GrowingSOMConfig
from somlib.core.scan import Scan
from somlib.core.trainer import EpochReport
from somlib.errors import ArgumentError, DataError, NotFittedError, SavedMapError, ShapeError, SomlibWarning

GRIDS = [(topology, pbc) for topology in ("rectangular", "hexagonal") for pbc in (False, True)]


def blobs(n: int = 240, d: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    centers = 4 * torch.randn(6, d, generator=generator)
    return centers.repeat(n // 6, 1) + torch.randn(n, d, generator=generator)


def fitted(data: Any = None, sample_weight: Any = None, **settings: Any) -> GrowingSOM:
    som = GrowingSOM(**settings)
    som.fit(blobs() if data is None else data, verbose=False, sample_weight=sample_weight)
    return som


def sizes(som: GrowingSOM) -> list[tuple[int, int]]:
    return [(step.x, step.y) for step in som.growth_history]


def largest_error_by_loop(data: Tensor, weights: Tensor) -> float:
    """100 d times the largest share of the data's squared deviation that the samples of one neuron still have."""
    samples, codebook = data.double().numpy(), weights.double().flatten(0, 1).numpy()
    mean = samples.mean(axis=0)
    won, deviation = np.zeros(len(codebook)), 0.0
    for sample in samples:
        squares = [float(((sample - w) ** 2).sum()) for w in codebook]
        won[int(np.argmin(squares))] += min(squares)
        deviation += float(((sample - mean) ** 2).sum())
    return float(100 * data.shape[1] * won.max() / deviation)


# ---------------------------------------------------------------- growth


def test_grows_until_no_neuron_exceeds_the_threshold() -> None:
    data, after = blobs(), []
    som = GrowingSOM(spread_factor=0.5, growth_epochs=3)
    som.fit(data, verbose=False, on_epoch=lambda report: after.append(som.weights.clone()))
    threshold = -3 * math.log(0.5)
    errors = [largest_error_by_loop(data, after[3 * step + 2]) for step in range(len(som.growth_history))]
    assert som.growth_threshold == pytest.approx(threshold)
    assert [step.largest_error for step in som.growth_history] == pytest.approx(errors, rel=1e-4)
    assert all(error > threshold for error in errors[:-1])
    assert errors[-1] <= threshold
    assert len(errors) > 4


@pytest.mark.parametrize(("topology", "pbc"), GRIDS)
def test_history_tells_each_size_and_what_was_inserted(topology: str, pbc: bool) -> None:
    som = fitted(topology=topology, pbc=pbc)
    rows_at_once = 2 if topology == "hexagonal" and pbc else 1
    x, y = 2, 2
    for step in som.growth_history:
        assert (step.x, step.y) == (x, y)
        x += rows_at_once * (step.inserted == "row")
        y += step.inserted == "column"
    assert (som.x, som.y) == (x, y)
    assert [step.inserted for step in som.growth_history].index(None) == len(som.growth_history) - 1
    assert som.weights.shape == (x, y, 3)


def test_larger_spread_factors_give_larger_maps() -> None:
    grown = [fitted(spread_factor=factor).grid.m for factor in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9)]
    assert grown == sorted(grown)
    assert grown[0] < 20 < 60 < grown[-1]


def test_size_depends_neither_on_scale_nor_on_number_of_samples() -> None:
    data = blobs().double()
    expected = sizes(fitted(data))
    assert sizes(fitted(1000 * data)) == expected
    assert sizes(fitted(data + 1e6)) == expected
    assert sizes(fitted(data.repeat(5, 1))) == expected


def test_weights_count_like_copies() -> None:
    data = blobs(60).double()
    copies = torch.arange(60) % 3
    copied, weighted = fitted(data.repeat_interleave(copies, dim=0)), fitted(data, sample_weight=copies)
    # The PCA start knows no weights; both maps start from the same codebook here.
    start = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for som, samples, weight in ((copied, data.repeat_interleave(copies, dim=0), None), (weighted, data, copies)):
        som._take(x=2, y=2)
        som.initialize_from(start)
        som.fit(samples, verbose=False, sample_weight=weight)
    assert sizes(copied) == sizes(weighted)
    torch.testing.assert_close(copied.weights, weighted.weights)


def test_a_chain_stays_a_chain() -> None:
    som = fitted(x=1, y=2)
    assert som.x == 1
    assert som.grid.y > 4


@pytest.mark.parametrize("name", ["manhattan", "chebyshev", "cosine"])
def test_grows_in_every_metric(name: str) -> None:
    som = fitted(distance_function=name, spread_factor=0.3)
    assert som.grid.m > 4
    assert som.growth_history[-1].largest_error <= som.growth_threshold


def test_mini_batches_grow_too() -> None:
    som = fitted(algorithm="minibatch", batch_size=16, spread_factor=0.1)
    assert som.grid.m > 6
    assert som.growth_history[-1].largest_error <= som.growth_threshold


def test_never_exceeds_max_neurons(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="somlib")
    som = fitted(spread_factor=0.9, max_neurons=17)
    assert 12 <= som.grid.m <= 17
    assert "would exceed max_neurons=17" in caplog.text


def test_never_exceeds_max_growth_steps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="somlib")
    som = fitted(spread_factor=0.9, max_growth_steps=3)
    assert len(som.growth_history) == 4
    assert "max_growth_steps=3 is reached" in caplog.text


def test_takes_one_neuron_a_sample_at_most() -> None:
    som = fitted(blobs(30), spread_factor=0.99)
    assert som.max_neurons == 30
    assert som.grid.m <= 30


def test_data_that_does_not_deviate_does_not_grow() -> None:
    som = fitted(torch.full((9, 2), 3.0))
    assert sizes(som) == [(2, 2)]
    assert som.quantization_errors[-1] == 0


def test_a_few_distinct_samples_need_few_neurons_however_often_they_come() -> None:
    som = fitted(torch.tensor([[1.0, 2.0], [1.0, 3.0]]).repeat(50, 1), x=1, y=2, spread_factor=0.9)
    assert 2 <= som.grid.m <= 8
    assert som.growth_history[-1].largest_error <= som.growth_threshold


def test_one_sample_is_enough() -> None:
    with pytest.warns(SomlibWarning, match="1 rows for 4 neurons"):
        som = fitted(torch.tensor([[1.0, 2.0]]))
    assert sizes(som) == [(2, 2)]
    assert som.quantization_errors[-1] == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------- against the flat map


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_quantizes_as_well_as_a_flat_map_of_its_size_trained_as_long(topology: str) -> None:
    data = blobs(600, 4)
    som = fitted(data, topology=topology, spread_factor=0.6)
    flat = SOM(som.x, som.y, epochs=len(som.quantization_errors), sigma=1.5, algorithm="batch", topology=topology)
    flat.initialize_weights(data, "pca")
    flat.fit(data, verbose=False)
    assert som.quantization_error(data) < 1.1 * flat.quantization_error(data)
    assert som.topographic_error(data) < flat.topographic_error(data) + 0.05


def test_without_growth_it_is_the_batch_map() -> None:
    data = blobs()
    som = fitted(data, x=4, y=5, max_growth_steps=0, growth_epochs=6, epochs=6)
    flat = SOM(4, 5, epochs=6, sigma=1.5, algorithm="batch", initialization_mode="pca")
    first, second = flat.fit(data, verbose=False), flat.fit(data, verbose=False)
    assert som.quantization_errors == first[0] + second[0]
    assert som.topographic_errors == first[1] + second[1]
    assert torch.equal(som.weights, flat.weights)


def test_answers_every_question_of_a_flat_map() -> None:
    data = blobs()
    target = data.sum(dim=1)
    som = fitted(data)
    flat = SOM(som.x, som.y, 3)
    flat.initialize_from(som.weights)
    assert torch.equal(som.identify_bmus(data), flat.identify_bmus(data))
    assert torch.equal(som.build_map("hit", data), flat.build_map("hit", data))
    assert torch.equal(som.build_map("distance"), flat.build_map("distance"))
    torch.testing.assert_close(
        som.build_map("metric", data, target), flat.build_map("metric", data, target), equal_nan=True
    )
    assert torch.equal(som.cluster(n_clusters=3)["labels"], flat.cluster(n_clusters=3)["labels"])
    samples = som.build_map("bmus_data", data)
    assert torch.equal(
        som.collect_samples(data[0], data, target, samples)[0], flat.collect_samples(data[0], data, target, samples)[0]
    )
    assert not som.is_anomaly(data, alpha=0.05)[:5].all()


# ---------------------------------------------------------------- what fit returns and tells


def test_fit_returns_one_pair_of_errors_an_epoch_those_of_growth_first() -> None:
    data = blobs()
    som = GrowingSOM(growth_epochs=2, epochs=4)
    qe, te = som.fit(data, verbose=False)
    steps = som.growth_history
    assert len(qe) == len(te) == 2 * len(steps) + 4
    assert [step.quantization_error for step in steps] == qe[1 : 2 * len(steps) : 2]
    assert [step.topographic_error for step in steps] == te[1 : 2 * len(steps) : 2]
    assert (qe[-1], te[-1]) == pytest.approx((som.quantization_error(data), som.topographic_error(data)))
    assert (som.quantization_errors, som.topographic_errors) == (qe, te)


def test_on_epoch_numbers_all_epochs_and_knows_how_many_come_at_least() -> None:
    reports: list[EpochReport] = []
    som = GrowingSOM(growth_epochs=2, epochs=4)
    shapes = []

    def note(report: EpochReport) -> None:
        reports.append(report)
        shapes.append(tuple(som.weights.shape[:2]))

    qe, _ = som.fit(blobs(), verbose=False, on_epoch=note)
    assert [report.epoch for report in reports] == list(range(len(qe)))
    assert [report.quantization_error for report in reports] == qe
    assert [report.epochs for report in reports[:2]] == [6, 6]
    assert all(report.epochs == len(qe) for report in reports[-6:])
    assert shapes == [size for size in sizes(som) for _ in range(2)] + [(som.x, som.y)] * 4


def test_errors_of_large_data_are_measured_on_the_same_rows_at_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("somlib.core.trainer.MEASURED_ROWS", 50)
    seen, original = [], Scan.measured

    def measured(self: Scan, codebook: Tensor, index: Tensor | None = None, certain: bool = False) -> Any:
        if index is not None:
            seen.append(self.rows.data[index])
        return original(self, codebook, index, certain)

    monkeypatch.setattr(Scan, "measured", measured)
    fitted()
    assert len(seen) > 10
    assert len(seen[0]) == 50
    assert all(torch.equal(rows, seen[0]) for rows in seen)


def test_verbose_shows_the_size_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    som = GrowingSOM(max_growth_steps=2)
    som.fit(blobs())
    shown = capsys.readouterr()
    assert f"{som.x} x {som.y}" in shown.err
    assert "25/25" in shown.err
    assert not shown.out


# ---------------------------------------------------------------- again, and reproducibly


def test_same_seed_gives_the_same_map_and_leaves_global_randomness_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (
        fitted(algorithm="minibatch", batch_size=16, initialization_mode="random", max_growth_steps=3) for _ in range(2)
    )
    assert torch.equal(first.weights, second.weights)
    assert first.growth_history == second.growth_history
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_fit_shuffles_anew() -> None:
    data, start = blobs(), torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0))
    som = GrowingSOM(3, 3, algorithm="minibatch", batch_size=16, max_growth_steps=0, epochs=1, growth_epochs=1)
    trained = []
    for _ in range(2):
        som.initialize_from(start)
        som.fit(data, verbose=False)
        trained.append(som.weights)
    assert not torch.equal(trained[0], trained[1])


def test_a_second_fit_grows_on() -> None:
    som = fitted(max_growth_steps=2)
    size = (som.x, som.y)
    som.fit(blobs(), verbose=False)
    assert sizes(som)[0] == size
    assert len(som.growth_history) == 3


def test_partial_fit_trains_at_the_present_size() -> None:
    som = fitted()
    shape, history = som.weights.shape, som.growth_history
    for forgetting_factor in (None, 0.5):
        qe, _ = som.partial_fit(blobs() + 0.1, forgetting_factor=forgetting_factor)
        assert len(qe) == 1
    assert som.weights.shape == shape
    assert som.growth_history == history


def test_missing_values_are_masked() -> None:
    data = blobs()
    data[torch.rand(data.shape, generator=torch.Generator().manual_seed(2)) < 0.15] = torch.nan
    data[5] = torch.nan
    som = fitted(data, missing="mask", spread_factor=0.3)
    assert bool(torch.isfinite(som.weights).all())
    assert som.grid.m > 6
    assert som.identify_bmus(data)[5].tolist() == [-1, -1]
    assert math.isfinite(som.quantization_errors[-1])


def test_a_frame_leaves_its_column_names_and_float64_stays() -> None:
    frame = pl.DataFrame(blobs().double().numpy(), schema=["a", "b", "c"], orient="row")
    som = fitted(frame)
    assert som.feature_names == ["a", "b", "c"]
    assert som.weights.dtype == torch.float64


def test_refused_data_changes_nothing() -> None:
    som = fitted()
    weights, history, errors = som.weights.clone(), list(som.growth_history), list(som.quantization_errors)
    for bad, error in ((torch.full((5, 3), torch.nan), DataError), (torch.zeros(5, 2), ShapeError)):
        with pytest.raises(error):
            som.fit(bad, verbose=False)
    assert torch.equal(som.weights, weights)
    assert (som.growth_history, som.quantization_errors) == (history, errors)


# ---------------------------------------------------------------- saving


@pytest.mark.parametrize(("topology", "pbc"), GRIDS)
def test_a_loaded_map_answers_exactly_and_grows_on_like_the_saved_one(tmp_path: Path, topology: str, pbc: bool) -> None:
    data = blobs()
    som = fitted(data, topology=topology, pbc=pbc, max_growth_steps=3)
    som.save(tmp_path / "map")
    loaded = GrowingSOM.load(tmp_path / "map")
    assert sorted(path.name for path in (tmp_path / "map").iterdir()) == ["config.json", "weights.safetensors"]
    assert torch.equal(loaded.weights, som.weights)
    assert (loaded.x, loaded.y, loaded.max_neurons, loaded.sigma) == (som.x, som.y, som.max_neurons, som.sigma)
    assert loaded.config == som.config.model_copy(update={"num_features": 3})
    assert loaded.growth_history == som.growth_history
    assert torch.equal(loaded.anomaly_score(data), som.anomaly_score(data))
    assert loaded.fit(data, verbose=False) == som.fit(data, verbose=False)
    assert torch.equal(loaded.weights, som.weights)


def test_only_its_own_class_loads_it(tmp_path: Path) -> None:
    fitted(max_growth_steps=1).save(tmp_path / "growing")
    with pytest.raises(SavedMapError, match=r"must hold a SOM, got a GrowingSOM: use GrowingSOM\.load"):
        SOM.load(tmp_path / "growing")
    SOM(2, 2, 3).save(tmp_path / "flat")
    with pytest.raises(SavedMapError, match="must hold a GrowingSOM, got a SOM"):
        GrowingSOM.load(tmp_path / "flat")


# ---------------------------------------------------------------- settings


def test_the_constructor_has_the_defaults_of_the_config() -> None:
    parameters = inspect.signature(GrowingSOM).parameters
    for name, parameter in parameters.items():
        if name != "settings":
            assert parameter.default == GrowingSOMConfig.model_fields[name].default, name
    assert GrowingSOM().config == GrowingSOMConfig()


def test_settings_are_attributes_and_travel_as_text() -> None:
    config = GrowingSOMConfig(spread_factor=0.8, topology="hexagonal", growth_epochs=2, max_neurons=50)
    som = GrowingSOM.from_config(GrowingSOMConfig.from_yaml(config.to_yaml()), num_features=4)
    assert som.config == config.model_copy(update={"num_features": 4})
    assert (som.spread_factor, som.growth_epochs, som.max_neurons, som.topology) == (0.8, 2, 50, "hexagonal")
    assert (som.algorithm, som.initialization_mode, som.sigma) == ("batch", "pca", 1.5)
    assert json.loads(config.to_json())["spread_factor"] == 0.8
    assert "spread_factor=0.8" in repr(som)


def test_device_and_feature_weights_come_as_in_a_flat_map() -> None:
    som = GrowingSOM(device=torch.device("cpu"), feature_weights=np.array([1.0, 0.0, 2.0]))
    assert som.device == torch.device("cpu")
    assert som.feature_weights == (1.0, 0.0, 2.0)


def test_the_neighborhood_order_changes_without_the_rest() -> None:
    som = fitted(max_growth_steps=1)
    som.set_neighborhood_order(2)
    assert isinstance(som.config, GrowingSOMConfig)
    assert som.neighborhood_order == som.config.neighborhood_order == 2


def test_the_threshold_needs_the_number_of_features() -> None:
    with pytest.raises(NotFittedError, match="needs num_features"):
        _ = GrowingSOM().growth_threshold
    assert GrowingSOM(num_features=2, spread_factor=0.5).growth_threshold == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spread_factor": 0.0}, "spread_factor must be greater than 0, got 0.0"),
        ({"spread_factor": 1.0}, "spread_factor must be less than 1, got 1.0"),
        ({"growth_epochs": 0}, "growth_epochs must be greater than or equal to 1, got 0"),
        ({"growth_epochs": True}, "growth_epochs must be a valid integer, got True"),
        ({"max_growth_steps": -1}, "max_growth_steps must be greater than or equal to 0, got -1"),
        ({"max_neurons": 3}, r"max_neurons must be at least x \* y = 4, got 3"),
        ({"x": 1, "y": 1}, "x and y must not both be 1"),
        ({"x": None}, "x must be a valid integer, got None"),
        ({"x": 3, "topology": "hexagonal", "pbc": True}, "needs an even number of rows, got x=3"),
        ({"spread": 0.3}, "spread is no known setting"),
        ({"sigma": -1.0, "epochs": 0}, "epochs must be .* got 0; sigma must be .* got -1.0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        GrowingSOM(**arguments)
