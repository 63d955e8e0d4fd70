"""The functions of a registry of records, under their names, as a mapping that can also be added to."""

from collections.abc import Callable, Iterator, MutableMapping
from typing import Protocol, TypeVar

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)
R = TypeVar("R", bound="Record[object]")


class Record(Protocol[F_co]):
    """What a registry knows of one function."""

    @property
    def function(self) -> F_co:
        """The function."""
        ...


class Functions(MutableMapping[str, F]):
    """Name -> function of each record; what is put in becomes a record of nothing but the function.

    A function that the registry had at the start keeps its record, also under another name.

    Args:
        records: The registry, name -> record; it is the only store.
        record_of: Makes the record of a function of which nothing else is known.

    Example:
        >>> from somlib.utils.decay import DECAY_FUNCTIONS
        >>> DECAY_FUNCTIONS["constant"] = lambda theta0, t, T: theta0
        >>> DECAY_FUNCTIONS["constant"](0.5, 3, 10)
        0.5
        >>> del DECAY_FUNCTIONS["constant"]
    """

    def __init__(self, records: "MutableMapping[str, R]", record_of: "Callable[[F], R]") -> None:
        self._records = records
        self._record_of = record_of
        self._known = {record.function: record for record in records.values()}

    def __getitem__(self, name: str) -> F:
        return self._records[name].function  # type: ignore[return-value]  # the record was made of an F

    def __setitem__(self, name: str, function: F) -> None:
        known = self._known.get(function)
        self._records[name] = self._record_of(function) if known is None else known

    def __delitem__(self, name: str) -> None:
        del self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Functions({dict(self)!r})"
