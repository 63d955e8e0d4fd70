"""What all estimators share: parameters, seeds, weights, frames, and their place in scikit-learn's tools."""

import inspect
import io
import pickle
import random
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from somlib import SOM, SOMConfig
from somlib.errors import ArgumentError
from somlib.estimators import SOMClassifier, SOMClusterer, SOMEstimator, SOMRegressor, SOMTransformer
from somlib.estimators.base import distinct_rows
from somlib.utils.heuristics import FEWEST_ROWS

KINDS: list[type[SOMEstimator]] = [SOMTransformer, SOMClusterer, SOMClassifier, SOMRegressor]
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
IRIS, SPECIES = load_iris(return_X_y=True)


def answers(estimator: SOMEstimator, X: Any) -> NDArray[Any]:
    """What an estimator says about X, all of it."""
    if isinstance(estimator, SOMClassifier):
        return np.asarray(estimator.predict_proba(X))
    if isinstance(estimator, SOMTransformer):
        return clone(estimator, safe=False).set_params(output="distances").fit(IRIS).transform(X)  # type: ignore[no-any-return]
    return np.asarray(estimator.predict(X))


# Parameters


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_of_the_map_is_a_parameter_under_its_name(kind: type[SOMEstimator]) -> None:
    arguments = set(inspect.signature(SOM).parameters) - {"preset"}  # a name for several of the others
    assert arguments - {"num_features", "random_seed"} | {"random_state"} <= set(kind().get_params())


def test_defaults_are_those_of_the_map_but_for_the_deterministic_training() -> None:
    mine = SOMEstimator().get_params()
    theirs = {**SOMConfig().model_dump(), "random_state": SOMConfig().random_seed}
    assert {name: mine[name] for name in mine if mine[name] != theirs[name]} == {
        "algorithm": "batch",
        "initialization_mode": "pca",
        "epochs": 20,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_reach_the_map(kind: type[SOMEstimator]) -> None:
    given: dict[str, Any] = {
        "x": 4, "y": 3, "epochs": 2, "batch_size": 9, "sigma": 1.25, "learning_rate": 0.1, "neighborhood_order": 2,
        "topology": "hexagonal", "pbc": True, "algorithm": "minibatch", "lr_decay_function": "lr_linear_decay_to_zero",
        "sigma_decay_function": "sig_linear_decay_to_one", "neighborhood_function": "triangle",
        "distance_function": "manhattan", "initialization_mode": "random", "search_backend": "torch", "device": "cpu",
        "missing": "mask", "feature_weights": (1.0, 2.0, 0.5, 1.0), "deterministic": True,
        "steps_per_epoch": 3, "final_sigma": 0.8, "random_state": 7,
    }  # fmt: skip
    som = kind(**given).fit(IRIS, SPECIES).som_
    expected = {**given, "random_seed": given.pop("random_state"), "num_features": 4}
    expected.pop("random_state")
    assert som.config.model_dump() == expected


def test_parameters_are_checked_when_fit_is_called_and_not_before() -> None:
    estimator = SOMTransformer(sigma=-1.0)
    with pytest.raises(ArgumentError, match=r"sigma must be greater than 0, got -1\.0"):
        estimator.fit(IRIS)
    assert not hasattr(estimator, "som_")


def test_numpy_numbers_and_names_of_a_grid_search_are_welcome() -> None:
    settings: dict[str, Any] = {"x": np.int64(3), "y": np.int64(2), "sigma": np.float32(1), "pbc": np.bool_(False)}
    estimator = SOMTransformer(**settings, topology=np.str_("hexagonal"))
    assert estimator.fit(IRIS).som_.grid.m == 6


@pytest.mark.parametrize("value", [-1, 1.5, "seed"])
def test_random_state_is_refused_under_its_own_name(value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"random_state must be None, >= 0 or a RandomState, got {value!r}"):
        SOMTransformer(random_state=value).fit(IRIS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_before_fit_says_so(kind: type[SOMEstimator]) -> None:
    for name in ("predict", "predict_proba", "transform", "score", "get_feature_names_out"):
        if hasattr(kind, name):
            arguments = [IRIS, SPECIES] if name == "score" else [IRIS]
            with pytest.raises(NotFittedError):
                getattr(kind(), name)(*arguments)


# Repeatable


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_maps_and_other_seeds_other_maps(kind: type[SOMEstimator]) -> None:
    def weights(seed: Any) -> torch.Tensor:
        estimator = kind(x=4, y=3, initialization_mode="random", epochs=2, random_state=seed)
        trained: SOM = estimator.fit(IRIS, SPECIES).som_
        return trained.weights

    assert torch.equal(weights(3), weights(3))
    assert torch.equal(weights(np.random.RandomState(3)), weights(np.random.RandomState(3)))
    assert not torch.equal(weights(3), weights(4))
    assert not torch.equal(weights(None), weights(None))


@pytest.mark.parametrize("seed", [42, None])
def test_no_global_random_state_is_read_or_moved(seed: int | None) -> None:
    before = random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    SOMClusterer(random_state=seed, initialization_mode="random", epochs=2).fit(IRIS)
    after = random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_has_the_parameters_and_gives_the_same_answers(kind: type[SOMEstimator]) -> None:
    first = kind(x=4, y=3, sigma=1.2, topology="hexagonal").fit(IRIS, SPECIES)
    second = clone(first)
    assert not hasattr(second, "som_")
    assert second.get_params() == first.get_params()
    np.testing.assert_array_equal(answers(second.fit(IRIS, SPECIES), IRIS), answers(first, IRIS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_estimator_gives_the_same_answers(kind: type[SOMEstimator], tmp_path: Path) -> None:
    estimator = kind(epochs=3).fit(IRIS, SPECIES)
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    for copy in (pickle.loads(pickle.dumps(estimator)), joblib.load(tmp_path / "estimator.joblib", mmap_mode="r")):
        np.testing.assert_array_equal(answers(copy, IRIS), answers(estimator, IRIS))


def test_read_only_memory_is_read_without_a_warning() -> None:
    X, y = IRIS.copy(), SPECIES.astype(float)
    X.flags.writeable = y.flags.writeable = False
    buffer = io.BytesIO()
    joblib.dump(SOMRegressor(epochs=2, feature_weights=(1.0, 1.0, 2.0, 1.0)).fit(X, y), buffer)
    buffer.seek(0)
    assert np.isfinite(joblib.load(buffer).predict(X)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_inside_can_be_saved_and_knows_the_names(kind: type[SOMEstimator], tmp_path: Path) -> None:
    frame = pl.DataFrame(IRIS, schema=NAMES)
    som = kind(epochs=2).fit(frame, SPECIES).som_
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    assert loaded.feature_names == NAMES
    assert torch.equal(loaded.identify_bmus(IRIS), som.identify_bmus(IRIS))


# Weights


def test_many_rows_are_one_step_an_epoch_unless_asked_otherwise() -> None:
    X = np.random.default_rng(0).normal(size=(FEWEST_ROWS, 3))
    left_open, whole, short = (
        SOMTransformer(x=5, y=4, epochs=2, steps_per_epoch=steps).fit(X).som_.weights for steps in (None, 1, 3)
    )
    assert torch.equal(left_open, whole)
    assert not torch.equal(left_open, short)


@pytest.mark.parametrize("mode", ["pca", "random"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_act_like_copies_and_zero_like_absence(kind: type[SOMEstimator], mode: str) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, len(IRIS))
    shuffled = rng.permutation(weight.sum())
    copies, targets = np.repeat(IRIS, weight, axis=0)[shuffled], np.repeat(SPECIES, weight)[shuffled]
    settings: dict[str, Any] = {"initialization_mode": mode, "epochs": 5}
    weighted = kind(**settings).fit(IRIS, SPECIES, sample_weight=weight)
    copied = kind(**settings).fit(copies, targets)
    assert weighted.som_.grid == copied.som_.grid
    torch.testing.assert_close(weighted.som_.weights, copied.som_.weights, rtol=1e-9, atol=1e-9)
    if not isinstance(weighted, SOMTransformer):
        np.testing.assert_allclose(answers(weighted, IRIS), answers(copied, IRIS), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_the_weights_does_not_matter(kind: type[SOMEstimator]) -> None:
    weight = np.random.default_rng(0).uniform(0.5, 2, len(IRIS))
    large = kind(epochs=5).fit(IRIS, SPECIES, sample_weight=weight)
    small = kind(epochs=5).fit(IRIS, SPECIES, sample_weight=weight / weight.sum())
    torch.testing.assert_close(large.som_.weights, small.som_.weights, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("weight", "said"), [([-1.0] * 150, "[Nn]egative"), ([1.0] * 3, r"\(150,\)")])
def test_weights_that_are_negative_or_of_another_number_are_refused(weight: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SOMTransformer().fit(IRIS, sample_weight=weight)


def test_distinct_rows_are_those_of_numpy_and_take_nan_as_equal() -> None:
    X = np.random.default_rng(0).integers(0, 3, (50, 3)).astype(np.float32)
    np.testing.assert_array_equal(distinct_rows(X), np.unique(X, axis=0))
    assert distinct_rows(X).dtype == np.float32
    gaps = np.array([[np.nan, 1.0], [0.0, 1.0], [np.nan, 1.0], [-0.0, 1.0]])
    assert len(distinct_rows(gaps)) == 2


# Frames


def frames() -> list[Any]:
    return [
        pl.DataFrame(IRIS, schema=NAMES),
        pd.DataFrame(IRIS, columns=NAMES),
        pd.DataFrame(IRIS, columns=NAMES).convert_dtypes(),
        pa.table(dict(zip(NAMES, IRIS.T, strict=True))),
    ]


@pytest.mark.parametrize("frame", frames(), ids=["polars", "pandas", "pandas-nullable", "arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_frames_give_the_answers_of_arrays_and_their_names(kind: type[SOMEstimator], frame: Any) -> None:
    by_frame = kind(epochs=2).fit(frame, SPECIES)
    by_array = kind(epochs=2).fit(IRIS, SPECIES)
    assert by_frame.feature_names_in_.tolist() == NAMES
    assert by_frame.n_features_in_ == by_array.n_features_in_ == 4
    assert not hasattr(by_array, "feature_names_in_")
    assert torch.equal(by_frame.som_.weights, by_array.som_.weights)


def test_columns_in_another_order_are_refused() -> None:
    estimator = SOMTransformer(epochs=2).fit(pl.DataFrame(IRIS, schema=NAMES))
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(pl.DataFrame(IRIS, schema=NAMES[::-1]))


def test_single_precision_stays_single() -> None:
    estimator = SOMTransformer(output="distances", epochs=2).fit(IRIS.astype(np.float32))
    assert estimator.som_.weights.dtype == torch.float32
    assert estimator.transform(IRIS.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(estimator.transform(IRIS), estimator.transform(IRIS.astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_are_refused_unless_masked(kind: type[SOMEstimator]) -> None:
    X = IRIS.copy()
    X[::7, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        kind().fit(X, SPECIES)
    masked = kind(missing="mask", epochs=3)
    assert (get_tags(kind()).input_tags.allow_nan, get_tags(masked).input_tags.allow_nan) == (False, True)
    masked.fit(X, SPECIES)
    answer = masked.transform(X) if isinstance(masked, SOMTransformer) else answers(masked, X)
    assert np.isfinite(answer).all()


# scikit-learn's tools


def test_score_is_minus_the_mean_distance_to_the_nearest_neuron() -> None:
    estimator = SOMTransformer(epochs=3).fit(IRIS)
    distances = np.linalg.norm(IRIS[:, None] - estimator.som_.codebook.numpy(), axis=2).min(axis=1)
    weight = np.arange(150)
    assert estimator.score(IRIS) == pytest.approx(-distances.mean())
    assert estimator.score(IRIS, sample_weight=weight) == pytest.approx(-np.average(distances, weights=weight))


def test_a_grid_search_over_a_pipeline_takes_parameters_of_map_and_estimator() -> None:
    pipeline = make_pipeline(StandardScaler(), SOMClassifier(epochs=3))
    grid = {"somclassifier__n_neurons": [1, 5], "somclassifier__topology": ["rectangular", "hexagonal"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(IRIS, SPECIES)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.9
    assert search.best_estimator_[-1].get_params()["n_neurons"] == search.best_params_["somclassifier__n_neurons"]


def test_a_random_search_finds_a_map_without_targets_by_its_own_score() -> None:
    sizes = {"x": range(2, 6), "y": range(2, 6)}
    search = RandomizedSearchCV(SOMClusterer(epochs=2), sizes, n_iter=3, cv=2, random_state=0).fit(IRIS)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert set(search.best_estimator_.labels_) >= {0, 1}


def test_cross_validation_runs_over_all_that_predict() -> None:
    assert cross_val_score(SOMClassifier(epochs=5), IRIS, SPECIES, cv=3).min() > 0.9
    folds = KFold(3, shuffle=True, random_state=0)
    assert cross_val_score(SOMRegressor(epochs=5), IRIS[:, :3], IRIS[:, 3], cv=folds).min() > 0.85


def test_a_column_transformer_feeds_and_uses_maps_with_frames_throughout() -> None:
    frame = pd.DataFrame(IRIS, columns=NAMES).assign(garden=np.where(SPECIES == 0, "north", "south"))
    columns = ColumnTransformer(
        [
            ("som", make_pipeline(StandardScaler(), SOMTransformer(epochs=3)), NAMES),
            ("garden", OneHotEncoder(sparse_output=False), ["garden"]),
        ]
    )
    made = columns.set_output(transform="polars").fit_transform(frame)
    assert made.columns == ["som__som_row", "som__som_column", "garden__garden_north", "garden__garden_south"]
    assert cross_val_score(make_pipeline(columns, LogisticRegression(max_iter=500)), frame, SPECIES, cv=3).mean() > 0.85


def test_distances_to_neurons_are_features_that_a_linear_model_can_use() -> None:
    X, y = load_wine(return_X_y=True)
    model = make_pipeline(
        StandardScaler(), SOMTransformer(output="distances"), StandardScaler(), LogisticRegression(max_iter=500)
    )
    assert cross_val_score(model, X, y, cv=5).mean() > 0.9
