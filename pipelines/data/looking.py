"""What the columns of a dataset seem to be, judged by their names, types and a bounded sample of rows.

A proposal for a person to look at, never a decision: `som init` writes it down, `som check` asks about it. A column is

    a feature     with what `data.columns` should say of it, if anything
    a time        dates or times that could order the rows
    left out      nearly empty, constant, a name of the row, too many names, or the same as the target or another column
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from pipelines.data import column_types as kinds
from pipelines.data.labels import FALSE, TRUE, label, labels, numbers
from pipelines.data.likeness import COPIES, SAME, as_numbers, say_the_same, summands, there_with
from pipelines.data.look import Look
from pipelines.data.look_times import CLOCK_PERIOD, NAMES_THE_ROW, with_time, without_double_clocks
from pipelines.data.rows import BATCH_ROWS, Rows
from pipelines.data.schemas import Table
from pipelines.data.source import read_table
from pipelines.errors import DatasetError
from pipelines.wording import counted, percent, some

SAMPLE_ROWS, SAMPLE_FILES = 50_000, 20
SCANNED_ROWS = 1_000_000  # that the sample is spread over
NEARLY_EMPTY = 0.8  # share of missing values
MOST_NAMES, ROWS_A_NAME = 50, 5  # values of a category, and rows that each has on average, at least;
MANY_NAMES, ROWS_OF_MANY = 300, 100  # or more values with more rows each, most of which are one rare value then
ID_NAME = re.compile(
    r"(^|[_ ])(id|uuid|guid|index|rowid|row|key|no|nr|number)$|^unnamed|^instant$|Id$|ID$", re.IGNORECASE
)
CODE_NAME = re.compile(r"(^|[_ ])(code|type|zip|zipcode|category|cat|kind|station|store|region|species)($|[_ ])", re.I)

# Cycles by name: the period, and the smallest values that they may have.
CYCLES: Sequence[tuple[re.Pattern[str], float, tuple[int, ...]]] = (
    (re.compile(r"(^|[_ ])(hour|hr|hours)($|[_ ])|hour$", re.I), 24, (0,)),
    (re.compile(r"(^|[_ ])(minute|minutes|mins?)($|[_ ])", re.I), 60, (0,)),
    (re.compile(r"(^|[_ ])(month|mnth|mon|mth)($|[_ ])|month$", re.I), 12, (1, 0)),
    (re.compile(r"week_?day|day_?of_?week|(^|[_ ])dow($|[_ ])", re.I), 7, (0, 1)),
    (re.compile(r"^(m?day|dom)$|day_?of_?month", re.I), 31, (1,)),
    (re.compile(r"day_?of_?year|(^|[_ ])doy($|[_ ])|year_?day", re.I), 365.25, (1, 0)),
    (re.compile(r"(^|[_ ])(dir|direction|wd|bearing|heading|azimuth|degrees)($|[_ ])|wind_?dir", re.I), 360, (0, 1)),
)


CLOCK = re.compile(r"time|clock|hhmm|(^|[_ ])(dep|arr)($|[_ ])", re.I)  # what may hold 2359 for a minute to midnight
THINGS = re.compile(
    r"(flight|ticket|invoice|customer|account|member|user|policy|serial|passenger|patient|phone)s?"
    r"([_ ]?(id|no|nr|num|number))?",
    re.I,
)


ORDERS: Sequence[Sequence[str]] = (
    ("very low", "low", "medium", "mid", "middle", "moderate", "high", "very high"),
    ("xs", "s", "m", "l", "xl", "xxl"),
    ("very small", "small", "medium", "large", "very large"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("very poor", "poor", "fair", "average", "good", "very good", "excellent"),
    ("fair", "good", "very good", "premium", "ideal"),
    ("first", "second", "third", "fourth"),
)


@dataclass(frozen=True)
class Looked:
    """What the columns of a dataset seem to be.

    Attributes:
        columns: In the order of the files.
        rows: How many were looked at.
        whole: Whether these are all.
        gaps: Whether a feature is missing in any of them.
        sample: The rows.
    """

    columns: tuple[Look, ...]
    rows: int
    whole: bool
    gaps: bool
    sample: pl.DataFrame


def look_at(path: str, target: Sequence[str] = (), time: str | None = None) -> Looked:
    """What the columns of a dataset seem to be.

    Args:
        path: As `data.path`.
        target: Columns to be predicted, which are no features.
        time: The column that orders the rows; None: as it seems.

    Raises:
        DatasetError: It cannot be read, or a target or the time is of no use.
    """
    table, _ = read_table(path)
    faults = {name: _fault(table, name) for name in table.names}
    time = time if time in faults else None  # a name that is none is not for here to refuse
    for name in (*target, *([time] if time else ())):
        if faults.get(name):
            raise DatasetError(f"column {name!r} of {path} is of no use as target or time: it {faults[name]}")
    names = [name for name in table.names if not faults[name]]
    types = {name: table.common(name) for name in names}
    filled = [footer for footer in table.footers if footer.rows]
    if not filled or not names:
        nothing = (Look(name, "left out", None, "there are no rows") for name in names)
        return Looked(
            tuple(nothing), 0, True, False, pl.DataFrame(schema={k: kinds.in_polars(v) for k, v in types.items()})
        )
    chosen = [filled[i] for i in sorted({round(i) for i in np.linspace(0, len(filled) - 1, SAMPLE_FILES)})]
    read = sum(footer.rows for footer in chosen)
    sample = _sample(Rows(chosen, types, table.partitions, ()), names, read)
    looks = [_look(name, sample[name].alias("values"), name in target) for name in names]
    looks = [each for each in looks if each.name not in target]
    looks = with_time(without_double_clocks(looks, sample), sample, time, parted=bool(target))
    looks = [*_without_copies(looks, sample, target)]
    features = [each.name for each in looks if each.role == "feature"]
    gaps = any(_known(sample[name].alias("values")).len() < sample.height for name in features)
    looks += [Look(name, "left out", None, fault) for name, fault in faults.items() if fault and name not in target]
    rows = sum(footer.rows for footer in filled)
    return Looked(tuple(looks), sample.height, sample.height == rows, gaps, sample)


def _fault(table: Table, name: str) -> str:
    """Why a column cannot be a feature whatever it holds; empty where it can."""
    dtype = table.common(name)
    if not name:
        return "has no name: to_csv of pandas and R keeps the numbers of rows there"
    if any(name in footer.repeated for footer in table.footers):
        return "occurs more than once in a file"
    if len(table.types(name)) < len(table.footers):
        return "is not in every file"
    if dtype is None:
        return "holds types that have nothing in common in different files"
    if kinds.unknown_zone(dtype):
        return "has a time zone that is not known"
    if not kinds.makes_features(dtype):
        return f"holds {kinds.type_name(dtype)}, which no feature is made of"
    return ""


def _sample(rows: Rows, names: Sequence[str], total: int) -> pl.DataFrame:
    """Rows that are evenly spread over the first `SCANNED_ROWS` ones."""
    step = max(1, -(-min(total, SCANNED_ROWS) // SAMPLE_ROWS))
    parts, seen = [], 0
    for batch in rows.stored(names, BATCH_ROWS):
        parts.append(batch.gather_every(step))
        seen += batch.height
        if seen >= SCANNED_ROWS:
            break
    return pl.concat(parts)


def _known(values: pl.Series) -> pl.Series:
    """The values that are there."""
    if values.dtype == pl.String:
        values = values.filter(values.str.strip_chars() != "")
    return (values.filter(values.is_finite()) if values.dtype.is_float() else values).drop_nulls()


def _look(name: str, values: pl.Series, is_target: bool) -> Look:
    """What a column seems to be by itself."""
    known, n = _known(values), len(values)
    distinct = known.n_unique()
    if not len(known) or (len(known) <= (1 - NEARLY_EMPTY) * n and not is_target):
        return Look(name, "left out", None, f"nearly empty: {percent(1 - len(known) / max(n, 1))} missing")
    if distinct == 1:
        only = str(label(known[0]))[:40]
        return Look(name, "left out", None, f"constant: {only} in all rows that have a value")
    if re.fullmatch(r"__index_level_\d+__|__null_dask_index__", name):
        return Look(name, "left out", None, "pandas or Dask keeps the numbers of rows there")
    if known.dtype.is_temporal() and not isinstance(known.dtype, pl.Duration | pl.Time):
        return Look(name, "time", None, f"from {known.min()!s} to {known.max()!s}")
    if known.dtype == pl.Boolean:
        return Look(name, "feature", "boolean", "true or false")
    if known.dtype.is_numeric():
        return _number(name, known, distinct)
    if known.dtype in (pl.String, pl.Binary):
        return _text(name, known, distinct)
    return Look(name, "left out", None, f"holds {known.dtype}, which no feature is made of")


def _number(name: str, known: pl.Series, distinct: int) -> Look:
    """What a column of numbers seems to be."""
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]  # of numbers
    whole = bool((known.cast(pl.Float64) % 1 == 0).all())
    if whole and distinct == len(known) > 20 and (ID_NAME.search(name) or _counts_rows(known)):
        return Look(name, "left out", None, NAMES_THE_ROW)
    for pattern, period, starts in CYCLES:
        start = next((s for s in starts if pattern.search(name) and s <= low and high <= s + period), None)
        if start is not None and whole and high - low >= 0.7 * period - 1 and distinct >= min(0.3 * period, 12):
            kind = {"kind": "cyclic", "period": period} | ({"start": start} if start and period != 360 else {})
            return Look(
                name, "feature", kind, f"{distinct} values from {low:g} to {high:g}: begins again after {period:g}"
            )
    if whole and CLOCK.search(name) and low >= 0 and 1200 < high <= 2400 and distinct >= 20 and _are_minutes(known):
        kind = {"kind": "cyclic", "period": CLOCK_PERIOD}
        return Look(name, "feature", kind, f"times of day as {low:04.0f} to {high:04.0f}: begin again after 2400")
    if whole and (ID_NAME.search(name) or THINGS.fullmatch(name)) and distinct > MOST_NAMES:
        return Look(name, "left out", None, f"{distinct:,} values of an id")
    if whole and 2 < distinct <= MOST_NAMES and (CODE_NAME.search(name) or ID_NAME.search(name)):
        return Look(name, "feature", "category", f"{distinct} codes")
    return Look(name, "feature", None, f"{'whole numbers' if whole else 'numbers'} from {low:g} to {high:g}")


def _are_minutes(known: pl.Series) -> bool:
    """Whether the last two digits of whole numbers are minutes."""
    return bool((known.cast(pl.Int64) % 100 < 60).all())


def _counts_rows(known: pl.Series) -> bool:
    """Whether values are those of a counter."""
    steps = known.cast(pl.Float64).diff().drop_nulls()
    return bool((steps == 1).all())


def _text(name: str, known: pl.Series, distinct: int) -> Look:
    """What a column of texts seems to be."""
    texts = [text.strip() for text in labels(known).unique().drop_nulls().to_list()]
    lower = {text.lower() for text in texts}
    if len(lower) == 2 and lower & set(TRUE) and lower & set(FALSE):
        return Look(name, "feature", "boolean", f"{' or '.join(sorted(texts))}")
    if all(map(_is_number, texts)):
        return Look(name, "feature", "number", f"{distinct:,} numbers that are stored as text")
    if all(map(_is_moment, texts)):
        return Look(name, "time", None, f"dates or times that are stored as text, from {min(texts)} to {max(texts)}")
    many = distinct <= MANY_NAMES and distinct * ROWS_OF_MANY <= len(known)
    if distinct > MOST_NAMES and not many:
        return Look(name, "left out", None, f"text with {distinct:,} values: too many for a category")
    if order := _order(texts):
        return Look(name, "feature", {"kind": "ordinal", "order": order}, f"{distinct} values in an order")
    if distinct * ROWS_A_NAME > len(known):
        return Look(
            name, "left out", None, f"text with {distinct} values in {counted(len(known), 'row')}: it names the row"
        )
    return Look(name, "feature", "category", f"{distinct} values: {some(sorted(texts), 6)}")


def _order(texts: Sequence[str]) -> list[str]:
    """The texts in their order, where they are known words of one or begin with different numbers; else none."""
    for words in ORDERS:
        places = [words.index(text.lower()) if text.lower() in words else -1 for text in texts]
        if len(texts) > 2 and min(places) >= 0:
            return [text for _, text in sorted(zip(places, texts, strict=True))]
    beginnings = [re.match(r"[^\w]*(\d+(\.\d+)?)", text) for text in texts]
    values = [float(found[1]) for found in beginnings if found]
    if len(texts) < 3 or len(set(values)) < len(texts):
        return []
    return [text for _, text in sorted(zip(values, texts, strict=True))]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return len(text) >= 10


# ---------------------------------------------------------------- columns beside others


def _without_copies(looks: Sequence[Look], sample: pl.DataFrame, target: Sequence[str]) -> Iterator[Look]:
    """Features that say the target, or what another feature says, left out."""
    stored = {each.name for each in looks if each.kind == "number"}  # as text
    columns = {name: sample[name].alias("values") for name in sample.columns}
    codes = {name: as_numbers(numbers(each) if name in stored else each) for name, each in columns.items()}
    kept: list[Look] = []
    amounts = [each.name for each in looks if each.role == "feature" and codes[each.name].amounts]
    parts = {name: summands(codes[name], {each: codes[each] for each in amounts}) for name in target}
    for each in looks:
        if each.role != "feature":
            yield each
            continue
        leaked = next((name for name in target if say_the_same(codes[each.name], codes[name], COPIES)), None)
        after = next((name for name in target if there_with(codes[each.name], codes[name])), None)
        summed = next((name for name in target if each.name in parts[name]), None)
        twin = next((k.name for k in kept if say_the_same(codes[each.name], codes[k.name], SAME)), None)
        if leaked is not None:
            yield replace(each, role="left out", kind=None, why=f"says the target {leaked} in other words")
        elif after is not None:
            yield replace(each, role="left out", kind=None, why=f"whether it has a value says the target {after}")
        elif summed is not None:
            yield replace(each, role="left out", kind=None, why=f"the target {summed} is {' + '.join(parts[summed])}")
        elif twin is not None:
            yield replace(each, role="left out", kind=None, why=f"says the same as {twin}")
        else:
            kept.append(each)
            yield each


def questions(looked: Looked, features: Sequence[str], declared: Sequence[str], used: Sequence[str]) -> Iterator[str]:
    """What to ask about columns that are not used as they seem to be; one line each.

    Args:
        looked: What they seem to be.
        features: Columns that are features.
        declared: Those of them that `data.columns` says something of.
        used: Columns that have another role.
    """
    for each in looked.columns:
        said = "" if each.kind is None or each.role == "time" else in_words(each.kind)
        if each.name in features and each.name not in declared:
            if each.role == "left out":
                yield f"feature {each.name}: {each.why}: leave it out?"
            elif said and said != "boolean":
                yield f"feature {each.name}: {each.why}: {said}? See data.columns"
        elif each.name not in (*features, *used) and each.role == "feature" and said:
            yield f"column {each.name} is no feature: {each.why}: {said}? See data.columns"


def in_words(kind: Mapping[str, Any] | str) -> str:
    """What `data.columns` would say, in a few words: `cyclic with period 24`."""
    if isinstance(kind, str):
        return kind
    options = [f"{key} {', '.join(value) if isinstance(value, list) else value}" for key, value in kind.items()]
    return f"{kind['kind']} with {' and '.join(options[1:])}"
