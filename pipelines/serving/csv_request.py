"""Requests in CSV, read into a frame of numbers.

Arrow reads what is plain: no quotes, each field a number, a text or missing, each line as wide as the header. It costs
a tenth of what the answer costs. What it does not take is read again line by line, which finds the place of the fault,
or that there is none: a quoted field, a space, a truth value, an empty line at the end.
"""

import csv
import math
import re
from collections.abc import Collection, Iterator, Sequence
from io import BytesIO, TextIOWrapper
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from pipelines.errors import ModelError
from pipelines.model.inputs import require_columns
from pipelines.serving.invocation import decoded, frame_of, require_few_rows

# How programs write a missing value, and a boolean, into CSV.
MISSING = frozenset(("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "null", "NULL", "None"))
TRUTH = {"true": 1.0, "false": 0.0}
NOT_PLAIN = (b'"', b"\n\n", b"\n\r", b"\r\r")  # quotes, and empty lines, some of which Arrow leaves out
ROWS_AT_ONCE = 4096  # are Python's objects, the others numbers already


def read_csv(
    body: bytes, features: Sequence[str], texts: Collection[str] = (), most_rows: int | None = None
) -> pd.DataFrame:
    """The rows of a CSV request with a header; an empty field is NaN. See `read_json`."""
    decoded(body)
    frame = _plain(body, features, texts, most_rows)
    return _line_by_line(body, features, texts, most_rows) if frame is None else frame


def _plain(body: bytes, features: Sequence[str], texts: Collection[str], most_rows: int | None) -> pd.DataFrame | None:
    """The rows as Arrow reads them; None where it does not take every one of them."""
    header = re.match(rb"[^\r\n]*", body).group().decode("utf-8-sig").split(",")  # type: ignore[union-attr]  # as it is
    if len(header) < 2 or any(mark in body for mark in NOT_PLAIN):
        return None
    require_columns("request", header, features)
    places = {name: str(header.index(name)) for name in features}
    types = {place: pa.string() if name in texts else pa.float64() for name, place in places.items()}
    batches, count = [], 0
    try:
        stream = arrow_csv.open_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, skip_rows=1, column_names=[str(i) for i in range(len(header))]
            ),
            parse_options=arrow_csv.ParseOptions(quote_char=False, double_quote=False, ignore_empty_lines=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=list(places.values()),
                null_values=sorted(MISSING),
                strings_can_be_null=True,
            ),
        )
        for batch in stream:
            count += len(batch)
            require_few_rows(count, most_rows)
            batches.append(batch)
    except pa.ArrowException:
        return None
    table = pa.Table.from_batches(batches, stream.schema)
    columns = {
        name: pd.Series(table[place].to_pylist(), dtype=object) if name in texts else table[place].to_numpy()
        for name, place in places.items()
    }
    return pd.DataFrame(columns, columns=list(features))


def _line_by_line(body: bytes, features: Sequence[str], texts: Collection[str], most_rows: int | None) -> pd.DataFrame:
    reader = csv.reader(TextIOWrapper(BytesIO(body), "utf-8-sig", newline=""), strict=True)
    try:
        header = next(reader, [])
        if not header:
            raise ModelError("request must be CSV with a header, got nothing in line 1")
        require_columns("request", header, features)
        places = [(name, header.index(name)) for name in features]
        rows = (
            [_text_field(row[i]) if name in texts else _field(row[i], reader.line_num, i, name) for name, i in places]
            for row in _rows(reader, len(header), most_rows)
        )
        frames = [frame_of(part, features, texts) for part in iter(lambda: list(islice(rows, ROWS_AT_ONCE)), [])]
    except csv.Error as error:
        raise ModelError(f"request must be CSV with a header: line {reader.line_num}: {error}") from None
    return pd.concat(frames, ignore_index=True) if frames else frame_of([], features, texts)


def _rows(reader: Any, width: int, most_rows: int | None) -> Iterator[list[str]]:
    """The rows below the header, each as wide as it; empty lines only after the last one."""
    empty, count = None, 0
    for row in reader:
        if not row and width > 1:
            empty = empty or reader.line_num
            continue
        if empty is not None:
            raise ModelError(f"request must have a row in each line, got nothing in line {empty}")
        if len(row) != width:
            raise ModelError(
                f"request must have {width} fields in each line, as its header has, got {len(row)} in line "
                f"{reader.line_num}"
            )
        count += 1
        require_few_rows(count, most_rows)
        yield row


def _field(text: str, line: int, place: int, name: str) -> float:
    if text in MISSING:
        return math.nan
    try:
        if "_" not in text:  # which Python takes between digits
            return float(text)
    except ValueError:
        pass
    if text.lower() in TRUTH:
        return TRUTH[text.lower()]
    raise ModelError(f"request must hold numbers, got {text!r:.40} in line {line}, field {place + 1}, column {name}")


def _text_field(text: str) -> str | None:
    return None if text in MISSING else text
