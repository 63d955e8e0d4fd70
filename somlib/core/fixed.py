"""Settings that are fixed once an object is made: readable under their names, and refused where they are assigned."""

from collections.abc import Mapping
from typing import Any, ClassVar

from somlib.errors import FixedSettingError


class FixedSettings:
    """Refuses to assign or delete what `_take` has set.

    Training follows the settings that an object was made with; an attribute that could say something else would be a
    second truth, ignored in one place and used in another.
    """

    # What to do instead, by name; any other setting needs a new object.
    _cures: ClassVar[Mapping[str, str]] = {}

    def _take(self, **values: Any) -> None:
        """Set attributes that are fixed for everyone else."""
        fixed = self.__dict__.setdefault("_fixed", frozenset())
        self.__dict__.update(values, _fixed=fixed | values.keys())

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_fixed", ()):
            raise FixedSettingError(f"{name} is fixed once the object is made, got an assignment: {self._cure(name)}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__.get("_fixed", ()):
            raise FixedSettingError(f"{name} cannot be deleted: {self._cure(name)}")
        super().__delattr__(name)

    def _cure(self, name: str) -> str:
        kind = type(self).__name__
        new = f"make a new one with {kind}.from_config(config.model_copy(update={{{name!r}: ...}}))"
        return self._cures.get(name, new)
