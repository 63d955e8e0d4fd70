"""Names of a registry as settings."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from somlib.configs.names import registered

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
