import math
from typing import Any

import pytest

from pipelines.publishing.train_result import TrainResult
from pipelines.store.versions import Version

METRICS = {
    "train_qe": 1.63862,
    "train_te": 0.0476,
    "heldout_qe": 1.8,
    "heldout_te": 0.062,
    "clusters": 3.0,
    "cluster/silhouette_score": 0.312,
    "cluster/noise_ratio": 0.0,
}


def result(**changes: Any) -> TrainResult:
    fields = {
        "experiment": "weather",
        "run_id": "abc",
        "run_name": "calm-otter",
        "page": "http://127.0.0.1:5000/#/experiments/1/runs/abc",
        "how_to_open": "mlflow ui --backend-store-uri sqlite:///mlflow.db",
        "model_uri": "models:/m-1",
        "published": Version("weather", "7", ("challenger",)),
        "rows": {"found": 8714, "left_out": 1739, "train": 5580, "heldout": 1395},
        "features": 17,
        "map_size": (25, 15),
        "topology": "hexagonal",
        "metrics": METRICS,
        "seconds": {"load": 0.25, "train": 1.5},
    }
    return TrainResult(**(fields | changes))


def test_the_lines_hold_rows_map_errors_clusters_seconds_run_and_model() -> None:
    assert dict(result().lines()) == {
        "rows": "5,580 trained, 1,395 held out, 1,739 left out; 17 features",
        "map": "25 x 15 hexagonal",
        "quantization error": "1.639, held out 1.8",
        "topographic error": "4.8%, held out 6.2%",
        "clusters": "3, silhouette 0.31",
        "seconds": "1.8: load 0.2, train 1.5",
        "MLflow run": "calm-otter (abc) in weather",
        "model": "weather version 7, now challenger",
    }


@pytest.mark.parametrize(
    ("changes", "line", "expected"),
    [
        ({"metrics": METRICS | {"cluster/silhouette_score": math.nan, "clusters": 1.0}}, "clusters", "1"),
        (
            {"metrics": METRICS | {"cluster/noise_ratio": 0.25}},
            "clusters",
            "3, silhouette 0.31, 25% of the neurons in none",
        ),
        ({"metrics": {k: v for k, v in METRICS.items() if "heldout" not in k}}, "quantization error", "1.639"),
        ({"published": None}, "model", "models:/m-1, not registered"),
    ],
)
def test_what_there_is_not_is_left_out(changes: dict[str, Any], line: str, expected: str) -> None:
    assert dict(result(**changes).lines())[line] == expected


def test_markdown_links_to_the_run_and_says_how_to_open_a_local_one() -> None:
    text = result().markdown()
    assert "| map | 25 x 15 hexagonal |" in text
    assert "[MLflow run calm-otter](http://127.0.0.1:5000/#/experiments/1/runs/abc)" in text
    assert "Open it with `mlflow ui --backend-store-uri sqlite:///mlflow.db`." in text
    assert "Open it" not in result(how_to_open=result().page).markdown()


def test_each_target_stands_beside_its_better_rival() -> None:
    humid = {"rmse": 5.2847, "rmse_ridge": 5.8362, "rmse_neighbors": 5.6265, "coverage": 0.919}
    temp = {"rmse": 2.1705, "rmse_ridge": 2.2, "rmse_neighbors": 2.2551, "coverage": 0.889}
    metrics = METRICS | {f"jitl/{t}/{k}": v for t, of in (("humid", humid), ("temp", temp)) for k, v in of.items()}
    lines = dict(result(metrics=metrics, targets=("humid", "temp", "without")).lines())
    assert "jitl rmse without" not in lines
    assert lines["jitl rmse humid"] == "5.285 held out, neighbors 5.627; 92% within their intervals"
    assert lines["jitl rmse temp"] == "2.171 held out, ridge 2.2; 89% within their intervals"


def test_targets_go_by_their_own_names_whatever_their_metrics_are_called() -> None:
    own = {"rmse": 5.2847, "rmse_ridge": 5.8362, "rmse_neighbors": 5.6265, "coverage": 0.919}
    metrics = METRICS | {f"jitl/_script_alert_1___script_/{k}": v for k, v in own.items()}
    lines = dict(result(metrics=metrics, targets=("<script>alert(1)</script>",)).lines())
    assert lines["jitl rmse <script>alert(1)</script>"].startswith("5.285 held out")
