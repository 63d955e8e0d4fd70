from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from pipelines.data.columns import CategoryColumn, Column, column
from pipelines.errors import DatasetError
from pipelines.settings.columns import ColumnConfig

NAN = float("nan")


def made(name: str = "c", zone: str | None = None, **settings: Any) -> Column:
    return column(name, ColumnConfig.model_validate(settings), zone)


def numbers_of(column: Column, values: pl.Series) -> np.ndarray[Any, Any]:
    return np.column_stack([each.fill_null(NAN).to_numpy() for each in column.read(values)])


def test_a_cycle_lies_on_a_circle_and_is_read_back_as_one_value() -> None:
    hour = made(kind="cyclic", period=24)
    assert (hour.numbers, hour.features, hour.readable) == (("c",), ("c sin", "c cos"), ("c",))
    values = numbers_of(hour, pl.Series([0, 6, 12, 18, 23, 24, None]))
    features = hour.expand(values)
    np.testing.assert_allclose(features[:4], [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-12)
    assert np.linalg.norm(features[4] - features[0]) == pytest.approx(2 * np.sin(np.pi / 24))  # an hour to midnight
    np.testing.assert_allclose(hour.collapse(features)[:, 0], [0, 6, 12, 18, 23, 0, NAN], atol=1e-9)
    np.testing.assert_allclose(hour.collapse(3 * features)[:, 0], hour.collapse(features)[:, 0])  # of any length


def test_rounded_as_features_are_a_cycle_still_begins_at_its_start() -> None:
    weekday = made(kind="cyclic", period=7, start=1)
    days = np.arange(1.0, 8.0)[:, None]
    stored = ((weekday.expand(days) - 0.1) / 0.7).astype(np.float32)  # scaled, as samples are
    np.testing.assert_allclose(weekday.collapse(stored.astype(np.float64) * 0.7 + 0.1), days, atol=1e-4)


def test_a_cycle_begins_where_it_says_and_a_pair_without_an_angle_has_no_value() -> None:
    month = made(kind="cyclic", period=12, start=1)
    values = np.arange(1.0, 13)[:, None]
    np.testing.assert_allclose(month.collapse(month.expand(values)), values)
    assert np.isnan(month.collapse(np.zeros((1, 2)))).all()
    assert numbers_of(made(kind="cyclic", period=360), pl.Series([-10.0, 725.0]))[:, 0].tolist() == [350.0, 5.0]


def test_parts_of_a_moment_are_those_of_the_calendar_in_its_zone() -> None:
    moment = datetime(2024, 12, 31, 22, 45)  # a Tuesday, the 366th day
    parts = ["hour_of_day", "day_of_week", "day_of_year", "day_of_month", "month_of_year", "minute_of_hour"]
    when = made("when", kind="time", parts=parts)
    assert when.numbers[:2] == ("when hour_of_day", "when day_of_week")
    values = numbers_of(when, pl.Series([moment, None]))
    assert values[0].tolist() == [22.75, 2, 366, 31, 12, 45]
    assert np.isnan(values[1]).all()
    assert numbers_of(made("when", "Europe/Paris", kind="time", parts=parts), pl.Series(["2024-12-31T22:45:00Z"]))[
        0
    ].tolist() == [23.75, 2, 366, 31, 12, 45]
    features = when.expand(values)
    assert features.shape == (2, len(when.features)) == (2, 12)
    np.testing.assert_allclose(when.collapse(features)[0], values[0])


def test_ordinals_are_the_places_that_scikit_learn_gives_them() -> None:
    order = ["low", "mid", "high"]
    texts = ["mid", "low", "high", "mid"]
    expected = OrdinalEncoder(categories=[order]).fit_transform(np.array(texts)[:, None])
    grade = made(kind="ordinal", order=order)
    np.testing.assert_array_equal(numbers_of(grade, pl.Series(texts)), expected)
    with pytest.raises(ValueError, match="must hold values of its order, low, mid, high, got 'odd'"):
        grade.read(pl.Series(["low", "odd"]))
    assert numbers_of(made(kind="ordinal", order=[1, 2, 5]), pl.Series([5.0, 1.0]))[:, 0].tolist() == [2, 0]


def test_categories_are_those_of_scikit_learn_rare_and_unknown_ones_together() -> None:
    random = np.random.default_rng(0)
    texts = random.choice(["a", "b", "c", "d", "e"], 400, p=[0.5, 0.3, 0.15, 0.03, 0.02])
    known, counts = np.unique(texts, return_counts=True)
    ours = made(kind="category", least_share=0.05)
    assert isinstance(ours, CategoryColumn)
    ours = ours.fitted([str(each) for each in known], counts)
    assert ours.features == ("c=a", "c=b", "c=c", "c=(other)")
    theirs = OneHotEncoder(min_frequency=0.05, handle_unknown="infrequent_if_exist", sparse_output=False)
    theirs.fit(texts[:, None])
    asked = ["a", "c", "d", "e", "never seen"]
    codes = ours.codes(asked)[:, None]
    np.testing.assert_array_equal(ours.expand(codes), theirs.transform(np.array(asked)[:, None]))


def test_an_unknown_category_is_none_of_the_known_where_none_were_rare_and_a_missing_one_is_missing() -> None:
    ours = CategoryColumn(name="c", levels=("a", "b"))
    np.testing.assert_array_equal(ours.expand(ours.codes(["b", "x"])[:, None]), [[0, 1], [0, 0]])
    assert np.isnan(ours.expand(np.array([[NAN]]))).all()


def test_only_the_most_frequent_categories_have_a_feature() -> None:
    ours = CategoryColumn(name="c", most=2, least_share=0).fitted(list("abcd"), np.array([5, 9, 0, 7]))
    assert (ours.levels, ours.other) == (("b", "d"), True)
    assert not CategoryColumn(name="c", least_share=0).fitted(list("abcd"), np.array([5, 9, 0, 7])).other


def test_stored_values_are_read_as_what_they_stand_for() -> None:
    for each, values in (
        (made(kind="boolean"), [True, False]),
        (made(kind="ordinal", order=["x", "y", "z"]), ["z", "x"]),
        (made(kind="cyclic", period=24), [23.0, 4.0]),
    ):
        features = each.expand(numbers_of(each, pl.Series(values)))
        assert each.stored(features) == pytest.approx(values) if isinstance(values[0], float) else values
    city = CategoryColumn(name="c", levels=("a", "b"), other=True)
    assert city.stored(np.array([[0.2, 0.3, 0.5]])) == ["b"]
    when = made("when", kind="time", parts=["hour_of_day", "day_of_year"])
    features = when.expand(numbers_of(when, pl.Series([datetime(2024, 3, 5, 7)])))
    assert numbers_of(when, pl.Series(when.stored(features)))[0] == pytest.approx([7, 65], abs=1)


def test_a_category_of_rare_values_alone_is_refused() -> None:
    each = CategoryColumn(name="code", least_share=0.1)
    with pytest.raises(DatasetError, match=r"each value of 'code' is in less than 10.0% of the training rows"):
        each.fitted([f"v{i}" for i in range(11)], np.ones(11, dtype=np.int64))
    assert len(each.fitted([f"v{i}" for i in range(10)], np.ones(10, dtype=np.int64)).levels) == 10
