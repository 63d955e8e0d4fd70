"""What a column of a dataset seems to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["feature", "time", "left out"]


@dataclass(frozen=True)
class Look:
    """What a column seems to be.

    Attributes:
        name: Of the column.
        role: What to do with it.
        kind: What `data.columns` should say, as YAML has it; None for a plain number.
        why: What was seen, without the name.
    """

    name: str
    role: Role
    kind: Mapping[str, Any] | str | None
    why: str
