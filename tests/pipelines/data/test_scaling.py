import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from pipelines.data import scaling
from pipelines.data.columns import CategoryColumn, CyclicColumn, NumberColumn, TimeColumn
from pipelines.data.encoding import Encoding
from pipelines.data.scaling import Scaler, fit_scaler
from pipelines.errors import DatasetError, ModelError

NAMES = ("a", "b", "c")
NAN = float("nan")


def values(rows: int = 50) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    data = random.normal(size=(rows, 3)) * (1, 100, 0.01) + (0, 1000, 5)
    data[3, 0] = data[7, 2] = np.nan
    return data


@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
def test_each_method_matches_its_definition(method: Any) -> None:
    data = values()
    center, scale = {
        "standard": (np.nanmean(data, 0), np.nanstd(data, 0)),
        "minmax": (np.nanmin(data, 0), np.nanmax(data, 0) - np.nanmin(data, 0)),
        "robust": (np.nanmedian(data, 0), np.subtract(*np.nanpercentile(data, [75, 25], axis=0))),
    }[method]
    scaled = fit_scaler(data, NAMES, method).transform(data)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (data - center) / scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
def test_a_scaler_is_fitted_as_scikit_learn_does(method: Any, dtype: Any) -> None:
    random = np.random.default_rng(1)
    data = random.normal(size=(70_000, 3)) * (1, 1e-3, 1e15) + (0, 1e4, -1e16)
    data[random.random(data.shape) < 0.1] = np.nan
    data = data.astype(dtype)
    kind = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}[method]
    ours, theirs = fit_scaler(data, NAMES, method), Scaler.from_sklearn(kind().fit(data), NAMES)
    exact = method == "standard" or dtype == np.float64  # else scikit-learn subtracts in float32
    np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-9 if exact else 1e-6)
    np.testing.assert_allclose(ours.center, theirs.center, rtol=1e-9 if exact else 1e-6, atol=1e-9)


def test_ranges_below_the_rounding_of_one_are_ranges() -> None:
    data = np.array([[0.0], [2e-20], [3e-20]], dtype=np.float32)  # scikit-learn takes them for constant
    for method in ("minmax", "robust", "standard"):
        assert np.ptp(fit_scaler(data, ("a",), method).transform(data)) > 0.5


def test_a_feature_that_varies_by_no_more_than_rounding_has_scale_one_as_in_scikit_learn() -> None:
    data = np.full((1000, 1), 0.1)
    data[::2] = np.nextafter(0.1, 1)
    scaler = fit_scaler(data, ("a",), "standard")
    assert StandardScaler().fit(data).scale_ == scaler.scale == 1


def test_none_changes_nothing() -> None:
    np.testing.assert_array_equal(fit_scaler(values(), NAMES, "none").transform(values()), values().astype(np.float32))


def test_only_the_given_rows_count_and_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "CHUNK_ROWS", 4)
    data, rows = values(), np.array([40, 2, 9, 11, 30, 5])
    scaler = fit_scaler(data, NAMES, "minmax", rows)
    np.testing.assert_allclose(scaler.center, data[rows].min(axis=0))
    expected = (data[rows] - data[rows].min(axis=0)) / np.ptp(data[rows], axis=0)
    np.testing.assert_allclose(scaler.transform(data, rows), expected, rtol=1e-5, atol=1e-6)


def test_a_feature_far_from_zero_keeps_its_digits() -> None:
    data = np.linspace(0, 1, 100)[:, None] + 1e9
    scaled = fit_scaler(data, ("a",), "minmax").transform(data)
    np.testing.assert_allclose(scaled[:, 0], np.linspace(0, 1, 100), atol=2e-7)


def test_inverse_undoes_transform_on_arrays_of_any_shape() -> None:
    data = values(24)
    scaler = fit_scaler(data, NAMES, "standard")
    np.testing.assert_allclose(
        scaler.inverse(scaler.transform(data).reshape(4, 6, 3)), data.reshape(4, 6, 3), rtol=1e-4
    )


def test_json_keeps_every_digit() -> None:
    scaler = fit_scaler(values(), NAMES, "robust")
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert (again.method, again.features) == (scaler.method, scaler.features)
    np.testing.assert_array_equal(again.center, scaler.center)
    np.testing.assert_array_equal(again.scale, scaler.scale)


@pytest.mark.parametrize(
    "fitted",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler(),
        MinMaxScaler(feature_range=(-1, 3)),
        RobustScaler(),
        RobustScaler(with_centering=False, with_scaling=False),
    ],
    ids=repr,
)
def test_scalers_of_scikit_learn_scale_the_same_way_here(fitted: Any) -> None:
    data = values()
    fitted.fit(data)
    scaled = Scaler.from_sklearn(fitted, NAMES).transform(data)
    np.testing.assert_allclose(scaled, fitted.transform(data), rtol=1e-5, atol=1e-5)


def test_other_scalers_are_refused() -> None:
    with pytest.raises(ModelError, match="got MaxAbsScaler"):
        Scaler.from_sklearn(MaxAbsScaler().fit(values()), NAMES)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "standard",
            r"scaling.method=standard: the values of b are equal in all 5 training rows: leave such features out$",
        ),
        ("robust", r"the quartiles of b, c are equal .*leave such features out, or use scaling.method=standard$"),
    ],
)
def test_features_without_a_scale_are_named(method: Any, message: str) -> None:
    data = np.array([[1.0, 5, 0], [2, 5, 0], [3, np.nan, 0], [4, 5, 0], [5, 5, 9]])
    with pytest.raises(DatasetError, match=message):
        fit_scaler(data, NAMES, method)


@pytest.mark.parametrize("broken", [{"center": None}, {"center": ["x"] * 3}, {"center": [0.0]}, {"features": ["a"]}])
def test_a_broken_description_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="the scaler of the model"):
        Scaler.from_dict(Scaler.identity(NAMES).to_dict() | broken)


def mixed() -> tuple[Encoding, np.ndarray[Any, Any]]:
    """An encoding and 500 rows of its numbers, some of them missing."""
    random = np.random.default_rng(4)
    columns = (
        NumberColumn(name="t"),
        CyclicColumn(name="h", period=24),
        CategoryColumn(name="c", levels=("a", "b", "d"), other=True),
        TimeColumn(name="w", parts=("hour_of_day", "day_of_week")),
    )
    rows = np.column_stack(
        [
            random.normal(50, 9, 500),
            random.normal(20, 4, 500) % 24,
            random.choice(4, 500, p=[0.6, 0.2, 0.15, 0.05]),
            random.uniform(0, 24, 500),
            random.integers(1, 8, 500),
        ]
    )
    rows[random.random(rows.shape) < 0.1] = NAN
    return Encoding(columns), rows


def test_the_features_of_a_column_weigh_together_as_one_standardized_feature() -> None:
    encoding, rows = mixed()
    scaler = fit_scaler(rows, encoding.numbers, "standard", encoding=encoding)
    samples = scaler.transform(rows).astype(np.float64)
    for first, last in (
        ("t", "t"),
        ("h sin", "h cos"),
        ("c=a", "c=(other)"),
        ("w day_of_week sin", "w day_of_week cos"),
    ):
        part = samples[:, encoding.features.index(first) : encoding.features.index(last) + 1]
        part = part[~np.isnan(part).any(axis=1)]
        pairs = ((part[:, None] - part[None]) ** 2).sum(axis=2)
        assert pairs.mean() == pytest.approx(2.0, rel=1e-4), first  # as for any feature of variance 1


def test_two_categories_and_two_opposite_hours_are_one_apart_with_minmax() -> None:
    encoding = Encoding((CategoryColumn(name="c", levels=("a", "b", "d")), CyclicColumn(name="h", period=24)))
    rows = np.array([[0, 0], [1, 0], [2, 12.0]])
    samples = fit_scaler(rows, encoding.numbers, "minmax", encoding=encoding).transform(rows)
    assert np.linalg.norm(samples[0] - samples[1]) == pytest.approx(1.0)
    assert np.linalg.norm(samples[0] - samples[2]) == pytest.approx(np.sqrt(2))


def test_columns_that_are_more_than_numbers_weigh_alike_with_robust_where_all_are_normal() -> None:
    encoding, rows = mixed()
    robust, standard = (fit_scaler(rows, encoding.numbers, m, encoding=encoding) for m in ("robust", "standard"))
    np.testing.assert_allclose(robust.scale[1:] / standard.scale[1:], norm.ppf(0.75) - norm.ppf(0.25))


def test_a_scaler_with_columns_survives_json_and_gaps_stay_gaps_of_whole_columns() -> None:
    encoding, rows = mixed()
    scaler = fit_scaler(rows, encoding.numbers, "standard", encoding=encoding)
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_array_equal(again.transform(rows), scaler.transform(rows))
    assert again.inputs == ("t", "h", "c", "w")
    gaps = np.isnan(scaler.transform(rows))
    np.testing.assert_array_equal(gaps[:, encoding.firsts[1]], np.isnan(rows[:, 1]))
    assert (gaps[:, 3:7] == np.isnan(rows[:, [2]])).all()


def test_a_category_or_cycle_that_does_not_vary_is_refused_by_its_name() -> None:
    encoding, rows = mixed()
    rows[:, [2, 4]] = 1.0, 3.0
    with pytest.raises(DatasetError, match="the values of c, w day_of_week are equal in all 500 training rows"):
        fit_scaler(rows, encoding.numbers, "standard", encoding=encoding)
