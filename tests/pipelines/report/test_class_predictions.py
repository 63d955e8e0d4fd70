from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import calibration_curve

from pipelines.report.class_predictions import MOST_CONFUSED, confusion_lines, reliability, reliability_figure
from pipelines.report.facts import ClassFacts
from pipelines.report.page import CHARTS, render_report
from pipelines.training.analysis import ClassMaps
from tests.pipelines.report_content import METRICS, Page, make_content

SCORES = {
    **{f"log_loss{of}": loss for of, loss in (("", 0.31), ("_logistic", 0.42), ("_neighbors", 0.44))},
    **{f"balanced_accuracy{of}": share for of, share in (("", 0.875), ("_logistic", 0.75), ("_neighbors", 0.7))},
    **{"log_loss_boosting": 0.29, "balanced_accuracy_boosting": 0.9, "calibration_error": 0.021, "fallback": 0.01},
}


def answers(measured: list[str], prediction: list[str], probability: Any = 0.8) -> pl.DataFrame:
    return pl.DataFrame({"target": "kind", "measured": measured, "prediction": prediction}).with_columns(
        probability=pl.lit(probability) if isinstance(probability, float) else pl.Series(probability)
    )


def content(**changes: Any) -> Any:
    counts = np.zeros((4, 3, 2), dtype=np.int64)
    counts[:, :2] = [3, 1]
    facts = {"classes": {"kind": ClassFacts(rows={"ox": 24, "ape": 8}, missing=4)}, "target_names": ("yield", "kind")}
    metrics = METRICS | {f"jitl/kind/{name}": value for name, value in SCORES.items()}
    given = {
        "facts": facts,
        "metrics": metrics,
        "classes": {"kind": ClassMaps(("ox", "ape"), counts)},
        "class_predictions": answers(["ox", "ox", "ape", "ape"], ["ox", "ape", "ape", "ape"]),
    }
    return make_content(**(given | changes))


def test_the_page_compares_losses_and_shows_who_is_taken_for_whom() -> None:
    page = Page(render_report(content()))
    text = " ".join(" ".join(page.words).split())
    assert "kind 0.31, 87.5 % 0.42, 75.0 % 0.44, 70.0 % 0.29 , 90.0 % 0.021 1.0 % 4" in text
    assert "True class ape ox ape 2 0 ox 1 1" in text
    assert "kind: ox 75 %, ape 25 %" in text


def test_a_page_of_classes_alone_has_maps_and_predictions_of_them() -> None:
    facts = {"classes": {"kind": ClassFacts(rows={"ox": 1, "ape": 0}, missing=0)}, "target_names": ("kind",)}
    html = render_report(content(targets=(), facts=facts))
    assert "Most frequent kind on each neuron: ox, ape" in html
    assert "kind: share of the most frequent class" in html
    assert "kind=ape: share" in html


def test_bins_of_reliability_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(300)
    right = rng.random(300) < probability
    table = answers(["a"] * 300, np.where(right, "a", "b").tolist(), probability)
    share, mean = calibration_curve(right, probability, n_bins=10)
    found = reliability(table)
    np.testing.assert_allclose(found["probability"], mean)
    np.testing.assert_allclose(found["right"], share)
    assert found["rows"].sum() == 300


def test_the_figure_has_a_dot_for_each_bin() -> None:
    figure = reliability_figure(answers(["a", "b", "a"], ["a", "a", "a"], [0.55, 0.95, 0.97]), "kind", CHARTS)
    dots = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(dots, [[0.55, 1.0], [0.96, 0.5]])


def test_of_many_classes_the_table_shows_the_most_frequent_ones() -> None:
    measured = [f"c{i:02}" for i in range(20) for _ in range(i + 1)]
    classes, lines, others = confusion_lines(answers(measured, ["c00"] * len(measured)))
    assert classes == tuple(f"c{i:02}" for i in range(20 - MOST_CONFUSED, 20))
    assert others == 8
    assert lines[0] == ("c08", (*[0] * MOST_CONFUSED, 9))


@pytest.mark.parametrize("count", [1, 3])
def test_a_table_of_few_classes_has_all(count: int) -> None:
    names = [f"c{i}" for i in range(count)]
    assert confusion_lines(answers(names, names))[::2] == (tuple(names), 0)
