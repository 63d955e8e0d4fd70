import csv
import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.errors import ModelError, RequestTooLargeError
from pipelines.serving.csv_request import MISSING, _line_by_line, _plain, read_csv

FIELDS = st.one_of(
    st.floats(width=64).map(repr),
    st.integers().map(str),
    st.sampled_from(sorted(MISSING)),
    st.sampled_from(
        [" 1", "1 ", "+1", "1_0", "true", "FALSE", "inf", "-nan", "1e400", ".5", "5.", "0x1", "\u0663", "x"]
    ),
    st.text(alphabet='0123456789.eE+-_ naNfi"', max_size=6),
)
LINES = st.lists(st.lists(FIELDS, min_size=2, max_size=3), max_size=6)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


def outcome(body: bytes, read: object) -> object:
    try:
        frame = read(body, ["a", "b"], ["b"], None) if read is _line_by_line else read_csv(body, ["a", "b"], ["b"])
    except ModelError as error:
        return str(error)
    return [(None if math.isnan(a) else a, b) for a, b in zip(frame["a"], frame["b"], strict=True)]


@settings(max_examples=200, deadline=None)
@given(LINES, ENDS)
@example([["1", "x"], ["2", "y"]], "\n")
def test_what_is_read_at_once_is_what_is_read_line_by_line(lines: list[list[str]], end: str) -> None:
    body = end.join(",".join(line) for line in [["a", "b"], *lines]).encode()
    assert outcome(body, read_csv) == outcome(body, _line_by_line)


def test_numbers_are_those_that_python_reads() -> None:
    values = np.random.default_rng(0).normal(size=(5000, 2)) * 10.0 ** np.arange(-40, 60, 0.02)[:, None]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["b", "x", "a"], *([b, "note", a] for a, b in values.tolist())])
    body = text.getvalue().encode()
    assert _plain(body, ["a", "b"], [], None) is not None
    np.testing.assert_array_equal(read_csv(body, ["a", "b"]).to_numpy(), values)


@pytest.mark.parametrize("quoted", [False, True])
def test_more_rows_than_are_answered_at_once_are_refused(quoted: bool) -> None:
    line = '"1",2\n' if quoted else "1,2\n"
    assert len(read_csv(("a,b\n" + line * 5000).encode(), ["a", "b"], most_rows=5000)) == 5000
    with pytest.raises(RequestTooLargeError, match="must not have more than 5,000 rows: send them in parts"):
        read_csv(("a,b\n" + line * 5001).encode(), ["a", "b"], most_rows=5000)


def test_parts_of_a_long_request_are_one_frame_in_its_order() -> None:
    values = np.arange(20_000.0).reshape(-1, 2)
    body = pd.DataFrame(values, columns=["a", "b"]).to_csv(index=False, quoting=csv.QUOTE_ALL).encode()
    assert _plain(body, ["a", "b"], [], None) is None
    frame = read_csv(body, ["a", "b"])
    np.testing.assert_array_equal(frame.to_numpy(), values)
    assert frame.index.tolist() == list(range(10_000))
