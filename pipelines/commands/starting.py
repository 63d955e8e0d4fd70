"""A first configuration for a dataset that nobody has described yet."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from rich.console import Console

from pipelines.data.look import Look
from pipelines.data.looking import Looked, look_at
from pipelines.data.source import read_table
from pipelines.data.validation import MOST_CLASSES, ROWS_A_CLASS
from pipelines.errors import ConfigError, DatasetError
from pipelines.settings.config import load_config
from pipelines.settings.reference import TITLE, json_schema
from pipelines.wording import counted, some

SCHEMA = "som.schema.json"  # beside a configuration, for editors


def init(data: str, output: str | None, target: Sequence[str], time: str | None) -> None:
    """Write a commented configuration for a dataset, and print what to do next.

    Raises:
        ConfigError: The file is there already, or the target is of no use.
        DatasetError: The dataset cannot be read, or no feature is found in it.
    """
    name = experiment_name(data)
    file = Path(output or f"{name}.yaml")
    if file.exists():
        raise ConfigError(f"{file} is there already: name another file with --output")
    _require_columns(data, target, time)
    looked = look_at(data, target, time)
    _require_useful(looked, data, target)
    schema = file.with_name(SCHEMA)
    text = written(name, _path_from(file, data), looked, target)
    if has_schema := _write_schema(schema):
        text = f"# yaml-language-server: $schema={SCHEMA}\n{text}"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}: name another with --output") from error
    load_config(file)
    console = Console()
    features = [each for each in looked.columns if is_feature(each)]
    left_out = [each for each in looked.columns if each.role == "left out"]
    console.print(f"som init: {file} has {counted(len(features), 'feature')}", highlight=False, markup=False)
    for each in left_out:
        console.print(f"left out: {scalar(each.name)}: {each.why}", highlight=False, markup=False, soft_wrap=True)
    if has_schema:
        console.print(f"beside it: {schema}, by which editors complete and check", highlight=False, markup=False)
    console.print(f"next: look through it, then som check {file}", highlight=False, markup=False, soft_wrap=True)


def _write_schema(file: Path) -> bool:
    """Write what editors check a configuration by, over an older one of ours; whether it is there now."""
    try:
        if file.exists() and json.loads(file.read_text(encoding="utf-8")).get("title") != TITLE:
            return False
        file.write_text(json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, ValueError, AttributeError):  # not ours, or no place to write: the configuration does without
        return False
    return True


def is_feature(each: Look) -> bool:
    """Whether a column is a feature, or the time whose parts are."""
    return each.role == "feature" or (each.role == "time" and each.kind is not None)


def experiment_name(data: str) -> str:
    """A name for the experiment on a dataset: that of its file or folder."""
    parts = [part for part in Path(data).expanduser().resolve().parts if not set(part) & set("*?[")]
    name = re.sub(r"[^\w.-]+", "-", Path(parts[-1]).stem if parts else "").strip("-._")
    return name[:100] or "experiment"


def _path_from(file: Path, data: str) -> str:
    """The path of the data as the file says it: from its folder."""
    if "://" in data:
        return data
    path = Path(data).expanduser().resolve()
    try:
        return os.path.relpath(path, file.resolve().parent)
    except ValueError:  # on another drive
        return str(path)


def _require_columns(data: str, target: Sequence[str], time: str | None) -> None:
    known = read_table(data)[0].names
    for option, name in (*(("--target", name) for name in target), *([("--time", time)] if time else [])):
        if name not in known:
            raise ConfigError(f"{option} {name}: no such column in {data}: columns are {some(known, 20)}")


def _require_useful(looked: Looked, data: str, target: Sequence[str]) -> None:
    for name in target:
        dtype = looked.sample.schema[name]
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)):
            raise ConfigError(
                f"--target {name} must hold numbers, text or true and false, got {dtype}: without --target the map is "
                "trained on the features alone"
            )
    if not any(map(is_feature, looked.columns)):
        reasons = some([f"{each.name} ({each.why})" for each in looked.columns])
        raise DatasetError(f"no column of {data} looks like a feature: {reasons}")


# ---------------------------------------------------------------- the file


def written(name: str, path: str, looked: Looked, target: Sequence[str]) -> str:
    """The configuration as YAML with comments."""
    return "\n".join([*_lines(name, path, looked, target), ""])


def _lines(name: str, path: str, looked: Looked, target: Sequence[str]) -> Iterator[str]:
    seen = f"{'all' if looked.whole else 'a sample of'} {counted(looked.rows, 'row')}"
    yield f"# Written by som init, which looked at {seen}. Every setting: som config. What would run: som check."
    yield f"name: {scalar(name)}"
    yield ""
    yield "data:"
    yield f"  path: {scalar(path)}  # from the folder of this file"
    yield "  features:"
    features = [each for each in looked.columns if is_feature(each)]
    for each in features:
        yield _commented(f"  - {scalar(each.name)}", each.why)
    special = [each for each in features if each.kind is not None]
    if special:
        yield "  columns:  # what is more than a number"
        for each in special:
            yield f"    {scalar(each.name)}: {scalar(each.kind)}"
    if target:
        yield f"  target: {scalar(list(target))}"
        yield from _kinds(looked.sample, target)
    else:
        yield "  # target: []  # columns to predict; they are no features then"
    times = [each for each in looked.columns if each.role == "time"]
    if not times:
        yield "  # time: none orders the rows, a random fifth is held out"
    for each in times:
        yield _commented(f"  time: {scalar(each.name)}", f"{each.why}; the newest fifth is held out")
    left_out = [each for each in looked.columns if each.role == "left out"]
    if left_out:
        yield "  # Left out:"
        yield from (_commented(f"  # {scalar(each.name)}:", each.why) for each in left_out)
    yield ""
    yield "som:  # the size of the map comes from the data; x and y set it"
    yield "  algorithm: batch"
    yield "  initialization_mode: pca"
    if looked.gaps or not looked.whole:
        yield "  missing: mask  # rows that lack a value train with what they have"


def _kinds(sample: pl.DataFrame, target: Sequence[str]) -> Iterator[str]:
    """What whole numbers among the targets are: two of them classes, a few more maybe."""
    found = {name: _few_whole_numbers(sample.get_column(name)) for name in target}
    if two := [name for name, values in found.items() if len(values) == 2]:
        kinds = scalar(dict.fromkeys(two, "class"))
        yield _commented(f"  target_kind: {kinds}", "two whole numbers; number takes them as amounts")
    for name, values in found.items():
        if len(values) > 2:
            line = (
                f"{len(values)} whole numbers, {some([f'{value:g}' for value in values])}: amounts, unless it says so"
            )
            yield _commented(f"  # target_kind: {scalar({name: 'class'})}", line)


def _few_whole_numbers(values: pl.Series) -> list[float]:
    """The values of a column of few whole numbers, ascending; none of another."""
    if not values.dtype.is_numeric():
        return []
    known = values.cast(pl.Float64).drop_nulls().drop_nans()
    distinct = known.unique().sort()
    few = 2 <= len(distinct) <= min(MOST_CLASSES, len(known) // ROWS_A_CLASS)
    return distinct.to_list() if few and (distinct == distinct.round()).all() else []


def _commented(line: str, why: str) -> str:
    text = " ".join(why.split())
    if line.endswith(":"):
        return f"{line} {text}"
    return f"{line}  # {text}"


def scalar(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
