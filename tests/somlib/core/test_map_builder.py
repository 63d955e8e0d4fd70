"""Maps as the map object gives them: values, shapes, keys, and what is refused."""

import math
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import torch
from torch import Tensor

from somlib import SOM
from somlib.core import base_som
from somlib.core.map_builder import MAPS, map_keys, require_map_configs
from somlib.errors import ArgumentError, DataError, DataTypeError, ShapeError
from somlib.utils import search
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Lattice

N, D = 60, 3
NAN = float("nan")
TARGET_TYPES = tuple(name for name, kind in MAPS.items() if kind.needs == "target")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_map(lattice: Lattice = FOUR[1], **settings: Any) -> SOM:
    return SOM(**lattice.arguments, num_features=D, device="cpu", **settings)


DATA, TARGET, LABELS = normal(N, D), normal(N, seed=1).double(), normal(N, seed=2).round().long()


def samples_of(som: SOM, data: Tensor = DATA) -> list[list[int]]:
    """Samples of each neuron by definition; rows without a winner are nobody's."""
    own: list[list[int]] = [[] for _ in range(som.grid.m)]
    for i, sample in enumerate(data.double().numpy()):
        order = oracle.ranked(sample, som.codebook.double().numpy(), som.distance_function)
        if order:
            own[order[0]].append(i)
    return own


def on_grid(som: SOM, values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(som.grid.x, som.grid.y)


def same(actual: Tensor, expected: Tensor, rtol: float = 1e-12) -> None:
    assert actual.is_floating_point()
    torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=rtol, equal_nan=True)


def std(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else NAN


# ---- every type on every grid


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_hits_count_samples(lattice: Lattice) -> None:
    som = random_map(lattice)
    same(som.build_map("hit", DATA), on_grid(som, [len(own) for own in samples_of(som)]))


@pytest.mark.parametrize("lattice", FOUR, ids=str)
@pytest.mark.parametrize("scaling", ["sum", "mean"])
@pytest.mark.parametrize("order", [None, 1, 2])
def test_the_distance_map_is_the_u_matrix_divided_by_its_maximum(
    lattice: Lattice, scaling: str, order: int | None
) -> None:
    som = random_map(lattice, neighborhood_order=2, distance_function="manhattan")
    weights, values = som.codebook.double().numpy(), []
    for k in range(lattice.m):
        around = oracle.within(lattice, k, order or 2)
        reach = [oracle.feature_distance(weights[k], weights[j], "manhattan") for j in around]
        values.append(sum(reach) / (len(reach) if scaling == "mean" else 1))
    expected = on_grid(som, [v / max(values) for v in values])
    same(som.build_map("distance", scaling=scaling, neighborhood_order=order), expected, rtol=1e-6)
    if order is None and scaling == "sum":
        same(som.build_map("distance"), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["euclidean", "cosine", "manhattan", "chebyshev"])
def test_the_distance_map_takes_another_metric(name: str) -> None:
    som, other = random_map(), random_map(distance_function=name)
    assert torch.equal(som.build_map("distance", distance_metric=name), other.build_map("distance"))


def test_the_distance_map_of_equal_neurons_is_0_everywhere() -> None:
    som = random_map()
    som.weights.data.fill_(3.0)
    assert not som.build_map("distance").any()
    assert SOM(1, 1, D, device="cpu").build_map("distance").tolist() == [[0.0]]


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_bmus_data_holds_the_samples_of_every_neuron_that_has_any(lattice: Lattice) -> None:
    som = random_map(lattice)
    own = {divmod(k, lattice.y): samples for k, samples in enumerate(samples_of(som)) if samples}
    indices = som.build_map("bmus_data", DATA)
    assert indices == own == som.build_map("bmus_data", DATA, return_indices=True)
    assert all(type(i) is int for samples in indices.values() for i in samples)
    assert all(type(part) is int for place in indices for part in place)
    rows = som.build_map("bmus_data", DATA, return_indices=False)
    assert set(rows) == set(own)
    assert all(torch.equal(rows[place], DATA[own[place]]) for place in own)


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_metric_score_and_rank_are_statistics_of_each_neurons_targets(lattice: Lattice) -> None:
    som = random_map(lattice)
    values = [[float(TARGET[i]) for i in own] for own in samples_of(som)]
    mean = on_grid(som, [statistics.fmean(v) if v else NAN for v in values])
    deviation = on_grid(som, [std(v) for v in values])
    score = [std(v) / math.sqrt(len(v)) * math.log(N / len(v)) if len(v) > 1 else NAN for v in values]
    rank = scipy.stats.rankdata(deviation.flatten().numpy(), method="min", nan_policy="omit")
    same(som.build_map("metric", DATA, TARGET), mean)
    same(som.build_map("metric", DATA, TARGET, reduction_parameter="mean"), mean)
    same(som.build_map("metric", DATA, TARGET, reduction_parameter="std"), deviation)
    same(som.build_map("score", DATA, TARGET), on_grid(som, score))
    same(som.build_map("rank", DATA, TARGET), on_grid(som, rank.tolist()))


@pytest.mark.parametrize("lattice", FOUR, ids=str)
@pytest.mark.parametrize("order", [1, 2])
def test_classes_are_the_most_frequent_with_ties_broken_around(lattice: Lattice, order: int) -> None:
    som, own = random_map(lattice, neighborhood_order=order), samples_of(random_map(lattice))
    expected = []
    for k in range(lattice.m):
        votes = Counter(int(LABELS[i]) for i in own[k])
        tied = [c for c in votes if votes[c] == max(votes.values())]
        around = Counter(int(LABELS[i]) for j in oracle.within(lattice, k, order) for i in own[j])
        expected.append(float(min(tied, key=lambda c: (-around[c], c))) if tied else NAN)  # used at once
    classes = som.build_map("classification", DATA, LABELS)
    assert classes.dtype == torch.float64
    same(classes, on_grid(som, expected))
    same(
        random_map(lattice).build_map("classification", DATA, LABELS, neighborhood_order=order), on_grid(som, expected)
    )


def test_classes_that_are_texts_are_places_in_their_order() -> None:
    som, names = random_map(), ["Ente", "Maus", "Zebra", "ß", "é"]  # in this order
    texts = [names[int(label) % 5] for label in LABELS]
    numbers = torch.tensor([float(names.index(text)) for text in texts])
    same(som.build_map("classification", DATA, texts), som.build_map("classification", DATA, numbers))
    owned = som.build_map("bmus_data", DATA)
    same(
        som.build_map("classification", target=texts, bmus_data_map=owned),
        som.build_map("classification", DATA, numbers),
    )
    built = som.build_multiple_maps([{"type": "classification"}], DATA, texts)
    same(built["classification"], som.build_map("classification", DATA, numbers))
    with pytest.raises(DataTypeError, match="got texts: build_map\\('metric'\\) is none of classes"):
        som.build_map("metric", DATA, texts)


@pytest.mark.parametrize("map_type", TARGET_TYPES)
def test_a_target_of_several_columns_gives_a_map_of_each(map_type: str) -> None:
    som, target = random_map(), torch.stack((LABELS, LABELS.flip(0), LABELS.roll(7)), dim=1)
    together = som.build_map(map_type, DATA, target)
    assert together.shape == (3, 5, 4)
    for column in range(3):
        same(together[column], som.build_map(map_type, DATA, target[:, column]))
    assert som.build_map(map_type, DATA, target[:, :1]).shape == (5, 4)


def test_statistics_of_a_large_mean_and_large_labels_stay_exact() -> None:
    som, data = SOM(1, 1, 1, device="cpu"), torch.zeros(5, 1)
    target = np.array([1e8, 1e8 + 1, 1e8 + 2, 1e8 + 3, 1e8 + 4])
    assert float(som.build_map("metric", data, target, reduction_parameter="std")) == pytest.approx(math.sqrt(2.5))
    for label in (2**24 + 1, 2**53 - 1):
        assert float(som.build_map("classification", data, [label] * 5)) == label


def test_samples_without_a_winner_are_in_no_map() -> None:
    data = DATA.clone()
    data[::5] = 0.0
    som = random_map(distance_function="cosine")
    own = samples_of(som, data)
    assert sum(map(len, own)) == N - 12
    same(som.build_map("hit", data), on_grid(som, [len(samples) for samples in own]))
    assert som.build_map("bmus_data", data) == {divmod(k, 4): s for k, s in enumerate(own) if s}
    means = [float(TARGET[samples].mean()) if samples else NAN for samples in own]
    same(som.build_map("metric", data, TARGET), on_grid(som, means))
    masked = random_map(missing="mask")
    data[::5] = NAN
    assert float(masked.build_map("hit", data).sum()) == N - 12


# ---- samples by neuron made earlier


@pytest.mark.parametrize("map_type", TARGET_TYPES)
def test_a_map_of_samples_made_earlier_stands_for_the_data(map_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    som = random_map()
    expected, earlier = som.build_map(map_type, DATA, LABELS), som.build_map("bmus_data", DATA)
    monkeypatch.setattr(base_som, "make_search", None)  # no search any more
    same(som.build_map(map_type, target=LABELS, bmus_data_map=earlier), expected)
    for length in (N - 1, N + 1):
        with pytest.raises(ShapeError, match=f"must have .*{N}.* got {length}"):
            som.build_map(map_type, target=torch.zeros(length), bmus_data_map=earlier)


@pytest.mark.parametrize("map_type", TARGET_TYPES)
def test_rows_in_place_of_indices_are_refused(map_type: str) -> None:
    som = random_map()
    rows = som.build_map("bmus_data", DATA, return_indices=False)
    with pytest.raises(ArgumentError, match="return_indices=True"):
        som.build_map(map_type, target=LABELS, bmus_data_map=rows)


def test_a_target_may_be_longer_than_the_samples_that_have_a_winner() -> None:
    data = DATA.clone()
    data[-3:] = 0.0
    som = random_map(distance_function="cosine")
    earlier = som.build_map("bmus_data", data)
    same(som.build_map("metric", target=TARGET, bmus_data_map=earlier), som.build_map("metric", data, TARGET))


# ---- several maps

WANTED: list[Any] = [
    {"type": "hit"},
    {"type": "metric", "kwargs": {"reduction_parameter": "std"}},
    {"type": "distance", "kwargs": {"scaling": "mean", "neighborhood_order": 2}},
    {"type": "distance", "kwargs": {"neighborhood_order": 2, "scaling": "mean"}},
    {"type": "classification", "name": "classes", "kwargs": {}},
    {"type": "hit", "kwargs": None},
    {"type": "rank", "name": "classes"},
    {"type": "hit"},
    {"type": "bmus_data", "kwargs": {"return_indices": False}},
]
KEYS = [
    "hit", "metric_std", "distance_mean_2", "distance_2_mean", "classes", "hit_2", "classes_2", "hit_3",
    "bmus_data_False",
]  # fmt: skip


def test_several_maps_are_those_built_one_by_one_under_readable_keys() -> None:
    som = random_map()
    built = som.build_multiple_maps(WANTED, DATA, target=LABELS, batch_size=7)
    assert list(built) == KEYS
    for config, actual in zip(WANTED[:-1], built.values(), strict=False):
        same(actual, som.build_map(config["type"], DATA, LABELS, **(config.get("kwargs") or {})).double())
    assert set(built["bmus_data_False"]) == set(som.build_map("bmus_data", DATA))


def test_one_search_serves_all_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []
    make_search = search.make_search

    def counted(*args: Any, **kwargs: Any) -> Any:
        searches.append(args)
        return make_search(*args, **kwargs)

    monkeypatch.setattr(base_som, "make_search", counted)
    random_map().build_multiple_maps(WANTED, DATA, target=LABELS)
    assert len(searches) == 1


def test_keys_are_the_same_in_every_process() -> None:
    assert map_keys(require_map_configs(WANTED)) == KEYS  # written out: every process salts `hash` anew


def test_a_number_that_a_name_has_taken_is_passed_over() -> None:
    wanted = [{"type": "hit", "name": "hit_2"}, {"type": "hit"}, {"type": "hit"}]
    assert map_keys(require_map_configs(wanted)) == ["hit_2", "hit", "hit_3"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("hit", "map_configs must be a list of dicts, got str"),
        ({"type": "hit"}, "map_configs must be a list of dicts, got dict"),
        (["hit"], r"map_configs\[0\] must be a dict with the key 'type', got 'hit'"),
        ([{"type": "hit"}, {"kwargs": {}}], r"map_configs\[1\] must be a dict with the key 'type'"),
        ([{"type": "hit", "kwarg": {}}], r"map_configs\[0\] takes type, name and kwargs, got 'kwarg'"),
        ([{"type": "hit", "kwargs": [1]}], r"map_configs\[0\]\['kwargs'\] must be a dict, got \[1\]"),
        ([{"type": "hits"}], "map_type must be one of 'hit', 'distance'.*got 'hits'"),
        ([{"type": "hit", "kwargs": {"scaling": "sum"}}], r"build_map\('hit'\) takes batch_size, got 'scaling'"),
    ],
)
def test_configs_that_are_none_are_refused_before_any_search(
    wanted: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_som, "make_search", None)
    with pytest.raises(ArgumentError, match=message):
        random_map().build_multiple_maps(wanted, DATA)


# ---- what is refused


def test_an_unknown_type_lists_the_seven() -> None:
    with pytest.raises(ValueError, match="map_type must be one of") as caught:
        random_map().build_map("umatrix", DATA)
    names = {"hit", "distance", "bmus_data", "metric", "score", "rank", "classification"}
    assert all(repr(name) in str(caught.value) for name in names)
    assert set(MAPS) == names


@pytest.mark.parametrize("map_type", MAPS)
def test_the_table_of_build_map_says_what_each_type_needs_and_takes(map_type: str) -> None:
    (row,) = [line for line in str(SOM.build_map.__doc__).splitlines() if line.strip().startswith(f"| `{map_type}` |")]
    needs, kind = row.split("|")[2].strip(), MAPS[map_type]
    assert needs == {"codebook": "nothing"}.get(kind.needs, kind.needs)
    assert [name for name in kind.arguments if f"`{name}`" not in row and f"`{name}=" not in row] == []


@pytest.mark.parametrize(("map_type", "known"), [(name, kind.arguments) for name, kind in MAPS.items()])
def test_an_unknown_argument_lists_those_of_the_type(map_type: str, known: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=rf"build_map\('{map_type}'\) takes ") as caught:
        random_map().build_map(map_type, DATA, LABELS, radius=3)
    assert all(name in str(caught.value) for name in (*known, "batch_size", "'radius'"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("distance", {"scaling": "max"}), "scaling must be one of 'sum', 'mean', got 'max'"),
        (("distance", {"distance_metric": "l3"}), "distance_metric must be one of 'euclidean', .*got 'l3'"),
        (("distance", {"neighborhood_order": 0}), "neighborhood_order must be an integer of at least 1, got 0"),
        (("distance", {"neighborhood_order": 1.5}), "neighborhood_order must be an integer of at least 1, got 1.5"),
        (("classification", {"neighborhood_order": -1}), "neighborhood_order must be an integer of at least 0, got -1"),
        (("metric", {"reduction_parameter": "median"}), "reduction_parameter must be one of .*got 'median'"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_an_argument_is_refused(arguments: tuple[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_map().build_map(arguments[0], DATA, LABELS, **arguments[1])


def test_an_order_may_be_any_kind_of_whole_number() -> None:
    som = random_map()
    for map_type in ("distance", "classification"):
        one, other = (som.build_map(map_type, DATA, LABELS, neighborhood_order=o) for o in (2, np.int64(2)))
        same(one, other.double())


NO_MATTER: tuple[dict[str, Any], ...] = ({}, {"batch_size": 7})


@pytest.mark.parametrize("map_type", MAPS)
def test_every_type_takes_a_batch_size_that_changes_nothing(map_type: str) -> None:
    som = random_map()
    one, other = (som.build_map(map_type, DATA, LABELS, **kwargs) for kwargs in NO_MATTER)
    assert str(one) == str(other)


@pytest.mark.parametrize("map_type", [name for name, kind in MAPS.items() if kind.needs == "data"])
def test_a_map_of_data_needs_data(map_type: str) -> None:
    with pytest.raises(ValueError, match=rf"build_map\('{map_type}'\) needs data, got none"):
        random_map().build_map(map_type)


@pytest.mark.parametrize("map_type", TARGET_TYPES)
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"data": DATA}, ArgumentError, "needs target, got none"),
        ({"target": LABELS}, ArgumentError, "needs data or bmus_data_map, got neither"),
        ({"data": DATA, "target": LABELS[1:]}, ShapeError, "must have 60 values, one a sample, got 59"),
        ({"data": DATA, "target": 5}, ShapeError, r"must have shape \(n,\) or \(n, o\)"),
        ({"data": DATA, "target": [1j] * N}, DataTypeError, "target must be numeric"),
        ({"data": DATA[:, :2], "target": LABELS}, ShapeError, "must have 3 features"),
        ({"data": DATA * NAN, "target": LABELS}, DataError, "must be finite"),
        ({"target": LABELS, "bmus_data_map": {(9, 9): [0]}}, ArgumentError, "keys"),
        ({"target": 5, "bmus_data_map": {(0, 0): [0]}}, ShapeError, r"must have shape \(n,\) or \(n, o\)"),
    ],
)
def test_a_map_of_targets_needs_targets_of_the_samples(
    map_type: str, call: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        random_map().build_map(map_type, **call)
    assert isinstance(caught.value, ValueError | TypeError)


KINDS: list[Callable[[Tensor], Any]] = [
    lambda t: t.numpy(),
    lambda t: t.tolist(),
    lambda t: pl.DataFrame(t.numpy()),
    lambda t: pd.DataFrame(t.numpy()),
    lambda t: pl.DataFrame(t.numpy()).to_arrow(),
]


@pytest.mark.parametrize("kind", KINDS)
def test_data_and_targets_of_any_kind_give_the_same_maps(kind: Callable[[Tensor], Any]) -> None:
    som, target = random_map(), LABELS[:, None]
    for map_type in TARGET_TYPES:
        actual = som.build_map(map_type, kind(DATA.double()), kind(target))
        same(actual, som.build_map(map_type, DATA.double(), target).double())


@pytest.mark.parametrize("map_type", [*TARGET_TYPES, "hit", "bmus_data"])
def test_building_a_map_changes_neither_data_nor_target_nor_samples_nor_map(map_type: str) -> None:
    som, data, target = random_map(), DATA.clone(), LABELS.clone()
    weights, earlier = som.weights.clone(), som.build_map("bmus_data", data)
    copy = {place: list(samples) for place, samples in earlier.items()}
    som.build_map(map_type, data, target)
    if map_type in TARGET_TYPES:
        som.build_map(map_type, target=target, bmus_data_map=earlier)
    assert torch.equal(data, DATA)
    assert torch.equal(target, LABELS)
    assert torch.equal(som.weights, weights)
    assert earlier == copy


# ---- targets that are not known


@pytest.mark.parametrize("map_type", TARGET_TYPES)
def test_a_sample_whose_target_is_missing_counts_for_the_other_targets_only(map_type: str) -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(60, 2, generator=generator)
    target = torch.randint(0, 4, (60, 2), generator=generator).double()
    target[::7, 0] = torch.nan
    som = SOM(3, 2, 2, missing="mask", device="cpu", epochs=1)
    som.fit(data, verbose=False)
    built = som.build_map(map_type, data, target)
    for column in range(2):
        known = ~torch.isnan(target[:, column])
        expected = som.build_map(map_type, data[known], target[known, column])
        torch.testing.assert_close(built[column], expected, equal_nan=True)


def test_a_missing_target_is_refused_where_missing_data_is() -> None:
    som = SOM(3, 2, 2, device="cpu")
    with pytest.raises(ValueError, match=r"target must be finite, got nan at row 1, column 0 \(1 such value\)"):
        som.build_map("metric", torch.rand(3, 2), [1.0, float("nan"), 2.0])
