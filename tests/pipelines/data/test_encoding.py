import json

import numpy as np
import pytest

from pipelines.data.columns import BooleanColumn, CategoryColumn, CyclicColumn, NumberColumn, TimeColumn
from pipelines.data.encoding import Encoding
from pipelines.errors import ModelError

NAN = float("nan")
COLUMNS = (
    NumberColumn(name="t"),
    CyclicColumn(name="h", period=24),
    CategoryColumn(name="c", levels=("a", "b"), other=True),
    TimeColumn(name="w", parts=("hour_of_day", "day_of_week")),
    BooleanColumn(name="f"),
)
ENCODING = Encoding(COLUMNS)
ROWS = np.array([[1.5, 6, 1, 12, 3, 1], [NAN, 23, 2, NAN, NAN, 0], [0, NAN, NAN, 0, 7, NAN]])


def test_numbers_become_features_side_by_side_and_are_read_back() -> None:
    assert ENCODING.inputs == ("t", "h", "c", "w", "f")
    assert ENCODING.numbers == ("t", "h", "c", "w hour_of_day", "w day_of_week", "f")
    features = ENCODING.expand(ROWS)
    assert features.shape == (3, len(ENCODING.features)) == (3, 11)
    assert ENCODING.features[:6] == ("t", "h sin", "h cos", "c=a", "c=b", "c=(other)")
    np.testing.assert_allclose(features[0, :6], [1.5, 1, 0, 0, 1, 0], atol=1e-12)
    back = dict(zip(ENCODING.readable, ENCODING.collapse(features).T, strict=True))
    np.testing.assert_allclose(back["h"], [6, 23, NAN])
    np.testing.assert_allclose(back["c=(other)"], [0, 1, NAN])
    np.testing.assert_allclose(back["w day_of_week"], [3, NAN, 7])
    assert [ENCODING.features[i] for i in ENCODING.firsts] == [
        "t", "h sin", "c=a", "c=b", "c=(other)", "w hour_of_day sin", "w day_of_week sin", "f"
    ]  # fmt: skip
    assert ENCODING.cycles == {"h": (0, 24), "w hour_of_day": (0, 24), "w day_of_week": (1, 8)}


def test_an_encoding_survives_json_and_a_broken_one_is_refused() -> None:
    assert Encoding.from_list(json.loads(json.dumps(ENCODING.to_list()))) == ENCODING
    for broken in ([{"name": "x"}], [{"name": "x", "kind": "odd"}], None, [{"name": "h", "kind": "cyclic"}]):
        with pytest.raises(ModelError, match="the columns of the model cannot be read"):
            Encoding.from_list(broken)


def test_codes_of_other_rows_are_those_of_the_same_values() -> None:
    levels = {"c": ("a", "b", "new")}
    rows = np.array([[0.0, 0, 2, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, NAN, 0, 0, 0]])
    np.testing.assert_array_equal(ENCODING.recoded(rows, levels)[:, 2], [2, 1, NAN])
    assert rows[0, 2] == 2
    assert ENCODING.codes == {"h": None, "c": 3, "w hour_of_day": None, "w day_of_week": None}


def test_features_of_another_encoding_keep_what_both_know_and_the_rest_is_rare() -> None:
    old = Encoding((CategoryColumn(name="c", levels=("b", "z"), other=True), COLUMNS[0]))
    new = Encoding((COLUMNS[0], CategoryColumn(name="c", levels=("a", "b"), other=True)))
    shares = np.array([[0.2, 0.5, 0.3, 7.0]])  # b, z, rare, t
    np.testing.assert_allclose(shares @ new.translation(old), [[7.0, 0.0, 0.2, 0.8]])  # t, a, b, rare
    without = Encoding((COLUMNS[0], CategoryColumn(name="c", levels=("a", "b"))))
    np.testing.assert_allclose(shares @ without.translation(old), [[7.0, 0.0, 0.2]])


def test_columns_of_another_kind_or_setting_differ_and_other_values_do_not() -> None:
    other = Encoding(
        (
            NumberColumn(name="h"),
            CategoryColumn(name="c", levels=("x",)),
            TimeColumn(name="w", parts=("hour_of_day",)),
            BooleanColumn(name="f"),
        )
    )
    assert ENCODING.differences(other) == ["h", "w"]
