"""Any pair of types for a column of two files: read as each file alone says, or refused with both types."""

from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data import find_source, read_dataset, survey
from pipelines.data.column_types import common_type, convert, plain, unknown_zone
from pipelines.errors import DatasetError
from tests.pipelines.data.reading import wanted

HOURS = [0, 3_600, 1_700_000_000]  # in seconds
STAMPS = [
    pa.array([value * scale for value in HOURS], pa.timestamp(unit, zone))
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
    for zone in (None, "UTC", "Europe/Berlin", "+05:30")
]
NUMBERS = [
    *(pa.array([1, None, 100], dtype()) for dtype in (pa.int8, pa.int16, pa.int32, pa.int64)),
    *(pa.array([1, None, 200], dtype()) for dtype in (pa.uint8, pa.uint16, pa.uint32, pa.uint64)),
    pa.array(np.array([0.5, np.nan, -2], np.float16)),
    pa.array([0.5, None, float("nan")], pa.float32()),
    pa.array([0.1, None, 1e300], pa.float64()),
    pa.array([True, None, False]),
    pa.nulls(3),
    *(
        pa.array([Decimal("1.5"), None, Decimal("-2.25")], dtype)
        for dtype in (pa.decimal32(6, 2), pa.decimal64(9, 3), pa.decimal128(20, 2), pa.decimal256(60, 5))
    ),
    pa.array([2.5, None, 2.5]).dictionary_encode(),
    pa.array([7, None, 7], pa.int16()).dictionary_encode(),
]
DATES = [pa.array([0, 5, 20_000], pa.date32()), pa.array([0, 86_400_000, 864_000_000], pa.date64())]
TEXTS = [
    *(pa.array(["x", None, "y"], dtype()) for dtype in (pa.string, pa.large_string, pa.string_view)),
    pa.array(["x", None, "y"]).dictionary_encode(),
]
OTHERS = [
    pa.array([b"x", None, b"y"]),
    pa.array([[1.0], None, []]),
    pa.array([{"a": 1}, None, {"a": 2}]),
    pa.array([1, 2, 3], pa.duration("ms")),
    pa.array([1, 2, 3], pa.time32("ms")),
]
EVERY = [*NUMBERS, *DATES, *STAMPS, *TEXTS, *OTHERS]
KINDS = [NUMBERS, DATES + STAMPS, TEXTS]


def pair(folder: str, first: Any, second: Any) -> Path:
    """Two files with a column `q` of these values, and one file with its columns in another order and one more."""
    a = pa.array([1.0, 2.0, 3.0])
    pq.write_table(pa.table({"a": a, "q": first}), Path(folder, "1.parquet"))
    pq.write_table(pa.table({"more": pa.array([["x"]] * 3), "q": second, "a": a}), Path(folder, "2.parquet"))
    return Path(folder)


def as_floats(file: Path) -> list[float]:
    """A column read by pyarrow alone, each value by Python's own float."""
    values = pq.read_table(file, columns=["q"]).column("q").to_pylist()
    return [float("nan") if value is None else float(value) for value in values]


def is_number(values: Any) -> bool:
    return any(values is each for each in NUMBERS)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(EVERY), st.sampled_from(EVERY))
def test_features_of_two_types_are_each_files_numbers_or_refused(first: Any, second: Any) -> None:
    with TemporaryDirectory() as folder:
        path = pair(folder, first, second)
        config = wanted(path, features=["a", "q"])
        if is_number(first) and is_number(second):
            source = find_source(config)
            found = read_dataset(source, survey(source, False), False, np.float64).features[:, 1]
            expected = as_floats(path / "1.parquet") + as_floats(path / "2.parquet")
            # pyarrow's float of a decimal may be the second nearest
            np.testing.assert_allclose(found, expected, rtol=4e-16)
        else:
            with pytest.raises(DatasetError, match="column 'q' must be numeric, got ") as caught:
                find_source(config)
            if is_number(first) or is_number(second):
                (line,) = caught.value.problems
                assert all(str(path / name) in line for name in ("1.parquet", "2.parquet"))
                number = first if is_number(first) else second
                assert str(number.type.value_type if pa.types.is_dictionary(number.type) else number.type) in line


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DATES + STAMPS), st.sampled_from(DATES + STAMPS))
def test_times_of_two_types_are_the_same_moments_or_refused(first: Any, second: Any) -> None:
    zoned = [getattr(values.type, "tz", None) is not None for values in (first, second)]
    with TemporaryDirectory() as folder:
        path = pair(folder, first, second)
        config = wanted(path, features=["a"], time="q")
        if zoned[0] == zoned[1]:
            source = find_source(config)
            moments = read_dataset(source, survey(source, False), False).moments
            assert moments is not None
            found = moments.cast(source.time_type).to_arrow().cast(pa.timestamp("ns", "UTC" if zoned[0] else None))
            alone = [
                values.cast(pa.timestamp("ns", values.type.tz if zoned[0] else None)) for values in (first, second)
            ]
            assert found.cast(pa.int64()).to_pylist() == [
                v for part in alone for v in part.cast(pa.int64()).to_pylist()
            ]
            zones = {getattr(values.type, "tz", None) for values in (first, second)}
            assert len(source.notes) == (len(zones) > 1)
        else:
            with pytest.raises(DatasetError) as caught:
                find_source(config)
            (line,) = caught.value.problems
            for name in ("1.parquet", "2.parquet"):  # Parquet has no seconds
                assert f"{pq.read_schema(path / name).field('q').type} in {path / name}" in line
            assert line.startswith("data.time: column 'q' is ")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(EVERY), st.sampled_from(EVERY))
def test_columns_that_are_only_filtered_by_have_a_type_of_their_kind_or_none(first: Any, second: Any) -> None:
    with TemporaryDirectory() as folder:
        config = wanted(pair(folder, first, second), features=["a"], where="q IS NOT NULL")
        types = {first.type, second.type}
        if common_type(types) is None:
            with pytest.raises(DatasetError, match=r"data.where: column 'q' is .* but .*: no type holds both safely"):
                find_source(config)
            alike = [kind for kind in KINDS if any(first is v for v in kind) and any(second is v for v in kind)]
            assert not alike or {getattr(t, "tz", None) is None for t in types} == {True, False}
        else:
            source = find_source(config)
            assert survey(source, False).found == 6 - first.null_count - second.null_count


def test_values_that_the_common_type_cannot_hold_are_refused_with_their_file(tmp_path: Path) -> None:
    cases = [
        (pa.array([2**63, 1], pa.uint64()), pa.array([1, 2]), "uint64", "int64"),
        (pa.array([2**53 + 1, 1]), pa.array([0.5, 1.5]), "int64", "double"),
        (
            pa.array([253_402_214_400_000_000, 1], pa.timestamp("us")),
            pa.array([1, 2], pa.timestamp("ns")),
            "[us]",
            "[ns]",
        ),
    ]
    for first, second, *names in cases:
        for file, values in (("1.parquet", first), ("2.parquet", second)):
            pq.write_table(pa.table({"a": [1.0, 2.0], "q": values}), tmp_path / file)
        with pytest.raises(DatasetError, match="holds a value that is lost in") as caught:
            survey(find_source(wanted(tmp_path, features=["a"], time="q")), False)
        (line,) = caught.value.problems
        assert all(word in line for word in (*names, str(tmp_path / "1.parquet"), "'q'"))


def test_a_zone_that_nobody_knows_is_refused_where_it_is_needed_only(tmp_path: Path) -> None:
    values = pa.array([1, 2], pa.timestamp("us", "Mars/Base"))
    pq.write_table(pa.table({"a": [1.0, 2.0], "q": values}), tmp_path / "1.parquet")
    assert survey(find_source(wanted(tmp_path, features=["a"])), False).found == 2
    with pytest.raises(DatasetError, match=r"'q' has the time zone 'Mars/Base' in .*1.parquet, which is not known"):
        find_source(wanted(tmp_path, features=["a"], time="q"))
    assert [unknown_zone(pa.timestamp("us", zone)) for zone in (None, "UTC", "+02:00")] == [None] * 3


@pytest.mark.parametrize("first", EVERY)
def test_the_common_type_does_not_depend_on_order_and_takes_columns_without_values(first: Any) -> None:
    assert common_type([first.type, pa.null()]) == plain(first.type)
    assert all(common_type([first.type, s.type]) == common_type([s.type, first.type]) for s in EVERY)
    back = convert(convert(first, plain(first.type)), plain(first.type))
    assert len(back) == len(first)
