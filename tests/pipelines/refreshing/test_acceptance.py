from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.model.map_model import MapModel
from pipelines.monitoring.assignment import assigned_rows
from pipelines.monitoring.drift import drift
from pipelines.refreshing.acceptance import (
    Acceptance,
    ClassPrequential,
    Prequential,
    checks,
    evaluate,
    find_drift,
    metric_names,
    score,
    settings_digest,
)
from pipelines.refreshing.new_rows import find_new_rows
from pipelines.settings.sections import RefreshConfig
from pipelines.training.class_scores import ClassErrors
from pipelines.training.local_scores import Errors
from somlib.jitl import JITLRegressor
from tests.pipelines.refreshed import (
    KNOWN,
    ROWS,
    local_of,
    predicted,
    read,
    refresh_config,
    trained,
    without_profile,
    write_rows,
)

NEW = ROWS[KNOWN : KNOWN + 40].with_columns(z=pl.when(pl.int_range(40) < 30).then("z"))
GOOD = Prequential(20, Errors(1.5, 1.0, 0.9), coverage=0.9, width=4.0, fallback=0.1, reference=1.0)
NO_LIMITS = RefreshConfig(rmse_ratio=None, coverage=None, fallback=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"), ROWS[:KNOWN])


@pytest.fixture(scope="module")
def model(folder: Path) -> MapModel:
    made = trained(refresh_config(folder))[0]
    write_rows(folder, NEW, "new")
    return made


def accepted(model: MapModel, folder: Path, record: dict[str, float], **sections: Any) -> Acceptance:
    config = refresh_config(folder, **sections)
    return evaluate(model, local_of(model), find_new_rows(model, local_of(model), config), record, config)


# ---------------------------------------------------------------- what was found


def test_scores_are_the_errors_of_the_model_as_it_serves(model: MapModel, folder: Path) -> None:
    scores = accepted(model, folder, {"jitl/y/rmse": 0.5}).scores
    answers = model.predict(NEW.to_pandas())
    for target, rows in (("y", 40), ("z", 30)):
        error = answers[f"prediction_{target}"].to_numpy()[:rows] - NEW[target].to_numpy()[:rows]
        ends = zip(answers[f"lower_{target}"], NEW[target], answers[f"upper_{target}"], strict=True)
        inside = sum(low <= value <= high for low, value, high in ends if value is not None)
        found = scores[target]
        assert found.rows == rows
        assert found.errors.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
        assert found.errors.mae == pytest.approx(np.mean(np.abs(error)))
        assert found.coverage == pytest.approx(inside / rows)
        assert found.fallback == pytest.approx(answers[f"fallback_{target}"][:rows].mean())
    assert (scores["y"].reference, scores["z"].reference) == (0.5, None)
    assert scores["y"].ratio == pytest.approx(scores["y"].errors.rmse / 0.5)


def test_evaluating_teaches_nothing(model: MapModel, folder: Path) -> None:
    before = predicted(model, ROWS[:20])
    accepted(model, folder, {})
    np.testing.assert_array_equal(predicted(model, ROWS[:20]), before)


def test_metrics_hand_the_errors_on_held_out_rows_on(model: MapModel, folder: Path) -> None:
    first = accepted(model, folder, {"jitl/y/rmse": 0.5, "jitl/z/rmse": 2.0, "reference/z/rmse": 3.0}).metrics
    assert (first["reference/y/rmse"], first["reference/z/rmse"]) == (0.5, 3.0)
    assert accepted(model, folder, first).metrics == first
    assert first["rows/new"] == 40
    assert (first["rows/new/z"], first["rows/unlabelled/z"], first["rows/late/y"]) == (30, 10, 0)
    assert {"prequential/y/rmse", "prequential/z/coverage", "drift/hits", "drift/prediction/z"} <= set(first)


def test_metrics_of_targets_have_names_that_mlflow_takes() -> None:
    config = refresh_config(Path("x"), data={"target": ["y [mm]", "y_[mm]"]})
    assert metric_names(config, ("y_[mm]", "more")) == {"y [mm]": "y__mm_", "y_[mm]": "y__mm__2", "more": "more"}


def test_drift_is_that_of_the_new_rows_from_the_training_of_the_map(model: MapModel, folder: Path) -> None:
    config = refresh_config(folder)
    new_rows = find_new_rows(model, local_of(model), config)
    assert model.profile is not None
    dataset = read(refresh_config(write_rows(folder.parent / "alone", NEW)))
    by_hand = drift(model.profile, assigned_rows(model, dataset, np.arange(40)), config.drift)
    found = find_drift(model, new_rows, config.drift)
    assert found is not None
    assert found.metrics == pytest.approx(by_hand.metrics, rel=1e-6)
    assert found.level == by_hand.level
    assert find_drift(without_profile(model), new_rows, config.drift) is None


def test_a_target_that_the_profile_does_not_know_does_not_stop_drift_from_being_found(
    model: MapModel, folder: Path
) -> None:
    assert model.profile is not None
    known = {"y": model.profile.predictions["y"]}
    narrow = replace(model, profile=model.profile.model_copy(update={"predictions": known}))
    config = refresh_config(folder)
    found = find_drift(narrow, find_new_rows(model, local_of(model), config), config.drift)
    assert found is not None
    assert not [name for name in found.metrics if name == "drift/prediction/z"]


def test_answers_without_intervals_have_no_coverage(model: MapModel, folder: Path) -> None:
    config = refresh_config(folder)
    samples = find_new_rows(model, local_of(model), config).samples
    young = JITLRegressor(som=model.som, experts="pure", missing="mask")
    young.fit(samples.samples[:1], samples.targets["y"][:1])  # none can be left out
    found = score(replace(local_of(model), regressors={"y": young}), "y", samples, None)
    assert (np.isnan(found.coverage), np.isnan(found.width)) == (True, True)
    (check,) = checks({"y": found}, RefreshConfig(rmse_ratio=None, fallback=None))
    assert not check.holds
    assert check.sentence == "y has no intervals yet: refresh.coverage=null goes without"


# ---------------------------------------------------------------- what the limits say


@pytest.mark.parametrize(
    ("changes", "limits", "holds", "sentence"),
    [
        (
            {},
            {"rmse_ratio": 1.5},
            True,
            "rmse of y on 20 new rows is 1.5, 1.50 times the 1 on held-out rows: refresh.rmse_ratio allows 1.5 times",
        ),
        (
            {},
            {"rmse_ratio": 1.49},
            False,
            "rmse of y on 20 new rows is 1.5, 1.50 times the 1 on held-out rows: refresh.rmse_ratio allows 1.49 times",
        ),
        (
            {"reference": None},
            {"rmse_ratio": 9.0},
            False,
            "rmse of y on 20 new rows is 1.5, but no error on held-out rows is on record to compare it with: "
            "refresh.rmse_ratio=null goes without",
        ),
        (
            {"reference": 0.0},
            {"rmse_ratio": 9.0},
            False,
            "rmse of y on 20 new rows is 1.5, but that on held-out rows is 0 to compare it with: "
            "refresh.rmse_ratio=null goes without",
        ),
        (
            {},
            {"coverage": (0.9, 0.95)},
            True,
            "90 % of 20 new values of y lie within their intervals: refresh.coverage allows 90 % to 95 %",
        ),
        (
            {"coverage": 0.85},
            {"coverage": (0.9, 0.95)},
            False,
            "85 % of 20 new values of y lie within their intervals: refresh.coverage allows 90 % to 95 %",
        ),
        (
            {"coverage": 1.0},
            {"coverage": (0.9, 0.95)},
            False,
            "100 % of 20 new values of y lie within their intervals: refresh.coverage allows 90 % to 95 %",
        ),
        ({}, {"fallback": 0.1}, True, "10 % of 20 new rows with y lie off the map: refresh.fallback allows 10 %"),
        ({}, {"fallback": 0.05}, False, "10 % of 20 new rows with y lie off the map: refresh.fallback allows 5 %"),
    ],
)
def test_each_limit_holds_or_says_why_not(
    changes: dict[str, Any], limits: dict[str, Any], holds: bool, sentence: str
) -> None:
    (check,) = checks({"y": replace(GOOD, **changes)}, NO_LIMITS.model_copy(update=limits))
    assert (check.holds, check.sentence) == (holds, sentence)


def test_every_limit_must_hold_for_every_target(model: MapModel, folder: Path) -> None:
    record = {"jitl/y/rmse": 100.0, "jitl/z/rmse": 1e-6}
    refused = accepted(model, folder, record, refresh={"coverage": None})
    assert not refused.passes
    assert len(refused.checks) == 4
    (reason,) = refused.reasons
    assert reason.startswith("rmse of z on 30 new rows is")
    passed = accepted(model, folder, {**record, "jitl/z/rmse": 100.0}, refresh={"coverage": None})
    assert (passed.passes, passed.reasons) == (True, ["within all limits of refresh"])


def test_limits_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="must be the lowest share, then the highest"):
        RefreshConfig(coverage=(0.9, 0.5))


def test_only_settings_of_learning_and_judging_decide() -> None:
    base = refresh_config(Path("x"))
    for same in ({"drift": {"mean": [1, 2]}}, {"runtime": {"threads": 1}}, {"tracking": {"experiment": "other"}}):
        assert settings_digest(refresh_config(Path("x"), **same)) == settings_digest(base)
    for other in ({"jitl": {"keep_days": 3}}, {"refresh": {"fallback": 0.1}}):
        assert settings_digest(refresh_config(Path("x"), **other)) != settings_digest(base)
        assert (refresh_config(Path("x"), **other).digest == base.digest) == ("refresh" in other)


# ---------------------------------------------------------------- classes


def losses(log_loss: float | None, reference: float | None, unknown: int = 0) -> ClassPrequential:
    errors = None if log_loss is None else ClassErrors(log_loss, 0.9, 0.8)
    return ClassPrequential(24, unknown, errors, fallback=0.1, reference=reference)


@pytest.mark.parametrize(
    ("found", "holds", "said"),
    [
        (losses(0.5, 0.4), True, "log loss of kind on 24 new rows is 0.5, 1.25 times the 0.4 on held-out rows: "
         "refresh.log_loss_ratio allows 2 times"),
        (losses(0.9, 0.4), False, "log loss of kind on 24 new rows is 0.9, 2.25 times the 0.4 on held-out rows: "
         "refresh.log_loss_ratio allows 2 times"),
        (losses(0.09, 0.01), True, "log loss of kind on 24 new rows is 0.09: refresh.log_loss_least lets in 0.1"),
        (losses(0.5, None), False, "log loss of kind on 24 new rows is 0.5, but no loss on held-out rows is on record "
         "to compare it with: refresh.log_loss_ratio=null goes without"),
    ],
)  # fmt: skip
def test_the_log_loss_of_new_rows_has_a_limit(found: ClassPrequential, holds: bool, said: str) -> None:
    check = next(checks({"kind": found}, RefreshConfig()))
    assert (check.holds, check.sentence) == (holds, said)


def test_rows_of_new_classes_alone_are_let_in_to_be_learned() -> None:
    found = [*checks({"kind": losses(None, 0.4, unknown=24)}, RefreshConfig())]
    assert [check.holds for check in found] == [True]
    assert losses(None, 0.4, unknown=24).metrics() == {"fallback": 0.1, "rows": 24.0, "rows_of_new_classes": 24.0}
