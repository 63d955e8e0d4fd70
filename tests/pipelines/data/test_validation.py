from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from pipelines.data import find_source, survey
from pipelines.data.validation import remarks, require_map, require_usable, usability_problems
from pipelines.errors import ConfigError, DatasetError
from pipelines.settings.sections import DataConfig
from somlib import SOMConfig
from tests.pipelines.conftest import WriteDataset
from tests.pipelines.data.reading import wanted

FRAME = pl.DataFrame(
    {
        "good": [1.0, 2.0, 3.0, 4.0],
        "gaps": [1.0, None, float("nan"), 4.0],
        "fixed": [5.0, 5.0, 5.0, 5.0],
        "fixed_and_gaps": [5.0, None, 5.0, 5.0],
        "none": pl.Series([None] * 4, dtype=pl.Float64),
        "huge": [1.0, float("inf"), float("-inf"), 4.0],
    }
)


@pytest.fixture
def problems(write: WriteDataset) -> Any:
    def found(*features: str, missing: str = "error", frame: pl.DataFrame = FRAME, **settings: Any) -> list[str]:
        path = write(frame)
        config = DataConfig.model_validate({"path": str(path), "features": list(features)} | settings)
        source = find_source(config)
        lines = usability_problems(source, survey(source, config.drop_incomplete), config, missing)
        return [line.replace(str(path), "PATH") for line in lines]

    return found


def test_good_data_has_no_problems(problems: Any) -> None:
    assert problems("good") == []


def test_an_empty_dataset_is_told_with_the_filter_that_emptied_it(problems: Any) -> None:
    assert problems("good", frame=FRAME.head(0)) == ["data.path: the dataset is empty: no rows in PATH"]
    assert problems("good", where="good > 9") == [
        "data.path: the dataset is empty: no rows in PATH after the filter data.where"
    ]


def test_missing_values_are_counted_by_row_and_column_with_two_cures(problems: Any) -> None:
    cures = "som.missing=mask trains around them, data.drop_incomplete=true leaves the rows out"
    assert problems("good", "gaps") == [
        f"data.features: 2 of 4 rows have missing values (null or NaN), gaps in 2: {cures}"
    ]
    assert problems("good", "gaps", missing="mask") == []
    assert problems("good", "gaps", drop_incomplete=True) == []


def test_the_columns_that_lack_most_come_first_and_long_lists_are_cut(problems: Any) -> None:
    frame = pl.DataFrame({f"c{i}": [None] * i + [1.0] * (9 - i) + [2.0] for i in range(9)})
    (line,) = problems(*(f"c{i}" for i in range(9)), frame=frame)
    assert (
        "8 of 10 rows have missing values (null or NaN), c8 in 8, c7 in 7, c6 in 6, c5 in 5, c4 in 4 and 3 more:"
        in line
    )


def test_infinite_values_are_refused_masked_or_not(problems: Any) -> None:
    expected = (
        "data.features: column 'huge' is infinite in 2 of 4 rows: "
        "store such values as missing, or filter them out with data.where"
    )
    assert problems("good", "huge") == [expected]
    assert problems("good", "huge", missing="mask") == [expected]
    assert problems("good", target="huge") == [expected.replace("features", "target")]


def test_a_constant_feature_is_named_with_its_value(problems: Any) -> None:
    expected = "is constant, 5 in all rows: leave it out, a map learns nothing from it"
    assert problems("good", "fixed") == [f"data.features: column 'fixed' {expected}"]
    assert problems("fixed_and_gaps", missing="mask") == [f"data.features: column 'fixed_and_gaps' {expected}"]
    assert problems("good", target="fixed") == []


def test_a_column_without_any_value_is_named(problems: Any) -> None:
    assert problems("none", missing="mask") == ["data.features: column 'none' has no value in any of 4 rows"]
    assert problems("good", target="none") == ["data.target: column 'none' has no value in any of 4 rows"]


def test_dropping_every_row_is_told_with_the_columns_to_blame(problems: Any) -> None:
    frame = pl.DataFrame({"a": [None, 1.0, None], "b": [2.0, None, 3.0]})
    (line,) = problems("a", "b", drop_incomplete=True, frame=frame)
    assert line.startswith("data.drop_incomplete: all 3 rows lack a feature, a in 2, b in 1: use som.missing=mask")


def test_all_problems_are_told_at_once(problems: Any, write: WriteDataset) -> None:
    lines = problems("good", "gaps", "fixed", "none", "huge")
    assert [line.split(": ")[1].split("'")[1:2] for line in lines] == [["none"], ["huge"], [], ["fixed"]]
    config = DataConfig(path=str(write(FRAME)), features=("gaps", "fixed"))
    source = find_source(config)
    with pytest.raises(DatasetError) as caught:
        require_usable(source, survey(source, drop_incomplete=False), config, "error")
    assert len(caught.value.problems) == 2


def test_remarks_tell_what_was_left_out_and_what_lacks_a_target(write: WriteDataset) -> None:
    def lines(drop: bool) -> list[str]:
        config = DataConfig(path=str(write(FRAME)), features=("good", "gaps"), target=("fixed_and_gaps",))
        source = find_source(config)
        return remarks(source, survey(source, drop))

    target = [
        "target fixed_and_gaps is missing in 1 of 4 rows, which its maps leave out",
        "target fixed_and_gaps is constant, 5 wherever it is known: there is nothing to predict",
    ]
    assert lines(drop=True) == ["2 of 4 rows are left out because a feature is missing in them", *target]
    assert lines(drop=False) == ["2 of 4 rows lack a feature; the map trains on what they have", *target]


def test_settings_that_do_not_fit_the_features_are_refused() -> None:
    require_map(SOMConfig(feature_weights=(1.0, 2.0)), features=2)
    with pytest.raises(ConfigError, match=r"^som\.feature_weights must have 3 values"):
        require_map(SOMConfig(feature_weights=(1.0, 2.0)), features=3)
    with pytest.raises(ConfigError, match=r"^som\.num_features must be"):
        require_map(SOMConfig(num_features=5), features=3)
    with pytest.raises(ConfigError, match=r"^som\.device must be one that torch can use"):
        require_map(SOMConfig(device="cuda:99"), features=3)


def test_constant_categories_and_parts_of_times_are_named_by_what_they_are(write: WriteDataset) -> None:
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(30)]
    path = write(pl.DataFrame({"day": days, "city": ["Rome"] * 30, "v": range(30)}))
    data = wanted(path, features=["day", "city", "v"], columns={"day": "time", "city": "category"})
    source = find_source(data)
    lines = usability_problems(source, survey(source, False), data, "error")
    assert lines[0].startswith("data.columns: hour_of_day of 'day' is 0 in all rows: leave it out of its parts")
    assert lines[-1].startswith("data.features: column 'city' is constant, Rome in all rows")
