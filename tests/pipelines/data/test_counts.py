import numpy as np
import polars as pl

from pipelines.data import find_source, newest_share_from, survey, time_span
from tests.pipelines.conftest import WriteDataset
from tests.pipelines.data.reading import wanted


def test_the_survey_counts_what_is_there(write: WriteDataset) -> None:
    frame = pl.DataFrame({"a": [1.0, None, float("nan"), 4.0, float("inf")], "b": [2.0, 2, 2, 2, 2]})
    found = survey(find_source(wanted(write(frame))), drop_incomplete=False)
    assert (found.found, found.incomplete, found.used) == (5, 2, 5)
    assert found.columns["a"] == (2, 1, 1.0, 4.0)
    assert found.columns["b"].constant


def test_the_span_of_time_and_the_newest_share_are_those_of_the_wanted_rows(write: WriteDataset) -> None:
    time = np.random.default_rng(5).permutation(40)
    path = write(pl.DataFrame({"t": time, "a": np.arange(40.0), "b": 0.0}))
    source = find_source(wanted(path, time="t", where="a >= 10"))
    kept = np.sort(time[10:])
    assert time_span(source) == (kept[0], kept[-1])
    assert newest_share_from(source, 0.2) == kept[-6]
    assert newest_share_from(source, 0.01) is None
    assert time_span(find_source(wanted(path, time="t", where="a > 99"))) == (None, None)
