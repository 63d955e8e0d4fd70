"""Odd but legal and odd illegal input: a finite answer of the right shape, or an error of this package's own."""

import datetime
import decimal
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_matrix

from somlib import SOM, GrowingSOM, HierarchicalSOM
from somlib.errors import SomlibError
from somlib.utils import alignment
from somlib.utils.clustering import CLUSTERING_METHODS
from somlib.utils.grid import Grid

pytestmark = pytest.mark.filterwarnings("ignore::somlib.errors.SomlibWarning")  # more neurons than rows

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12.0)
SOM_MADE = SOM(4, 2, 3, epochs=2)
SOM_MADE.fit(X, verbose=False)
STOPPED = SOM(4, 2, epochs=2)
CHECKPOINTS: list[Any] = []
STOPPED.fit(X, False, on_epoch=lambda report: CHECKPOINTS.append(STOPPED.checkpoint()))
CHECKPOINT = CHECKPOINTS[0]
PLACES = SOM_MADE.build_map("bmus_data", X)
NESTED = torch.nested.nested_tensor([torch.ones(3), torch.ones(2)], layout=torch.jagged)

# No samples at all, and no argument of any kind either.
STRANGE: dict[str, Any] = {
    "text": "abc",
    "bytes": b"abc",
    "set": {1, 2},
    "dict": {"a": [1]},
    "function": lambda: 1,
    "object": object(),
    "ragged": [[1, 2, 3], [1, 2]],
    "too large": [[10**400, 1, 2]],
    "objects": [[object()] * 3],
    "texts": np.array([["a"] * 3]),
    "not a time": np.array([["NaT"] * 3], dtype="datetime64[s]"),
    "pandas not a time": [[pd.NaT, 1, 2]],
    "dates": pl.DataFrame({c: [datetime.date(2020, 1, 1)] for c in "abc"}),
    "periods": pd.DataFrame({c: pd.period_range("2020", periods=3) for c in "abc"}),
    "lists": pl.DataFrame({"a": [[1, 2], [3]]}),
    "lazy": pl.DataFrame(X).lazy(),
    "dictionary": pa.table({c: pa.array([1, 2]).dictionary_encode() for c in "abc"}),
    "records": np.zeros(4, dtype=[("a", "f8"), ("b", "f8")]),
    "complex": X + 1j,
    "three dimensions": X.reshape(2, 6, 3),
    "no dimension": np.array(3.0),
    "infinite": np.where(X > 1, np.inf, X),
    "missing": np.where(X > 1, np.nan, X),
    "no rows": X[:0],
    "no columns": X[:, :0],
    "empty frame": pd.DataFrame(),
    "sparse": csr_matrix(X),
    "sparse array": coo_array(X),
    "sparse tensor": torch.tensor(X).to_sparse(),
    "nested tensor": NESTED,
    "meta tensor": torch.empty(4, 3, device="meta"),
}

LEGAL = {("map name", "text"), ("outputs", "missing"), ("outputs", "infinite"), ("size of growing", "no dimension")}

# The same numbers in another wrapping.
NUMBERS: dict[str, Any] = {
    "read-only": np.broadcast_to(X[:1], (5, 3)),
    "reversed": X[::-1, ::-1],
    "every other": np.repeat(X, 2, axis=0)[::2],
    "columns": np.asfortranarray(X),
    "big end": X.astype(">f8"),
    "gradient": torch.tensor(X, requires_grad=True),
    "half": X.astype(np.float16),
    "bfloat": torch.tensor(X).bfloat16(),
    "booleans": X > 0,
    "whole": (10 * X).astype(int),
    "unsigned": np.full((4, 3), 2**64 - 1, dtype=np.uint64),
    "128 bits": pl.DataFrame({c: [2**100, -(2**100)] for c in "abc"}, schema=dict.fromkeys("abc", pl.Int128)),
    "decimal": pl.DataFrame({c: [decimal.Decimal("1.5"), decimal.Decimal(2)] for c in "abc"}),
    "nullable": pd.DataFrame({c: pd.array([1, 2, 3], dtype="Int64") for c in "abc"}),
    "objects": X.astype(object),
    "arrow": pa.table({c: [1, 2] for c in "abc"}),
    "lists": X.tolist(),
    "one row": X[:1],
}


def require_own_error(call: Callable[[], Any], allowed: bool = False) -> None:
    """Refuse any answer but one of this package's errors, or one at all where that is `allowed`."""
    try:
        call()
    except SomlibError:
        return
    assert allowed, "neither an answer nor an error was expected"


DATA_CALLS: dict[str, Callable[[SOM, Any], Any]] = {
    "fit": lambda som, odd: SOM(4, 2, epochs=1).fit(odd, verbose=False),
    "pca": lambda som, odd: SOM(4, 2, epochs=1).initialize_weights(odd, "pca"),
    "growing": lambda som, odd: GrowingSOM(epochs=1).fit(odd, verbose=False),
    "hierarchical": lambda som, odd: HierarchicalSOM().fit(odd, verbose=False),
    "partial_fit": lambda som, odd: SOM(4, 2, 3, epochs=1).partial_fit(odd),
    "winners": lambda som, odd: som.winners(odd, 2, True),
    "bmus": lambda som, odd: som.identify_bmus(odd),
    "quantization_error": lambda som, odd: som.quantization_error(odd),
    "topographic_error": lambda som, odd: som.topographic_error(odd),
    "quality_report": lambda som, odd: som.quality_report(odd, resamples=3, n_neighbors=1),
    "anomaly_score": lambda som, odd: som.anomaly_score(odd),
    "hit": lambda som, odd: som.build_map("hit", odd),
    "multiple": lambda som, odd: som.build_multiple_maps([{"type": "hit"}], odd),
    "history": lambda som, odd: som.collect_samples(X[0], odd, Y, PLACES),
    "queries": lambda som, odd: som.collect_samples_batch(odd, X, PLACES),
    "weights": lambda som, odd: SOM(4, 2, 3).initialize_from(odd),
}


@pytest.mark.parametrize("call", DATA_CALLS)
def test_what_are_no_samples_is_refused_by_every_call(call: str) -> None:
    for odd in STRANGE.values():
        require_own_error(lambda odd=odd: DATA_CALLS[call](SOM_MADE, odd))  # type: ignore[misc]  # bound by default


def _uncalled(odd: Any) -> Any:
    """What is no function."""
    return "a name" if callable(odd) else odd


ARGUMENT_CALLS: dict[str, Callable[[SOM, Any], Any]] = {
    "map type": lambda som, odd: som.build_map(odd, X),
    "map name": lambda som, odd: som.build_multiple_maps([{"type": "hit", "name": odd}], X),
    "maps": lambda som, odd: som.build_multiple_maps([odd], X),
    "scaling": lambda som, odd: som.build_map("distance", scaling=odd),
    "distance": lambda som, odd: som.build_map("distance", distance_metric=odd),
    "order": lambda som, odd: som.build_map("distance", neighborhood_order=odd),
    "reduction": lambda som, odd: som.build_map("metric", X, Y, reduction_parameter=odd),
    "indices": lambda som, odd: som.build_map("bmus_data", X, return_indices=odd),
    "places": lambda som, odd: som.build_map("metric", None, Y, bmus_data_map=odd),
    "sample weight": lambda som, odd: som.quantization_error(X, sample_weight=odd),
    "target": lambda som, odd: som.build_map("metric", X, odd),
    "outputs": lambda som, odd: som.collect_samples(X[0], X, odd, PLACES),
    "threshold": lambda som, odd: som.collect_samples(X[0], X, Y, PLACES, min_buffer_threshold=odd),
    "mode": lambda som, odd: som.collect_samples(X[0], X, Y, PLACES, retrieval_mode=odd),
    "start": lambda som, odd: SOM(4, 2).initialize_weights(X, odd),
    "on_epoch": lambda som, odd: SOM(4, 2, epochs=1).fit(X, False, on_epoch=_uncalled(odd)),
    "on_epoch of resume": lambda som, odd: SOM(4, 2, epochs=2).resume(CHECKPOINT, X, False, on_epoch=_uncalled(odd)),
    "on_epoch of growing": lambda som, odd: GrowingSOM(epochs=1).fit(X, False, on_epoch=_uncalled(odd)),
    "verbose": lambda som, odd: SOM(4, 2, epochs=1).fit(X, odd),
    "verbose of resume": lambda som, odd: SOM(4, 2, epochs=2).resume(CHECKPOINT, X, odd),
    "verbose of growing": lambda som, odd: GrowingSOM(epochs=1).fit(X, odd),
    "verbose of a tree": lambda som, odd: HierarchicalSOM().fit(X, odd),
    "weights of growing": lambda som, odd: GrowingSOM(epochs=1).fit(X, False, sample_weight=odd),
    "weights of a tree": lambda som, odd: HierarchicalSOM().fit(X, False, sample_weight=odd),
    "checkpoint": lambda som, odd: SOM(4, 2, epochs=2).resume(odd, X, False),
    "spread factor": lambda som, odd: GrowingSOM(spread_factor=odd),
    "size of growing": lambda som, odd: GrowingSOM(odd, odd),
    "tree": lambda som, odd: HierarchicalSOM(tau_2=odd),
    "root": lambda som, odd: HierarchicalSOM(root=odd),
    "k": lambda som, odd: som.winners(X, odd),
    "flat": lambda som, odd: som.places(odd),
    "adjacency": lambda som, odd: som.topographic_error(X, adjacency=odd),
    "alpha": lambda som, odd: som.anomaly_threshold(odd),
    "forgetting": lambda som, odd: som.partial_fit(X, forgetting_factor=odd),
    "sigma": lambda som, odd: som.quality_report(X, sigma=odd),
    "neighbors": lambda som, odd: som.quality_report(X, n_neighbors=odd),
    "resamples": lambda som, odd: som.quality_report(X, resamples=odd),
    "confidence": lambda som, odd: som.quality_report(X, confidence=odd),
    "method": lambda som, odd: som.cluster(odd),
    "space": lambda som, odd: som.cluster("kmeans", 2, odd),
    "seed": lambda som, odd: som.cluster("kmeans", 2, random_state=odd),
    "clusters": lambda som, odd: som.cluster("ward", odd),
    "turn": lambda som, odd: som.reoriented(odd),
    "undo": lambda som, odd: alignment.inverse(odd),
    "old map": lambda som, odd: alignment.aligned(odd, som.codebook, som.grid),
    "grid": lambda som, odd: alignment.aligned(som.codebook, som.codebook, odd),
    "labels": lambda som, odd: alignment.matched_labels(odd, odd),
    "stability": lambda som, odd: alignment.cluster_stability(odd, odd),
    "folder": lambda som, odd: SOM.load(odd),
    "feature weights": lambda som, odd: SOM(4, 2, 3, feature_weights=odd),
    "topology": lambda som, odd: SOM(4, 2, 3, topology=odd),
}


@pytest.mark.parametrize("call", ARGUMENT_CALLS)
def test_arguments_of_another_kind_are_refused_by_every_call(call: str) -> None:
    for kind, odd in STRANGE.items():
        allowed = (call, kind) in LEGAL
        require_own_error(lambda odd=odd: ARGUMENT_CALLS[call](SOM_MADE, odd), allowed)  # type: ignore[misc]


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_in_any_wrapping_are_read_and_left_alone(kind: str) -> None:
    data = NUMBERS[kind]
    som = SOM(2, 2, epochs=1)
    assert all(map(math.isfinite, som.fit(data, verbose=False)[0]))
    assert torch.isfinite(som.weights).all()
    assert som.identify_bmus(data).shape == (len(data), 2)
    assert int(som.build_map("hit", data).sum()) == len(data)


@st.composite
def odd_rows(draw: st.DrawFn) -> NDArray[Any]:
    """Few rows and features, of huge or tiny scale, constant or equal or not."""
    n, d = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    rows = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(n, d))
    rows = draw(st.sampled_from([rows, np.zeros_like(rows), np.broadcast_to(rows[:1], rows.shape), np.round(rows)]))
    exponents = draw(st.lists(st.sampled_from([-300, -150, -40, 0, 16, 38, 150, 300]), min_size=d, max_size=d))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    with np.errstate(over="ignore"):
        return np.asarray((rows * 10.0 ** np.array(exponents)).astype(dtype))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    odd_rows(),
    st.sampled_from(["euclidean", "manhattan", "chebyshev", "cosine"]),
    st.sampled_from(["batch", "minibatch"]),
    st.sampled_from(sorted(CLUSTERING_METHODS)),
)
def test_rows_of_any_scale_make_a_finite_map_or_are_refused(
    data: NDArray[Any], distance: str, algorithm: str, method: str
) -> None:
    som = SOM(2, 2, epochs=2, distance_function=distance, algorithm=algorithm)
    try:
        som.fit(data, verbose=False)
    except SomlibError:
        return
    assert torch.isfinite(som.weights).all()
    assert som.identify_bmus(data).shape == (len(data), 2)
    assert som.cluster(method, data=data)["labels"].shape == (4,)
    assert som.anomaly_score(data).shape == (len(data),)
    assert alignment.aligned(som.codebook, som.codebook, Grid(2, 2)).permutation.tolist() == [0, 1, 2, 3]


def test_sparse_data_is_refused_with_the_way_out() -> None:
    som = SOM(2, 2, epochs=1)
    with pytest.raises(SomlibError, match=r"use toarray\(\)"):
        som.fit(csr_matrix(X), verbose=False)
    som.fit(csr_matrix(X).toarray(), verbose=False)


ONE = X[:, 0]
ONE_FEATURE = {
    "array": ONE,
    "list": ONE.tolist(),
    "tensor": torch.tensor(ONE),
    "polars series": pl.Series("a", ONE),
    "pandas series": pd.Series(ONE, index=[f"day {i}" for i in range(len(ONE))]),
}


@pytest.mark.parametrize("data", ONE_FEATURE.values(), ids=ONE_FEATURE)
def test_values_without_a_second_axis_are_samples_of_one_feature(data: Any) -> None:
    som, same = (SOM(2, 2, num_features, epochs=1) for num_features in (None, 1))
    curves = som.fit(ONE[:, None], verbose=False)
    assert same.fit(data, verbose=False) == curves
    assert torch.equal(same.weights, som.weights)
    assert torch.equal(same.identify_bmus(data), som.identify_bmus(ONE[:, None]))
    assert same.quantization_error(data) == som.quantization_error(ONE[:, None])
    assert torch.equal(same.build_map("hit", data), som.build_map("hit", ONE[:, None]))
    assert torch.equal(same.anomaly_score(data), som.anomaly_score(ONE[:, None]))
    assert same.identify_bmus(ONE[:1]).shape == (2,)  # one sample (d,)
