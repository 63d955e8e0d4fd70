import math
from typing import Any

import numpy as np
import pytest

from pipelines.report.words import (
    CHOICES,
    Remark,
    Verdict,
    choice_of_number,
    explained,
    heldout_ratio,
    number,
    percent,
    reach_in_words,
    remarks,
    size_of,
    verdicts,
)
from somlib.utils.clustering import CLUSTERING_METHODS
from tests.pipelines.report_content import METRICS, make_content


def verdict(question: str, **changes: Any) -> Verdict:
    return next(v for v in verdicts(make_content(**changes)) if question in v.question)


def told(**changes: Any) -> list[Remark]:
    return remarks(make_content(**changes))


def with_metrics(**changes: float) -> dict[str, Any]:
    return {"metrics": METRICS | {name.replace("cluster_", "cluster/"): value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"clustering": "mixture"}, "How many: Gaussians are merged unless rows show a valley"),
        ({"clustering": "ward"}, "How many: the number is that of the largest silhouette, or 1 where"),
        ({"clustering": "kmeans", "n_clusters": 5}, "Their number was asked for: 5."),
    ],
)
def test_the_report_says_how_the_number_of_clusters_came_about(facts: dict[str, Any], expected: str) -> None:
    assert choice_of_number(make_content(facts=facts)).startswith(expected)


def test_every_method_says_how_it_chooses_a_number() -> None:
    assert set(CHOICES) == set(CLUSTERING_METHODS)


def test_one_group_that_was_found_says_what_to_read_instead() -> None:
    one = {"labels": np.ones(12, dtype=np.int64)}
    found = verdict("groups", facts={"clustering": "mixture"}, **one)
    assert "found one group: the rows form one continuous map" in found.text
    assert verdict("groups", facts={"n_clusters": 1}, **one).text.endswith("as was asked for.")


def test_clusters_that_do_not_come_back_are_named() -> None:
    shaky = with_metrics(**{"cluster_stability/1": 0.97, "cluster_stability/2": 0.41})
    remark = next(each for each in told(**shaky) if "Not stable" in each.text)
    assert remark.serious
    assert "cluster 2 (0.41)" in remark.text
    assert "cluster 1" not in remark.text
    assert size_of(make_content(**shaky), 2).endswith("stability 0.41")
    assert "stability" not in size_of(make_content(), 2)


def test_explained_is_what_is_left_of_the_distance_to_the_mean() -> None:
    assert explained(make_content()) == 1 - 0.5 / 2.0
    assert math.isnan(explained(make_content(facts={"one_neuron_error": 0.0})))
    assert math.isnan(explained(make_content(facts={"one_neuron_error": math.nan})))


@pytest.mark.parametrize(
    ("qe", "word"),
    [(0.4, "very close"), (0.41, "close"), (0.8, "close"), (0.81, "rough"), (1.21, "coarse"), (3, "coarse")],
)
def test_the_word_for_closeness_follows_the_share_explained(qe: float, word: str) -> None:
    assert verdict("single rows", **with_metrics(train_qe=qe)).word == word


def test_closeness_says_both_distances_and_the_share() -> None:
    found = verdict("single rows")
    assert found.value == "75 %"
    assert found.text == (
        "A row lies 0.5 from its neuron on average (quantization error), 2 from the mean of all rows: the map explains "
        "75 % of the distance."
    )


@pytest.mark.parametrize(
    ("te", "value", "word"),
    [
        (0.0, "100.0 %", "very well ordered"),
        (0.05, "95.0 %", "very well ordered"),
        (0.051, "94.9 %", "well ordered"),
        (0.2, "80.0 %", "ordered, with some folds"),
        (0.3, "70.0 %", "folded in many places"),
        (math.nan, "–", "not defined"),
    ],
)
def test_the_word_for_order_follows_the_topographic_error(te: float, value: str, word: str) -> None:
    found = verdict("alike", **with_metrics(train_te=te))
    assert (found.value, found.word) == (value, word)


def test_a_map_without_torn_rows_is_not_called_torn() -> None:
    assert "torn" not in verdict("alike", **with_metrics(train_te=0.0)).text


@pytest.mark.parametrize(
    ("qe", "value", "word", "comparison"),
    [
        (0.54, "+8 %", "as well", "8 % farther from"),
        (0.6, "+20 %", "somewhat worse", "20 % farther from"),
        (0.7, "+40 %", "much worse", "40 % farther from"),
        (0.45, "−10 %", "as well", "10 % closer to"),
    ],
)
def test_held_out_rows_are_compared_to_training_rows(qe: float, value: str, word: str, comparison: str) -> None:
    found = verdict("new rows", **with_metrics(heldout_qe=qe))
    assert (found.value, found.word) == (value, word)
    assert comparison in found.text


def test_without_held_out_rows_nothing_is_said_of_them() -> None:
    rows = {"found": 100, "left_out": 0, "train": 100, "heldout": 0}
    content = make_content(facts={"rows": rows}, metrics={"train_qe": 0.5})
    assert math.isnan(heldout_ratio(content))
    assert not any("new rows" in v.question for v in verdicts(content))


@pytest.mark.parametrize(
    ("labels", "silhouette", "value", "word"),
    [
        ([1, 2], 0.7, "2", "clearly apart"),
        ([1, 2], 0.5, "2", "reasonably apart"),
        ([1, 2], 0.3, "2", "weakly apart"),
        ([1, 2], 0.1, "2", "hardly apart"),
        ([1, 2], math.nan, "2", "not scored"),
        ([1, 1], math.nan, "1", "one group"),
        ([-1, -1], math.nan, "0", "no groups"),
    ],
)
def test_the_word_for_groups_follows_the_clusters(labels: list[int], silhouette: float, value: str, word: str) -> None:
    found = verdict(
        "groups", x=1, y=2, labels=np.array(labels), **with_metrics(**{"cluster_silhouette_score": silhouette})
    )
    assert (found.value, found.word) == (value, word)


# ---------------------------------------------------------------- remarks


def test_a_good_map_with_one_empty_neuron_has_one_mild_remark() -> None:
    steady = {"quantization_errors": [0.6, 0.5, 0.5]}
    assert told(**steady) == [Remark(False, "1 neuron of 12 (8 %) is empty: no training row fell there.")]


@pytest.mark.parametrize(
    ("changes", "serious", "text"),
    [
        (with_metrics(heldout_qe=0.8), True, "Held-out rows lie 60 % farther from the map"),
        (with_metrics(train_te=0.3), True, "The map is folded: 30 % of the rows"),
        ({"hits": np.array([0.0] * 6 + [9.0] * 6)}, True, "6 neurons of 12 (50 %) are empty"),
        ({"labels": np.full(12, -1)}, True, "No clusters: all neurons are noise"),
        ({"labels": np.array([-1] * 3 + [1] * 5 + [2] * 4)}, False, "25 % of the neurons are in no cluster (noise)."),
        ({"labels": np.ones(12, dtype=np.int64)}, False, "There is one cluster"),
        (with_metrics(cluster_silhouette_score=math.nan), False, "is not defined here"),
        (with_metrics(cluster_silhouette_score=0.1), False, "hardly apart (silhouette 0.10)"),
        ({"quantization_errors": [1.0, 0.9]}, False, "still fell by 10.0 % in the last epoch"),
        ({"facts": {"remarks": ("30 of 150 rows are left out",)}}, False, "30 of 150 rows are left out."),
    ],
)
def test_each_doubt_has_its_remark(changes: dict[str, Any], serious: bool, text: str) -> None:
    found = [remark for remark in told(**changes) if text in remark.text]
    assert [remark.serious for remark in found] == [serious]


def test_serious_remarks_come_first() -> None:
    order = [remark.serious for remark in told(**with_metrics(train_te=0.3, heldout_qe=2.0))]
    assert order == sorted(order, reverse=True)
    assert order[:2] == [True, True]


def test_missing_values_are_counted_by_column() -> None:
    column = {"mean": 0.0, "deviation": 1.0, "low": 0.0, "high": 1.0, "missing": 0}
    facts = {
        "features": {"a": column | {"missing": 21}, "b": column | {"missing": 20}},
        "targets": {"y": column | {"missing": 100}, "z": column | {"missing": 5}},
    }
    texts = [remark.text for remark in told(targets=("y", "z"), facts=facts)]
    assert any(text.startswith("Features that many training rows lack: a (21 %).") for text in texts)
    assert "No training row has a value of the target y: its maps are empty." in texts
    assert "5 of 100 training rows lack the target z." in texts


def test_what_the_user_was_told_already_is_not_said_again() -> None:
    column = {"mean": 0.0, "deviation": 1.0, "low": 0.0, "high": 1.0, "missing": 5}
    remark = "target z is missing in 6 of 120 rows, which its maps leave out"
    facts = {"targets": {"y": column, "z": column}, "remarks": (remark,)}
    texts = [one.text for one in told(targets=("y", "z"), facts=facts)]
    assert [text for text in texts if "arget" in text] == [
        f"T{remark[1:]}.",
        "5 of 100 training rows lack the target y.",
    ]


# ---------------------------------------------------------------- small change


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.0, 0, "0 %"),
        (0.001, 0, "under 1 %"),
        (0.5, 0, "50 %"),
        (0.999, 0, "over 99 %"),
        (1.0, 0, "100 %"),
        (0.0476, 1, "4.8 %"),
        (math.nan, 0, "–"),
        (math.inf, 0, "–"),
    ],
)
def test_a_share_is_never_rounded_to_nothing_or_all(share: float, digits: int, text: str) -> None:
    assert percent(share, digits) == text


def test_a_number_that_is_none_is_a_dash() -> None:
    assert [number(value) for value in (math.nan, math.inf, -1.5, 12345.6)] == ["–", "–", "−1.5", "12346"]


def test_reach_says_where_the_fallback_starts() -> None:
    assert "at least 50 rows, 70 in the median" in reach_in_words(np.array([60.0, 70.0, 80.0]), 1)
    text = reach_in_words(np.array([10.0, 70.0, 80.0, 90.0]), 2)
    assert "its neighbors up to 2 steps away" in text
    assert "For 75 % of the neurons" in text
    assert "until there are 50" in text
