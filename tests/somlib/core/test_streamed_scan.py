"""Training from a dataset of batches, against the same rows in memory."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from somlib import SOM, GrowingSOM
from somlib.core import blocks, streamed, streamed_scan, trainer
from somlib.core.checkpoint import read_checkpoint, write_checkpoint
from somlib.core.trainer import EpochReport
from somlib.errors import ArgumentError, DataError, DataTypeError, ShapeError
from somlib.utils import heuristics
from somlib.utils.initialization import INITIALIZATIONS
from tests.somlib.core.batches import Batches

N, D, EPOCHS = 260, 3, 4
BATCH: dict[str, Any] = {"algorithm": "batch", "steps_per_epoch": 3}
CASES: dict[str, dict[str, Any]] = {
    "rectangular": {},
    "hexagonal": {"topology": "hexagonal"},
    "hexagonal torus": {"topology": "hexagonal", "pbc": True},
    "all rows each epoch": {"steps_per_epoch": 1},
    "principal axes": {"initialization_mode": "pca"},
    "gaps": {"missing": "mask", "initialization_mode": "pca"},
    "gaps, random start": {"missing": "mask"},
    "weights": {"weight": True},
    "weights and gaps": {"weight": True, "missing": "mask"},
    "feature weights": {"feature_weights": [1.0, 2.0, 0.5], "initialization_mode": "pca"},
    "cosine": {"distance_function": "cosine", "initialization_mode": "pca"},
    "repelling": {"neighborhood_function": "mexican_hat", "distance_function": "manhattan"},
    "own size": {"x": None, "y": None, "num_features": None, "initialization_mode": "pca"},
    "float64": {"double": True},
    "faiss": {"search_backend": "faiss"},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, samples and steps that are parts of a few rows."""
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", D * 64)
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 100)
    monkeypatch.setattr(heuristics, "ROWS_PER_NEIGHBORHOOD", 4)


def data(n: int = N, d: int = D, gaps: bool = False) -> torch.Tensor:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(n, d)) * np.linspace(1, 3, d) + np.linspace(4, -2, d)
    if gaps:
        rows[rng.random((n, d)) < 0.2] = np.nan
        rows[5 % n] = np.nan
    return torch.from_numpy(rows.astype(np.float32))


def new_map(**settings: Any) -> SOM:
    return SOM(**{"x": 4, "y": 6, "num_features": D, "epochs": EPOCHS, "device": "cpu"} | BATCH | settings)


def case(name: str) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor | None]:
    settings = dict(CASES[name])
    rows = data(gaps="missing" in settings)
    rows = rows.double() if settings.pop("double", False) else rows
    weight = torch.from_numpy(np.random.default_rng(4).integers(0, 4, N).astype(np.float32))
    return settings, rows, weight if settings.pop("weight", False) else None


def assert_same(streamed: SOM, memory: SOM, tolerance: float = 2e-5) -> None:
    kind = {"atol": tolerance, "rtol": tolerance}
    torch.testing.assert_close(streamed.weights, memory.weights, **kind)
    np.testing.assert_allclose(streamed.quantization_errors, memory.quantization_errors, rtol=tolerance)
    np.testing.assert_allclose(streamed.topographic_errors, memory.topographic_errors, atol=1e-9)
    for a, b in ((streamed._sums, memory._sums), (streamed._normal, memory._normal)):
        assert a is not None
        assert b is not None
    assert streamed._sums is not None
    assert memory._sums is not None
    torch.testing.assert_close(streamed._sums.values, memory._sums.values, atol=2e-4, rtol=1e-4)
    assert streamed._normal is not None
    assert memory._normal is not None
    torch.testing.assert_close(streamed._normal.scales, memory._normal.scales, **kind)
    assert streamed._connections is not None
    assert memory._connections is not None
    assert streamed._connections.pairs.tolist() == memory._connections.pairs.tolist()
    torch.testing.assert_close(streamed._connections.shared, memory._connections.shared)


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_that_of_the_rows_in_memory(name: str) -> None:
    settings, rows, weight = case(name)
    memory, one, other = new_map(**settings), new_map(**settings), new_map(**settings)
    memory.fit(rows, verbose=False, sample_weight=weight)
    one.fit(Batches(rows, 57, weight), verbose=False)
    assert_same(one, memory)
    other.fit(Batches(rows, 300, weight, n_rows=N), verbose=False)
    assert torch.equal(one.weights, other.weights)  # whatever the batches are
    assert one._normal is not None
    assert memory._normal is not None
    sample = trainer.measured_sample(N, torch.Generator().manual_seed(43))
    assert sample is not None  # the scores kept are those of the sample that errors are measured on
    torch.testing.assert_close(one._normal.scores, memory._normal.scores[sample], atol=1e-4, rtol=1e-4, equal_nan=True)


def test_wide_rows_take_the_same_short_way() -> None:
    rows = data(d=130)
    memory, streaming = (new_map(num_features=130, steps_per_epoch=8, epochs=2) for _ in range(2))
    memory.fit(rows, verbose=False)
    streaming.fit(Batches(rows, 50), verbose=False)
    assert_same(streaming, memory, 1e-3)


@pytest.mark.parametrize("n", [1, 2, 64, 65])
def test_few_rows_are_rows_too(n: int) -> None:
    rows = data(n)
    memory, streaming = new_map(x=2, y=2), new_map(x=2, y=2)
    with pytest.warns(UserWarning, match="most will stay empty") if n < 4 else nullcontext():
        memory.fit(rows, verbose=False)
    with pytest.warns(UserWarning, match="most will stay empty") if n < 4 else nullcontext():
        streaming.fit(Batches(rows, 10), verbose=False)
    torch.testing.assert_close(streaming.weights, memory.weights)


def test_rows_that_do_not_fit_into_the_room_for_short_steps_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, ample, scarce = data(), new_map(), new_map()
    plenty, little = Batches(rows, 50, n_rows=N), Batches(rows, 50, n_rows=N)
    ample.fit(plenty, verbose=False)
    assert plenty.passes == 3  # before training, its last step, and what is measured after it
    monkeypatch.setattr(streamed, "HELD_ENTRIES", D * 130)
    scarce.fit(little, verbose=False)
    assert little.passes > 3
    torch.testing.assert_close(scarce.weights, ample.weights)


@pytest.mark.parametrize("size", [7, 64, N, 1_000])
def test_minibatches_are_those_in_memory_where_all_rows_are_shuffled_together(size: int) -> None:
    memory, streaming = (new_map(algorithm="minibatch", batch_size=size, steps_per_epoch=None) for _ in range(2))
    memory.fit(data(), verbose=False)
    streaming.fit(Batches(data(), 50), verbose=False)
    torch.testing.assert_close(streaming.weights, memory.weights, atol=1e-5, rtol=1e-5)


class Shuffling(Batches):
    """A dataset that can give its batches in another order."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seeds: list[int] = []

    def shuffled(self, seed: int) -> list[Any]:
        self.seeds.append(seed)
        parts = list(torch.split(self.rows, self.size))
        return [parts[i] for i in np.random.default_rng(seed).permutation(len(parts))]


def test_minibatches_of_more_rows_see_each_once_an_epoch_in_orders_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streamed_scan, "SHUFFLED_ENTRIES", D * 128)
    maps = []
    for _ in range(2):
        dataset, som = Shuffling(data(), 50), new_map(algorithm="minibatch", batch_size=13, steps_per_epoch=None)
        som.fit(dataset, verbose=False)
        assert len(set(dataset.seeds)) == EPOCHS
        maps.append(som)
    assert torch.equal(maps[0].weights, maps[1].weights)
    memory = new_map(algorithm="minibatch", batch_size=13, steps_per_epoch=None)
    memory.fit(data(), verbose=False)
    assert maps[0].quantization_errors[-1] == pytest.approx(memory.quantization_errors[-1], rel=0.1)


@pytest.mark.parametrize("name", ["rectangular", "weights and gaps", "all rows each epoch"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_stopped_training_goes_on_from_its_checkpoint(name: str, epoch: int, tmp_path: Path) -> None:
    settings, rows, weight = case(name)
    whole, stopped, resumed = new_map(**settings), new_map(**settings), new_map(**settings)
    dataset = Batches(rows, 50, weight)
    whole.fit(dataset, verbose=False)

    def stop(report: EpochReport) -> None:
        if report.epoch == epoch:
            write_checkpoint(tmp_path / "kept", stopped.checkpoint())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.fit(dataset, verbose=False, on_epoch=stop)
    resumed.resume(read_checkpoint(tmp_path / "kept"), dataset, verbose=False)
    assert torch.equal(resumed.weights, whole.weights)
    assert resumed.quantization_errors == whole.quantization_errors
    few = Batches(rows[:10], 10, None if weight is None else weight[:10])
    with pytest.raises(ArgumentError, match="on 10 rows"):
        new_map(**settings).resume(read_checkpoint(tmp_path / "kept"), few, verbose=False)


@pytest.mark.parametrize("forgetting", [None, 0.5])
def test_one_more_pass_is_that_of_the_rows_in_memory(forgetting: float | None) -> None:
    memory, streaming = new_map(), new_map()
    for som, rows in ((memory, data()), (streaming, Batches(data(), 50))):
        som.fit(rows, verbose=False)
        som.partial_fit(rows, forgetting_factor=forgetting)
    assert_same(streaming, memory)


def test_a_start_of_another_kind_sees_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def first(rows: torch.Tensor, grid: Any, *_: Any) -> torch.Tensor:
        seen.append(len(rows))
        return rows[: grid.m]

    monkeypatch.setitem(INITIALIZATIONS, "first", first)
    som = new_map(initialization_mode="first")
    som.initialize_weights(Batches(data(), 50))
    assert seen == [N]
    assert som.initialized


def test_loaders_of_torch_and_frames_by_name_are_datasets() -> None:
    memory, loaded = new_map(), new_map()
    memory.fit(data(), verbose=False)
    loaded.fit(DataLoader(TensorDataset(data()), batch_size=33), verbose=False)
    assert_same(loaded, memory)
    frame = pd.DataFrame(data().numpy(), columns=["a", "b", "c"])
    turned = Batches(frame, 50)
    named = new_map()
    named.fit(turned, verbose=False)
    assert named.feature_names == ["a", "b", "c"]
    assert_same(named, memory)
    assert named.quantization_error(Batches(frame[["c", "a", "b"]], 50)) == named.quantization_error(turned)


def test_errors_and_winners_of_batches_are_those_of_their_rows() -> None:
    som, rows = new_map(missing="mask"), data(gaps=True)
    weight = torch.arange(float(N))
    som.fit(rows, verbose=False)
    batches = Batches(rows, 57, weight)
    assert som.quantization_error(batches) == pytest.approx(som.quantization_error(rows, sample_weight=weight))
    assert som.topographic_error(batches) == pytest.approx(som.topographic_error(rows, sample_weight=weight))
    found, expected = som.winners(batches, 2, distances=True), som.winners(rows, 2, distances=True)
    assert torch.equal(found.index, expected.index)
    torch.testing.assert_close(found.distance, expected.distance, equal_nan=True)


class Changing(Batches):
    """A dataset that gives other rows from some pass on."""

    def __init__(self, first: Any, then: Any, change: int) -> None:
        super().__init__(first, 50)
        self.first, self.then, self.change = first, then, change

    def __iter__(self) -> Any:
        self.rows = self.first if self.passes < self.change else self.then
        return super().__iter__()


@pytest.mark.parametrize("change", [1, 2, 3])
def test_rows_that_change_between_passes_are_refused(change: int) -> None:
    for then in (data()[:-1], data(N + 1), data().flip(0)):
        with pytest.raises(DataError, match="data must give the same rows"):
            new_map().fit(Changing(data(), then, change), verbose=False)


def test_bad_datasets_are_refused_and_changenullcontext() -> None:
    rows, ones = data(), torch.ones(N)
    late = rows.clone()
    late[200, 1] = torch.nan
    cases: list[tuple[Any, type[Exception], str]] = [
        (Batches(rows[:0], 10), DataError, "got no batch with rows"),
        (Batches(rows, 50, n_rows=N + 1), DataError, "n_rows says, 261, got 260"),
        (Batches(late, 50), DataError, "data from row 200 on must be finite, got nan at row 0, column 1"),
        (Batches(rows, 50, -ones), DataError, "not negative"),
        (Batches(rows, 50, ones * 0), DataError, "must not be 0 for every sample"),
        (Batches(rows[:, :2], 50), ShapeError, "3 features"),
        ((part for part in rows.split(50)), DataTypeError, "iterated again"),
    ]
    for dataset, error, message in cases:
        som = new_map()
        before = som.weights.clone()
        with pytest.raises(error, match=message):
            som.fit(dataset, verbose=False)
        assert torch.equal(som.weights, before)
        assert not som.initialized
    with pytest.raises(ArgumentError, match="pairs"):
        new_map().fit(Batches(rows, 50), verbose=False, sample_weight=ones)
    with pytest.raises(ArgumentError, match="feature_weights must have 3 values"):
        new_map(num_features=None, feature_weights=[1.0, 2.0]).fit(Batches(rows, 50), verbose=False)
    with pytest.raises(DataTypeError, match="in memory here, got a Batches"):
        GrowingSOM(device="cpu").fit(Batches(rows, 50), verbose=False)
    half = [(rows[:50], ones[:50]), rows[50:]]
    with pytest.raises(DataError, match="weights in each of its batches, or in none"):
        new_map().fit(_Parts(half), verbose=False)


class _Parts:
    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def __iter__(self) -> Any:
        return iter(self._parts)


def test_rows_of_a_tiny_scale_are_taken_in_float64_as_in_memory() -> None:
    memory, streaming = new_map(), new_map()
    memory.fit(data() * 1e-12, verbose=False)
    streaming.fit(Batches(data() * 1e-12, 50), verbose=False)
    assert streaming.weights.dtype == memory.weights.dtype == torch.float64
    torch.testing.assert_close(streaming.weights * 1e12, memory.weights * 1e12)
