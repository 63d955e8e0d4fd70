"""Settings that are names of a registry: checked against what is in it at the time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class registered:  # noqa: N801  # it reads as an annotation
    """Says that a text must be a key of `records`, whose record `suits` where that is given."""

    records: Mapping[str, Any]
    suits: Callable[[Any], bool] = lambda record: True

    @property
    def names(self) -> list[str]:
        """The names that are known now, in the order of the registry."""
        return [name for name, record in self.records.items() if self.suits(record)]

    def checked(self, value: Any) -> str:
        """The name, if it is one."""
        if not isinstance(value, str) or value not in self.names:
            *others, last = [repr(name) for name in self.names]
            expected = " or ".join(filter(None, (", ".join(others), last)))
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.checked, serialization=core_schema.to_string_ser_schema()
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": self.names}
