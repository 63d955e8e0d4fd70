"""Names of a registry as settings."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from somlib.configs import som_config
from somlib.configs.names import DistantRegistry, registered
from tests.somlib.test_lazy_imports import loaded_by

RECORDS: dict[str, Any] = {"one": 1, "two": 2, "three": 3}


class Settings(BaseModel):
    any_name: Annotated[str, registered(RECORDS)] = "one"
    odd_name: Annotated[str, registered(RECORDS, lambda record: record % 2 == 1)] = "three"


def test_a_name_is_one_of_the_registry_whose_record_suits() -> None:
    assert Settings(any_name="two").model_dump(mode="json") == {"any_name": "two", "odd_name": "three"}
    with pytest.raises(ValidationError, match="Input should be 'one' or 'three'"):
        Settings(odd_name="two")


def test_what_is_added_later_is_known_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECORDS, "five", 5)
    assert Settings(odd_name="five").odd_name == "five"
    assert Settings.model_json_schema()["properties"]["odd_name"]["enum"] == ["one", "three", "five"]
    with pytest.raises(ValidationError, match="'one', 'two', 'three' or 'five'"):
        Settings(any_name="six")


@pytest.mark.parametrize("value", [None, 3, b"one", ["one"], {}])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="Input should be 'one', 'two' or 'three'"):
        Settings(any_name=value)


@pytest.mark.parametrize(
    "registry",
    [som_config.KERNELS, som_config.DISTANCES, som_config.INITIALIZATIONS],
    ids=lambda registry: registry.name,
)
def test_a_distant_registry_knows_what_its_module_begins_with(registry: DistantRegistry) -> None:
    code = f"from {registry.module} import {registry.name} as names\nassert set({registry.built_in!r}) <= set(names)"
    assert "torch" in loaded_by(code)


def test_built_in_distances_take_weights_and_missing_values() -> None:
    names = som_config.DISTANCES.built_in
    records = [som_config.DISTANCES[name] for name in names]
    assert all(record.weighting is not None and record.takes_missing for record in records)


def test_settings_are_checked_without_pytorch() -> None:
    code = """
from somlib import SOMConfig
from somlib.errors import ArgumentError
SOMConfig(distance_function="manhattan", missing="mask", feature_weights=[1, 2], neighborhood_function="bubble")
SOMConfig(x=3, y=2).for_features(5)
for unknown in (dict(distance_function="made up"), dict(feature_weights=[1], num_features=2)):
    try:
        SOMConfig(**unknown)
    except ValueError:
        continue
    raise AssertionError(unknown)
"""
    assert "torch" not in loaded_by(code.partition("for unknown")[0])
    assert "pydantic" in loaded_by(code)


def test_what_is_added_to_a_distant_registry_counts_from_then_on() -> None:
    code = """
from somlib import SOMConfig
SOMConfig(missing="mask")
from somlib.utils.distances import DISTANCES, DISTANCE_FUNCTIONS
DISTANCE_FUNCTIONS["half"] = lambda data, weights: data
assert SOMConfig(distance_function="half").distance_function == "half"
del DISTANCES["chebyshev"]
for refused in (dict(distance_function="half", missing="mask"), dict(distance_function="chebyshev")):
    try:
        SOMConfig(**refused)
    except ValueError:
        continue
    raise AssertionError(refused)
"""
    assert "torch" in loaded_by(code)


def test_a_name_that_is_not_listed_as_built_in_is_found_all_the_same() -> None:
    code = """
from somlib.configs.names import DistantRegistry
names = DistantRegistry("somlib.utils.distances", "DISTANCES", built_in=("euclidean",))
assert "euclidean" in names and names.untouched
assert "cosine" in names and "made up" not in names and not names.untouched
"""
    assert "torch" in loaded_by(code)
