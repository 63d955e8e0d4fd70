"""Settings that are names of a registry: checked against what is in it at the time."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class DistantRegistry(Mapping[str, Any]):
    """A registry in a module that imports PyTorch, which takes a second: it is imported once a record is asked for.

    A built-in name is known without that: as long as nobody has imported the module, nobody can have taken it out.

    Attributes:
        module: Where it is.
        name: What it is called there.
        built_in: Names that it has from the start; one that is not listed here is found all the same, a second later.
    """

    module: str
    name: str
    built_in: tuple[str, ...]

    @property
    def untouched(self) -> bool:
        """Whether it holds what it has from the start."""
        return self.module not in sys.modules

    def __contains__(self, name: object) -> bool:
        return (self.untouched and name in self.built_in) or name in self._records

    def __getitem__(self, name: str) -> Any:
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def _records(self) -> Mapping[str, Any]:
        records: Mapping[str, Any] = getattr(import_module(self.module), self.name)
        return records


@dataclass(frozen=True)
class registered:  # noqa: N801  # it reads as an annotation
    """Says that a text must be a key of `records`, whose record `suits` where that is given."""

    records: Mapping[str, Any]
    suits: Callable[[Any], bool] | None = None

    @property
    def names(self) -> list[str]:
        """The names that are known now, in the order of the registry."""
        return [name for name in self.records if self._is_name(name)]

    def _is_name(self, text: str) -> bool:
        return text in self.records and (self.suits is None or self.suits(self.records[text]))

    def checked(self, value: Any) -> str:
        """The name, if it is one."""
        if not isinstance(value, str) or not self._is_name(value):
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
