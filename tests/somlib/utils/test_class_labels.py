"""Text labels against scikit-learn's encoder, in every form that labels come in."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.preprocessing import LabelEncoder

from somlib.errors import DataTypeError
from somlib.utils.class_labels import text_labels

LABELS = ["rain", "sun", "Nebel", "sun", "ä", "rain"]
FORMS = {
    "list": LABELS,
    "array": np.array(LABELS),
    "objects": np.array(LABELS, dtype=object),
    "polars": pl.Series(LABELS),
    "polars categories": pl.Series(LABELS, dtype=pl.Categorical),
    "polars enum": pl.Series(LABELS, dtype=pl.Enum(["sun", "rain", "Nebel", "ä"])),
    "pandas": pd.Series(LABELS),
    "pandas strings": pd.Series(LABELS, dtype="string"),
    "pandas categories": pd.Series(LABELS, dtype="category"),
    "arrow": pa.chunked_array([LABELS]),
}


@pytest.mark.parametrize("target", FORMS.values(), ids=FORMS)
def test_labels_are_numbered_as_scikit_learn_does(target: Any) -> None:
    encoder = LabelEncoder().fit(LABELS)
    found = text_labels(target)
    assert found is not None
    assert found.names == tuple(encoder.classes_)
    np.testing.assert_array_equal(found.codes, encoder.transform(LABELS))


@pytest.mark.parametrize(
    "table",
    [
        [["a", "x"], ["b", None]],
        pl.DataFrame({"p": ["a", "b"], "q": ["x", None]}),
        pd.DataFrame({"p": ["a", "b"], "q": ["x", None]}),
        pa.table({"p": ["a", "b"], "q": ["x", None]}),
    ],
    ids=["list", "polars", "pandas", "arrow"],
)
def test_labels_of_several_columns_share_their_numbers(table: Any) -> None:
    found = text_labels(table)
    assert found is not None
    assert found.names == ("a", "b", "x")
    np.testing.assert_array_equal(found.codes, [[0, 2], [1, np.nan]])


@pytest.mark.parametrize("none", [None, np.nan, pd.NA, pd.NaT])
def test_a_mark_of_a_missing_value_is_no_label(none: Any) -> None:
    found = text_labels(np.array(["b", none, "a"], dtype=object))
    assert found is not None
    np.testing.assert_array_equal(found.codes, [1, np.nan, 0])


@pytest.mark.parametrize(
    "target",
    [
        None,
        "text",
        [],
        [1, 2],
        [[1], [2, 3]],
        np.ones(3),
        torch.ones(3),
        pl.Series([True]),
        pd.Series([1.0, None]),
        3.5,
    ],
)
def test_what_holds_no_text_is_none(target: Any) -> None:
    assert text_labels(target) is None


def test_texts_beside_numbers_are_refused() -> None:
    with pytest.raises(DataTypeError, match="texts or numbers, not both, got texts and 3"):
        text_labels(["a", 3])
