"""Whether a map can be trained as configured, on what a survey of the data found. Nothing is read here."""

from collections.abc import Iterator

from pipelines.data import Source, Survey
from pipelines.errors import ConfigError, DatasetError
from pipelines.sections import DataConfig
from pipelines.wording import some
from somlib import SOM, SOMConfig
from somlib.errors import ArgumentError


def require_map(config: SOMConfig, features: int) -> None:
    """Refuse settings of the map that do not fit the number of features, or this machine.

    Raises:
        ConfigError: With a line for each problem.
    """
    try:
        SOM.from_config(config, num_features=features)
    except ArgumentError as error:
        raise ConfigError(*(f"som.{line}" for line in str(error).split("; "))) from None


def require_usable(source: Source, found: Survey, config: DataConfig, missing: str) -> None:
    """Refuse rows that a map cannot be trained on; arguments as in `usability_problems`.

    Raises:
        DatasetError: With a line for each problem.
    """
    problems = usability_problems(source, found, config, missing)
    if problems:
        raise DatasetError(*problems)


def usability_problems(source: Source, found: Survey, config: DataConfig, missing: str) -> list[str]:
    """One line for each thing in the rows that a map cannot be trained on; empty where all is well.

    Args:
        source: What was surveyed.
        found: What was found there.
        config: What the user asked for.
        missing: The map's own rule for missing values, `"error"` or `"mask"`.
    """
    if not found.found:
        filtered = [name for name in ("where", "start", "end") if getattr(config, name) is not None]
        reason = f" after the filter data.{' and data.'.join(filtered)}" if filtered else ""
        return [f"data.path: the dataset is empty: no rows in {source.path}{reason}"]
    problems = [*_empty_columns(source, found)]
    if found.used == 0 and not problems:
        problems.append(
            f"data.drop_incomplete: all {found.found} rows lack a feature, {_most_missing(source, found)}: "
            "use som.missing=mask, or leave out the features that are missing most"
        )
    problems += value_problems(source, found, config, missing)
    for name in source.features:
        column = found.columns[name]
        if column.constant and not column.infinite:
            problems.append(
                f"data.features: column {name!r} is constant, {column.low:g} in all rows: leave it out, "
                "a map learns nothing from it"
            )
    return problems


def value_problems(source: Source, found: Survey, config: DataConfig, missing: str) -> list[str]:
    """One line for each column with values that a map does not take, however many rows there are.

    Arguments as in `usability_problems`.
    """
    problems = [*_infinite_columns(source, found)]
    if missing == "error" and not config.drop_incomplete:
        problems += _missing_values(source, found)
    return problems


def _empty_columns(source: Source, found: Survey) -> Iterator[str]:
    for setting, names in (("data.features", source.features), ("data.target", source.target)):
        for name in names:
            column = found.columns[name]
            if column.missing == found.found:
                yield f"{setting}: column {name!r} has no value in any of {found.found} rows"


def _infinite_columns(source: Source, found: Survey) -> Iterator[str]:
    for setting, names in (("data.features", source.features), ("data.target", source.target)):
        for name in names:
            if count := found.columns[name].infinite:
                yield (
                    f"{setting}: column {name!r} is infinite in {count} of {found.used} rows: "
                    "store such values as missing, or filter them out with data.where"
                )


def _missing_values(source: Source, found: Survey) -> Iterator[str]:
    if found.incomplete:
        yield (
            f"data.features: {found.incomplete} of {found.found} rows have missing values (null or NaN), "
            f"{_most_missing(source, found)}: som.missing=mask trains around them, "
            "data.drop_incomplete=true leaves the rows out"
        )


def _most_missing(source: Source, found: Survey) -> str:
    counts = {name: found.columns[name].missing for name in source.features}
    ranked = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    return some([f"{name} in {counts[name]}" for name in ranked])


def remarks(source: Source, found: Survey) -> list[str]:
    """What a user should know of the data, though it stops nothing; one line each."""
    lines = [*source.notes]
    if found.left_out:
        lines.append(f"{found.left_out} of {found.found} rows are left out because a feature is missing in them")
    elif found.incomplete:
        lines.append(f"{found.incomplete} of {found.found} rows lack a feature; the map trains on what they have")
    lines += [
        f"target {name} is missing in {count} of {found.found} rows, which its maps leave out"
        for name in source.target
        if (count := found.columns[name].missing)
    ]
    return lines
