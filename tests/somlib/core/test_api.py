"""What a map promises to whoever holds one: its members, its inputs, its retrieval, its anomalies, and torch's ways."""

import copy
import inspect
import io
import math
import pickle
import random
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from somlib import SOM, BaseSOM
from somlib.core import base_som
from somlib.errors import ArgumentError, DataError, DataTypeError, NotFittedError, ShapeError
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Lattice

NAN = float("nan")
MODES = ("bmu_only", "bmu_neighborhood", "bmu_neighborhood_knn")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


DATA = normal(150, 3)


def trained(**settings: Any) -> SOM:
    return copy.deepcopy(_trained_once(**settings))


@cache
def _trained_once(**settings: Any) -> SOM:
    som = SOM(**{"x": 5, "y": 4, "num_features": 3, "epochs": 2, "batch_size": 10, "device": "cpu", **settings})
    som.fit(DATA, verbose=False)
    return som


# ---- members

MEMBERS = {
    "initialize_weights": ("data", "mode"),
    "fit": ("data", "verbose"),
    "partial_fit": ("data",),
    "identify_bmus": ("data",),
    "quantization_error": ("data",),
    "topographic_error": ("data",),
    "build_map": ("map_type", "data", "target", "bmus_data_map"),
    "build_multiple_maps": ("map_configs", "data", "target", "batch_size"),
    "cluster": ("method", "n_clusters", "feature_space"),
    "collect_samples": (
        "query_sample", "historical_samples", "historical_outputs", "bmus_idx_map", "min_buffer_threshold",
        "return_indices", "retrieval_mode",
    ),
    "set_neighborhood_order": ("order",),
    "save": ("path",),
    "load": ("path",),
    "from_config": ("config", "num_features"),
}  # fmt: skip
DEFAULTS = {
    "initialize_weights": {"mode": None},
    "fit": {"verbose": True},
    "build_map": {"data": None, "target": None, "bmus_data_map": None},
    "cluster": {"method": "kmeans", "n_clusters": None, "feature_space": "weights"},
    "collect_samples": {"min_buffer_threshold": 50, "return_indices": False, "retrieval_mode": "bmu_neighborhood_knn"},
    "from_config": {"num_features": None},
}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_members_take_the_promised_arguments_in_their_order(name: str) -> None:
    parameters = {k: p for k, p in inspect.signature(getattr(SOM, name)).parameters.items() if k != "self"}
    positional = [k for k, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert tuple(positional[: len(MEMBERS[name])]) == MEMBERS[name]
    defaults = DEFAULTS.get(name, {})
    assert {k: parameters[k].default for k in defaults} == defaults  # type: ignore[attr-defined]  # a dict


def test_a_som_is_a_base_som_and_a_torch_module() -> None:
    som = trained()
    assert isinstance(som, BaseSOM)
    assert isinstance(som, torch.nn.Module)
    with pytest.raises(TypeError, match="abstract"):
        BaseSOM(som.config)  # type: ignore[abstract]  # refused on purpose


# ---- winners


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "cosine", "chebyshev"])
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_both_backends_of_a_map_give_the_same_answers(name: str, lattice: Lattice) -> None:
    maps = [
        SOM(**lattice.arguments, num_features=3, distance_function=name, search_backend=backend, device="cpu")
        for backend in ("torch", "faiss", "auto")
    ]
    for som in maps:
        som.weights.data = (som.weights * 2).round()  # ties and duplicates
    data = (DATA * 2).round() + 0.5 * (name == "cosine")
    winners, quantization, topographic = zip(
        *(
            (som.identify_bmus(data).tolist(), som.quantization_error(data), som.topographic_error(data))
            for som in maps
        ),
        strict=True,
    )
    assert winners[0] == winners[1] == winners[2]
    assert len(set(quantization)) == len(set(topographic)) == 1


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_no_answer_comes_from_an_earlier_codebook(backend: str) -> None:
    som = trained(search_backend=backend)

    def winners() -> list[list[int]]:
        weights = som.codebook.double().numpy()
        ranked = [oracle.ranked(sample, weights)[0] for sample in DATA.double().numpy()]
        expected = [list(divmod(k, 4)) for k in ranked]
        assert som.identify_bmus(DATA).tolist() == expected
        return expected

    seen = [winners()]
    with torch.no_grad():
        som.weights.mul_(-1.0)
    seen.append(winners())
    som.weights.data = normal(5, 4, 3, seed=3)
    seen.append(winners())
    som.weights[2, 1] = 0.0
    seen.append(winners())
    som.initialize_weights(DATA, mode="pca")
    seen.append(winners())
    som.partial_fit(DATA)
    seen.append(winners())
    som.load_state_dict(trained(random_seed=1).state_dict())
    seen.append(winners())
    assert all(a != b for a, b in pairwise(seen))


def test_a_map_that_saw_no_data_can_be_queried() -> None:
    som = SOM(3, 2, 4, device="cpu")
    assert som.weights.shape == (3, 2, 4)
    assert torch.isfinite(som.weights).all()
    assert som.identify_bmus(normal(5, 4)).shape == (5, 2)
    assert math.isfinite(som.quantization_error(normal(5, 4)))


# ---- inputs

KINDS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda t: t.clone(),
    "array": lambda t: t.numpy().copy(),
    "read-only array": lambda t: np.broadcast_to(t.numpy(), t.shape),
    "lists": lambda t: t.tolist(),
    "polars": lambda t: pl.DataFrame(t.numpy()),
    "pandas": lambda t: pd.DataFrame(t.numpy()),
    "pyarrow": lambda t: pa.table({f"f{j}": t[:, j].numpy() for j in range(t.shape[1])}),
}
CALLS: dict[str, Callable[[SOM, Any], object]] = {
    "initialize_weights": lambda som, data: som.initialize_weights(data, "pca"),
    "fit": lambda som, data: som.fit(data, verbose=False),
    "partial_fit": lambda som, data: som.partial_fit(data),
    "identify_bmus": lambda som, data: som.identify_bmus(data),
    "quantization_error": lambda som, data: som.quantization_error(data),
    "topographic_error": lambda som, data: som.topographic_error(data),
    "build_map": lambda som, data: som.build_map("hit", data),
    "build_multiple_maps": lambda som, data: som.build_multiple_maps([{"type": "hit"}], data),
    "collect_samples": lambda som, data: som.collect_samples([0.0] * 3, data, [0] * len(data), {(0, 0): [0]}),
    "collect_samples_batch": lambda som, data: som.collect_samples_batch(data, DATA, {(0, 0): [0]}).sample,
    "anomaly_score": lambda som, data: som.anomaly_score(data),
    "calibrate_anomalies": lambda som, data: som.calibrate_anomalies(data),
    "is_anomaly": lambda som, data: som.is_anomaly(data, 0.2),
    "quality_report": lambda som, data: str(som.quality_report(data, resamples=10)),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_every_method_takes_every_kind_of_data_and_changes_none(call: str) -> None:
    double = DATA[:40].double()
    expected = None
    for kind, make in KINDS.items():
        som, data = trained(), make(double)
        given = [CALLS[call](som, data), som.weights]
        assert str(data) == str(make(double)), kind
        expected = expected or str(given)
        assert str(given) == expected, kind


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "text": ("abc", DataTypeError, "must be a tensor, array, frame or table of numbers, got str"),
    "None": (None, DataTypeError, "got NoneType"),
    "dict": ({"a": [1.0]}, DataTypeError, "got dict"),
    "text column": (pl.DataFrame({"a": ["x"], "b": [1], "c": [2]}), DataTypeError, "column 'a' of type String"),
    "empty": (torch.zeros(0, 3), DataError, "must not be empty"),
    "wrong width": (torch.zeros(4, 2), ShapeError, r"must have 3 features, got shape \(4, 2\)"),
    "3-D": (torch.zeros(2, 2, 3), ShapeError, r"must have shape \(n, 3\)"),
    "NaN": (
        torch.tensor([[0.0, 0.0, 0.0], [0.0, NAN, 0.0]]),
        DataError,
        r"got nan at row 1, column 1 \(1 such value\)",
    ),
    "infinity": (torch.tensor([[0.0, 0.0, float("inf")]]), DataError, r"got inf at row 0, column 2 \(1 such value\)"),
}
TAKE_ONE = ("identify_bmus", "quantization_error", "topographic_error")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("call", [c for c in CALLS if c != "collect_samples"])
def test_every_method_refuses_bad_data_and_changes_nothing(call: str, bad: str) -> None:
    data, error, message = BAD[bad]
    som = trained()
    before = copy.deepcopy(som)
    if bad == "None" and call == "build_map":  # where None is the default
        error, message = ArgumentError, "needs data"
    with pytest.raises(error, match=message):
        CALLS[call](som, data)
    assert torch.equal(som.weights, before.weights)
    assert som.config == before.config
    assert som.quantization_errors == before.quantization_errors
    assert som.anomaly_threshold(0.1) == before.anomaly_threshold(0.1)
    assert torch.equal(som.partial_fit(DATA) and som.weights, before.partial_fit(DATA) and before.weights)


@pytest.mark.parametrize("call", [c for c in CALLS if c not in TAKE_ONE and c != "collect_samples"])
def test_one_sample_alone_is_refused_where_many_are_meant(call: str) -> None:
    with pytest.raises(ShapeError, match=r"must have shape \(n, 3\), got \(3,\)"):
        CALLS[call](trained(), torch.zeros(3))


# ---- global state


def test_no_method_moves_or_reads_the_random_state_of_torch_numpy_or_python() -> None:
    def state() -> tuple[object, ...]:
        numpy_state: Any = np.random.get_state()  # noqa: NPY002  # the global one is what must not move
        return torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2], random.getstate()

    def everything() -> str:
        som = SOM(5, 4, 3, epochs=1, device="cpu")
        som.fit(DATA[:40], verbose=False)
        given = [call(som, DATA[:40]) for call in CALLS.values()]
        given += [som.cluster(method, n_clusters=2)["labels"] for method in ("kmeans", "gmm")]
        return str([*given, som.weights])

    before = state()
    first = everything()
    assert state() == before
    torch.rand(7)
    assert everything() == first
    assert torch.get_rng_state().tolist() != before[0]  # by us


def test_random_is_what_the_seed_says() -> None:
    one, same, other = (SOM(3, 3, 3, epochs=1, device="cpu", random_seed=seed) for seed in (5, 5, 6))
    for som in (one, same, other):
        som.fit(DATA, verbose=False)
    assert torch.equal(one.weights, same.weights)
    assert not torch.equal(one.weights, other.weights)


# ---- retrieval


def retrieved(som: SOM, query: Tensor, samples: dict[Any, list[int]], mode: str, threshold: int) -> list[int]:
    """The definition: winner, neighborhood, next nearest neurons while there are too few samples."""
    lattice = Lattice(som.grid.x, som.grid.y, som.grid.hexagonal, som.grid.pbc)
    weights = som.codebook.double().numpy()
    winner = oracle.ranked(query.double().numpy(), weights)[0]
    taken = [winner, *(oracle.within(lattice, winner, som.neighborhood_order) if mode != MODES[0] else [])]
    found = [i for k in taken for i in samples.get(divmod(k, lattice.y), [])]
    if mode == MODES[2]:
        for k in oracle.ranked(weights[winner], weights):
            if len(found) < threshold and k not in taken:
                found += samples.get(divmod(k, lattice.y), [])
    return found


@pytest.mark.parametrize("lattice", FOUR, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threshold", [0, 20, 50, 1_000])
def test_collected_samples_are_those_of_the_definition_for_each_query(
    lattice: Lattice, mode: str, threshold: int
) -> None:
    som = SOM(**lattice.arguments, num_features=3, device="cpu")
    samples = som.build_map("bmus_data", DATA)
    del samples[next(iter(samples))]  # a neuron that the dict lacks has no samples
    outputs, queries = torch.arange(150.0), normal(12, 3, seed=5)
    for order in (1, 2):
        som.set_neighborhood_order(order)
        batch = som.collect_samples_batch(queries, DATA, samples, threshold, mode)
        for i, query in enumerate(queries):
            expected = retrieved(som, query, samples, mode, threshold)
            rows, values, index = som.collect_samples(query, DATA, outputs, samples, threshold, True, mode)
            assert index.tolist() == batch.of(i).tolist() == expected
            assert len(set(expected)) == len(expected)
            assert torch.equal(rows, DATA[expected])
            assert values.tolist() == [[float(j)] for j in expected]
            two = som.collect_samples(query, DATA, outputs, samples, threshold, retrieval_mode=mode)
            assert len(two) == 2


def test_outputs_have_a_row_for_each_sample_whatever_their_columns() -> None:
    som = trained()
    samples, many = som.build_map("bmus_data", DATA), torch.stack((torch.arange(150), -torch.arange(150)), dim=1)
    rows, outputs, index = som.collect_samples(DATA[0], DATA, many, samples, return_indices=True)
    assert index.dtype == torch.int64
    assert rows.shape == (len(index), 3)
    assert outputs.shape == (len(index), 2)
    assert torch.equal(outputs.long(), many[index])


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_buffer_is_empty_of_the_right_shape_and_said_so(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    rows, outputs, index = trained().collect_samples(DATA[0], DATA, torch.zeros(150, 2), {}, 50, True, mode)
    assert (rows.shape, outputs.shape, index.shape) == ((0, 3), (0, 2), (0,))
    assert "the buffer is empty" in caplog.text


def test_outputs_keep_the_precision_they_came_in() -> None:
    som, precise = trained(), 1e8 + torch.arange(150, dtype=torch.float64)
    samples = som.build_map("bmus_data", DATA)
    rows, outputs, index = som.collect_samples(DATA[0], DATA, precise, samples, return_indices=True)
    assert torch.equal(outputs[:, 0], precise[index])
    assert rows.dtype == torch.float32
    assert som.collect_samples(DATA[0], DATA, precise.float(), samples)[1].dtype == torch.float32


def test_a_query_may_be_a_row_and_never_several() -> None:
    som = trained()
    samples = som.build_map("bmus_data", DATA)
    one, row = (som.collect_samples(q, DATA, torch.zeros(150), samples)[0] for q in (DATA[0], DATA[:1].tolist()))
    assert torch.equal(one, row)
    with pytest.raises(ShapeError, match="query_sample must be one sample, got 2: use collect_samples_batch"):
        som.collect_samples(DATA[:2], DATA, torch.zeros(150), samples)


def test_a_query_without_a_winner_finds_nothing() -> None:
    som = trained(distance_function="cosine")
    samples = som.build_map("bmus_data", DATA)
    assert len(som.collect_samples(torch.zeros(3), DATA, torch.zeros(150), samples)[0]) == 0
    batch = som.collect_samples_batch(torch.stack((torch.zeros(3), DATA[0])), DATA, samples)
    assert (len(batch.of(0)), len(batch.of(1)) >= 50) == (0, True)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"query_sample": torch.zeros(2)}, ShapeError, "query_sample must have 3 features"),
        ({"query_sample": [0.0, NAN, 0.0]}, DataError, "query_sample must be finite, got nan at row 0, column 1"),
        ({"query_sample": "abc"}, DataTypeError, "query_sample must be"),
        ({"historical_samples": DATA[:, :2]}, ShapeError, "historical_samples must have 3 features"),
        ({"historical_outputs": torch.zeros(149)}, ShapeError, "historical_outputs must have 150 values.* got 149"),
        ({"historical_outputs": ["a"] * 150}, DataTypeError, "historical_outputs must be numeric"),
        ({"bmus_idx_map": {(0, 0): [150]}}, ArgumentError, "must hold indices of the 150 samples, got 150 to 150"),
        ({"bmus_idx_map": {(5, 0): [1]}}, ArgumentError, r"keys \(row, col\) on a 5 x 4 map, got \(5, 0\)"),
        ({"bmus_idx_map": {(0, 0): DATA[:5]}}, ArgumentError, "return_indices=True"),
        ({"min_buffer_threshold": -1}, ArgumentError, "min_buffer_threshold must be at least 0, got -1"),
        ({"retrieval_mode": "all"}, ArgumentError, "retrieval_mode must be one of 'bmu_only', .*got 'all'"),
    ],
)
def test_a_retrieval_that_does_not_fit_is_refused(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    call = {
        "query_sample": DATA[0],
        "historical_samples": DATA,
        "historical_outputs": torch.zeros(150),
        "bmus_idx_map": {},
    }
    with pytest.raises(error, match=message):
        trained().collect_samples(**{**call, **changed})


# ---- anomalies


def test_the_anomaly_score_is_the_distance_over_what_is_normal_at_the_winner() -> None:
    som = trained()
    winner = som.identify_bmus(DATA)
    weights = som.weights[winner[:, 0], winner[:, 1]].double()
    distance = (DATA.double() - weights).norm(dim=1)
    flat = winner[:, 0] * 4 + winner[:, 1]
    sigma = float(som.sigma) / (1 + (som.epochs - 1) / (som.epochs / 2))  # type: ignore[arg-type]  # taken by now
    steps = (winner[:, None] - winner).double().square().sum(dim=2)
    influence = torch.exp(-steps / (2 * sigma**2)).sum(dim=1)  # of all samples on the winner of each
    left_out = distance * influence / (influence - 1)  # had the sample not been there
    for i in range(0, 150, 7):
        own = left_out[flat == flat[i]]
        scale = (own.sum() + 5 * left_out.mean()) / (len(own) + 5)
        assert float(som.anomaly_score(DATA)[i]) == pytest.approx(float(distance[i] / scale), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_calibrated_thresholds_raise_as_many_false_alarms_as_promised_and_find_the_unusual(alpha: float) -> None:
    som = SOM(8, 6, 3, epochs=5, device="cpu")
    centers = torch.tensor([[0.0, 0.0, 0.0], [8.0, 0.0, 3.0]])
    widths = torch.tensor([0.3, 2.0])  # a dense and a sparse region

    def draw(n: int, seed: int) -> Tensor:
        return centers.repeat(n // 2, 1) + widths.repeat(n // 2)[:, None] * normal(n, 3, seed=seed)

    som.fit(draw(2_000, 1), verbose=False)
    som.calibrate_anomalies(draw(2_000, 2))
    fresh = draw(20_000, 3)
    alarms = som.is_anomaly(fresh, alpha)
    assert float(alarms.double().mean()) == pytest.approx(alpha, abs=3 * math.sqrt(alpha / 2_000 + alpha / 20_000))
    shares = [float(alarms[side::2].double().mean()) for side in (0, 1)]
    assert max(shares) < 3 * alpha  # neither region bears all of them
    assert som.is_anomaly(torch.tensor([[3.0, 40.0, 3.0], [-9.0, 0.0, 0.0]]), alpha).all()
    assert som.anomaly_score(fresh).dtype == torch.float64
    assert som.anomaly_threshold(alpha) < som.anomaly_threshold(alpha / 4)


def test_samples_without_a_winner_have_no_score_and_raise_no_alarm() -> None:
    som = trained(missing="mask")
    data = torch.stack((DATA[0], torch.full((3,), NAN)))
    assert som.anomaly_score(data).isnan().tolist() == [False, True]
    assert not som.is_anomaly(data, 0.1)[1]


def test_anomalies_need_a_trained_map() -> None:
    som = SOM(3, 3, 3, device="cpu")
    for call in (lambda: som.anomaly_score(DATA), lambda: som.anomaly_threshold(), lambda: som.is_anomaly(DATA)):
        with pytest.raises(NotFittedError, match="call fit first"):
            call()
    som = trained()
    som.initialize_weights(DATA)  # other weights: what was learned of the earlier ones does not hold
    with pytest.raises(NotFittedError):
        som.anomaly_score(DATA)


# ---- torch's ways


def test_a_copy_and_a_pickle_answer_and_train_like_the_original_and_apart_from_it() -> None:
    som = trained()
    for other in (copy.deepcopy(som), pickle.loads(pickle.dumps(som))):
        assert other.config == som.config
        assert torch.equal(other.anomaly_score(DATA), som.anomaly_score(DATA))
        original = copy.deepcopy(som)
        other.partial_fit(DATA, forgetting_factor=0.5)
        original.partial_fit(DATA, forgetting_factor=0.5)
        assert torch.equal(other.weights, original.weights)
        other.weights.data.zero_()
        assert som.weights.any()


def test_the_state_dict_holds_the_codebook_and_brings_it_back() -> None:
    som, other = trained(), trained(random_seed=9)
    assert torch.equal(som.state_dict()["weights"], som.weights)
    other.load_state_dict(som.state_dict())
    assert torch.equal(other.identify_bmus(DATA), som.identify_bmus(DATA))
    file = io.BytesIO()
    torch.save(som.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.weights, som.weights)


def test_weights_from_a_state_dict_are_a_start_that_training_goes_on_from() -> None:
    som = SOM(5, 4, 3, epochs=1, learning_rate=1e-12, device="cpu")
    with pytest.raises(RuntimeError, match="size mismatch"):
        som.load_state_dict({"weights": torch.zeros(2, 2, 3)})
    assert not som.initialized
    som.load_state_dict(trained().state_dict())
    som.fit(DATA, verbose=False)
    torch.testing.assert_close(som.weights, trained().weights)
    som.load_state_dict(trained(random_seed=9).state_dict())
    with pytest.raises(NotFittedError):  # the distances that training saw were those to other weights
        som.anomaly_score(DATA)


def test_a_map_moves_to_another_precision_and_goes_on() -> None:
    som, data = trained(), DATA.double()
    before = som.anomaly_score(data)
    som = som.to(torch.float64)
    assert som.weights.dtype == torch.float64
    torch.testing.assert_close(som.anomaly_score(data), before, rtol=1e-5, atol=0)
    som.partial_fit(data, forgetting_factor=1.0)
    assert som.weights.dtype == torch.float64
    assert som.to("cpu") is som


def test_a_map_moves_to_another_device_with_all_that_it_learned() -> None:
    som = trained()
    som.to("meta")  # the device without values, which every machine has
    learned = (
        som.weights,
        som._normal.scales,
        som._normal.scores,  # type: ignore[union-attr]
        som._sums.total,
        som._sums.count,
    )  # type: ignore[union-attr]  # fitted
    assert {tensor.device.type for tensor in learned if tensor is not None} == {"meta"}
    assert som.device == torch.device("meta")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_map_trained_on_the_cpu_answers_on_a_gpu() -> None:
    som = trained()
    moved = copy.deepcopy(som).to("cuda")
    assert torch.equal(moved.identify_bmus(DATA).cpu(), som.identify_bmus(DATA))
    torch.testing.assert_close(moved.anomaly_score(DATA).cpu(), som.anomaly_score(DATA))
    assert moved.build_map("metric", DATA, torch.arange(150)).device.type == "cuda"
    moved.partial_fit(DATA, forgetting_factor=0.5)


def test_gradients_of_the_data_are_neither_needed_nor_kept() -> None:
    som, data = trained(), DATA.clone().requires_grad_()
    som.fit(data, verbose=False)
    assert not som.weights.requires_grad
    assert not som.anomaly_score(data).requires_grad
    assert math.isfinite(som.quantization_error(data))


def test_printing_a_map_shows_what_differs_from_the_defaults() -> None:
    assert repr(SOM(5, 4, 3, topology="hexagonal")) == "SOM(x=5, y=4, num_features=3, topology='hexagonal')"


def test_one_search_answers_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    som, searches = trained(), []
    make_search = base_som.make_search  # type: ignore[attr-defined]  # where the map looks it up
    monkeypatch.setattr(base_som, "make_search", lambda *a, **k: searches.append(a) or make_search(*a, **k))  # type: ignore[func-returns-value]  # fmt: skip
    for call in ("identify_bmus", "quantization_error", "topographic_error", "anomaly_score", "build_map"):
        searches.clear()
        CALLS[call](som, DATA)
        assert len(searches) == 1, call
