"""Any legal map and any options: clusters numbered from 1 without a gap, or an error of this package's own."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from somlib import SOM
from somlib.errors import SomlibError
from somlib.utils.clustering import CLUSTERING_METHODS

pytestmark = [
    pytest.mark.filterwarnings("ignore::somlib.errors.SomlibWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # of one iteration
]

numbers = st.one_of(st.none(), st.integers(-2, 40), st.sampled_from([2.0, 2.5, "3", np.int64(3), np.nan, True]))
seeds = st.one_of(st.none(), st.integers(-1, 5), st.sampled_from([2**32, "a", 1.5]))
options = st.fixed_dictionaries(
    {},
    optional={
        "n_init": st.sampled_from([1, 3, 0, "auto", "x"]),
        "max_iter": st.sampled_from([1, 50, 0, -1]),
        "tol": st.sampled_from([1e-3, 0.0, -1.0, np.nan]),
        "covariance_type": st.sampled_from(["full", "tied", "diag", "spherical", "round"]),
        "min_cluster_size": st.sampled_from([2, 5, 1, 10**6, 2.5]),
        "allow_single_cluster": st.booleans(),
        "bogus": st.just(1),
    },
)


def odd_map(kind: str, rows: int, columns: int, d: int, hexagonal: bool) -> SOM:
    rng = np.random.default_rng(rows * 100 + columns * 10 + d)
    data = rng.normal(size=(60, d))
    data = {
        "usual": data,
        "equal": np.zeros_like(data),
        "one column": data * (np.arange(d) == 0),
        "huge": data * 1e15,
        "tiny": data * 1e-15,
        "far": data + 1e6,
        "twins": np.repeat(data[:2], 30, axis=0),
    }[kind]
    som = SOM(rows, columns, epochs=1, topology="hexagonal" if hexagonal else "rectangular", algorithm="batch")
    som.fit(data, verbose=False)
    return som


maps = st.builds(
    odd_map,
    st.sampled_from(["usual", "equal", "one column", "huge", "tiny", "far", "twins"]),
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.booleans(),
)  # fmt: skip


def answer(som: SOM, method: str, **arguments: Any) -> torch.Tensor | str:
    """Labels of clusters, or why there are none."""
    try:
        labels: torch.Tensor = som.cluster(method, **arguments)["labels"]
    except SomlibError as error:
        return str(error)
    return labels


@pytest.mark.parametrize("method", list(CLUSTERING_METHODS))
@settings(max_examples=25, deadline=None)
@given(
    som=maps, n_clusters=numbers, space=st.sampled_from(["weights", "positions", "combined"]), seed=seeds, more=options
)
def test_any_options_give_clusters_or_an_error_that_says_what_is_wrong(
    method: str, som: SOM, n_clusters: Any, space: str, seed: Any, more: dict[str, Any]
) -> None:
    if seed is not None:
        more = more | {"random_state": seed}
    labels = answer(som, method, n_clusters=n_clusters, feature_space=space, **more)
    if isinstance(labels, str):
        assert len(labels.splitlines()) == 1
        return
    assert labels.shape == (som.grid.m,)
    real = labels[labels >= 0]
    assert sorted(set(real.tolist())) == list(range(1, int(real.max()) + 1 if len(real) else 1))
    if isinstance(n_clusters, int) and method not in ("hdbscan",):
        assert len(set(real.tolist())) <= max(n_clusters, 1)
    again = answer(som, method, n_clusters=n_clusters, feature_space=space, **more)
    assert isinstance(again, torch.Tensor)
    assert again.equal(labels)
