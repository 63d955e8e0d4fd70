from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from pipelines.errors import ConfigError
from pipelines.settings.config import PipelineConfig
from pipelines.settings.reference import json_schema, settings
from pipelines.settings.sections import JITLConfig
from tests.pipelines.conftest import WEATHER

CONFIG: dict[str, Any] = {"name": "demo", "data": {"path": "p", "features": ["a", "b"]}}


def walked(model: type[BaseModel], prefix: str = "") -> set[str]:
    """The dotted names of all settings of sections in sections."""
    names = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= walked(inner, f"{prefix}{name}.")
        else:
            names.add(prefix + name)
    return names


def test_every_setting_has_a_line_with_its_default_and_its_meaning() -> None:
    by_name = {each.name: each for each in settings()}
    assert walked(PipelineConfig) <= set(by_name)
    assert {"data.columns.NAME.period", "promotion.rules.N.metric"} <= set(by_name)
    assert not [each.name for each in by_name.values() if not each.meaning or not each.type]
    coverage = by_name["jitl.coverage"]
    assert (coverage.type, coverage.default) == ("number > 0 and < 1", str(JITLConfig().coverage))
    assert by_name["name"].default == by_name["data.path"].default == ""
    assert by_name["som.missing"].type == "error | mask"


def test_a_section_or_a_setting_is_shown_alone_and_an_unknown_one_names_the_known() -> None:
    assert {each.name.partition(".")[0] for each in settings("som")} == {"som"}
    assert [each.name for each in settings("som.sigma")] == ["som.sigma"]
    assert "data.columns.NAME.kind" in {each.name for each in settings("data.columns")}
    with pytest.raises(ConfigError, match="soma is no section of a configuration: known are name, data, window"):
        settings("soma")


def test_the_schema_takes_what_the_models_take_and_refuses_what_they_refuse() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    check = Draft202012Validator(schema)
    good = [
        yaml.safe_load(WEATHER.read_text()),
        CONFIG | {"data": CONFIG["data"] | {"target": "y", "columns": {"a": "category", "b": {"kind": "boolean"}}}},
        PipelineConfig.model_validate(CONFIG).model_dump(mode="json"),
    ]
    for content in good:
        PipelineConfig.model_validate(content)
        assert not list(check.iter_errors(content))
    for change in (
        {"som": {"sigmaa": 1}},
        {"som": {"x": 0}},
        {"jitl": {"coverage": 2}},
        {"scaling": {"method": "log"}},
    ):
        with pytest.raises(ValueError):
            PipelineConfig.model_validate(CONFIG | change)
        assert list(check.iter_errors(CONFIG | change))
