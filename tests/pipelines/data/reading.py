"""Reading as the tests of the package do it: features `a` and `b`, unless they say otherwise."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.data import Dataset, find_source, read_dataset, survey
from pipelines.errors import DatasetError
from pipelines.settings.sections import DataConfig


def wanted(path: Path | str, **settings: Any) -> DataConfig:
    """The settings of `data` for a path."""
    return DataConfig.model_validate({"path": str(path), "features": ["a", "b"]} | settings)


def read(path: Path | str, **settings: Any) -> Dataset:
    """All wanted rows of a path."""
    config = wanted(path, **settings)
    source = find_source(config)
    return read_dataset(source, survey(source, config.drop_incomplete), config.drop_incomplete)


def problems(path: Path | str, **settings: Any) -> list[str]:
    """The lines of the error that reading a path ends with."""
    with pytest.raises(DatasetError) as caught:
        read(path, **settings)
    return list(caught.value.problems)
