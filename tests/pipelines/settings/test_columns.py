from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.settings.columns import ColumnConfig, age_in_words, seconds
from pipelines.settings.config import PipelineConfig, load_config
from pipelines.settings.sections import DataConfig


def columns(**said: Any) -> dict[str, ColumnConfig]:
    return DataConfig.model_validate({"path": "p", "features": ["a"], "columns": said}).columns


def test_a_word_is_a_kind_and_numbers_in_an_order_are_texts() -> None:
    assert columns(a="category") == {"a": ColumnConfig(kind="category")}
    assert columns(a={"kind": "ordinal", "order": [1, True, "x"]})["a"].order == ("1", "true", "x")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"kind": "cyclic"}, "period must be given for kind=cyclic"),
        ({"kind": "cyclic", "period": 0}, "greater than 0"),
        ({"kind": "ordinal"}, "order must be given for kind=ordinal"),
        ({"kind": "ordinal", "order": ["a"]}, "order must have at least two values, got a alone"),
        ({"kind": "ordinal", "order": ["a", "b", "a"]}, "order must have each value once, got a, b, a"),
        ({"kind": "category", "period": 24}, "period is of no use for kind=category, which takes least_share and most"),
        ({"kind": "boolean", "most": 3}, "most is of no use for kind=boolean, which takes no other setting"),
        ({"kind": "time", "parts": []}, "at least 1 item"),
        (
            "classy",
            "Input should be 'number', 'boolean', 'category', 'ordinal', 'cyclic', 'time', 'lag' or 'rolling_mean'",
        ),
        ({"kind": "lag", "of": "b"}, "by must be given for kind=lag"),
        ({"kind": "lag", "of": "b", "by": "1 day"}, "must be a time such as 30s, 15min, 24h, 7d or 2w, got '1 day'"),
        ({"kind": "lag", "of": "b", "by": 24}, "must be a time such as .*, got 24"),
        ({"kind": "lag", "of": "b", "by": "24h", "oldest": "90min"}, "oldest must be at least by=24h, got 90min"),
        ({"kind": "lag", "of": "b", "by": "24h"}, "columns.a is a lag and needs data.time"),
        ({"kind": "rolling_mean", "of": "b"}, "over must be given for kind=rolling_mean"),
        ({"kind": "rolling_mean", "of": "b", "over": "1h", "oldest": "1h"}, "oldest is of no use"),
    ],
)
def test_settings_that_do_not_fit_the_kind_are_refused(said: Any, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        columns(a=said)


def test_ages_are_as_long_as_they_say() -> None:
    ages = {"30s": timedelta(seconds=30), "15min": timedelta(minutes=15), "36h": timedelta(hours=36)}
    ages |= {"7d": timedelta(days=7), "2w": timedelta(weeks=2)}
    assert [seconds(age) for age in ages] == [age.total_seconds() for age in ages.values()]
    assert [age_in_words(age) for age in ("1h", "90min")] == ["1 hour", "90 minutes"]


def test_the_time_column_is_a_feature_only_by_its_parts() -> None:
    given = {"path": "p", "features": ["a", "t"], "time": "t"}
    assert DataConfig.model_validate(given | {"columns": {"t": "time"}}).time == "t"
    with pytest.raises(ValidationError, match=r"time must be neither .* got t: columns=\{t: time\} takes parts of it"):
        DataConfig.model_validate(given)


def test_columns_survive_yaml_and_are_one_setting_of_a_run(tmp_path: Any) -> None:
    said = {"a": {"kind": "cyclic", "period": 24}, "b c": "category"}
    config = PipelineConfig.model_validate(
        {"name": "demo", "data": {"path": "/p", "features": ["a", "b c"], "columns": said}}
    )
    file = tmp_path / "demo.yaml"
    file.write_text(config.to_yaml())
    assert load_config(file) == config
    assert '"period": 24.0' in config.resolved()["data.columns"]
    assert not [name for name in config.resolved() if name.startswith("data.columns.")]


def test_a_problem_of_a_column_is_a_line_with_its_name(tmp_path: Any) -> None:
    from pipelines.errors import ConfigError

    file = tmp_path / "demo.yaml"
    file.write_text("{name: demo, data: {path: p, features: [hour], columns: {hour: {kind: cyclic, periode: 24}}}}")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert "data.columns.hour.periode is no known setting: did you mean data.columns.hour.period?" in str(caught.value)
