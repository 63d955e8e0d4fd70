"""A year of retraining on the shipped weather data: what it is worth to retrain each month.

    make year

January trains a first map, which is published. Then `som retrain` runs at the end of each month from February to
December, on a store of its own that is thrown away: it trains on all months before, and judges on the one that has just
ended. The first table has its verdicts, how far the challenger's map lies from the champion's (share of its spread) and
how many rows keep their cluster (adjusted Rand index).

The second table looks at the month after, which nobody has seen by then. `qe` is that of the version that serves as a
share of January's, in January's units. `rmse` of the local models is given three times: of January's version as it was;
of the same map with local models that have learned every month since, which is what `som refresh` does; and of the
version that serves, whose local models have learned nothing since it was made.
"""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.data import Dataset
    from pipelines.data.samples import Labelled
    from pipelines.model.map_model import MapModel
    from pipelines.retraining.retrain_result import RetrainResult

DATA = Path(__file__).parents[1] / "data" / "weather"
SETTINGS = {
    "name": "year",
    "data": {
        "path": str(DATA),
        "features": ["*_EWR", "*_LGA", "hour"],
        "target": ["humid_JFK", "temp_JFK"],
        "time": "time",
    },
    "som": {
        "x": 16,
        "y": 10,
        "topology": "hexagonal",
        "epochs": 20,
        "algorithm": "batch",
        "initialization_mode": "pca",
        "sigma_decay_function": "sig_geometric_decay_to_one",
        "missing": "mask",
    },
    "jitl": {"experts": "pure"},
}
VERDICTS = "| until month | verdict | drift | map moved | clusters kept | first reason |\n" + "| --- " * 6 + "|"
LATER = "| month after | serves | qe | humid_JFK rmse | temp_JFK rmse |\n" + "| --- " * 5 + "|"


@contextlib.contextmanager
def throwaway() -> Iterator[Path]:
    """A folder, which is the working folder inside, with stores of its own."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ |= {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PREFECT_HOME": f"{folder}/prefect",
            "XDG_STATE_HOME": folder,
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
        }
        yield Path(folder)


def main(folder: Path) -> None:
    from pipelines.flows import retrain_flow, train_flow
    from pipelines.operations.engine import quick_flows
    from pipelines.settings.config import PipelineConfig

    for noisy in ("pipelines", "alembic", "mlflow"):
        logging.getLogger(noisy).setLevel("ERROR")
    config = PipelineConfig.model_validate(SETTINGS)
    later = []
    print(VERDICTS)
    with quick_flows():
        train_flow(PipelineConfig.model_validate(SETTINGS | {"data": SETTINGS["data"] | {"where": "month = 1"}}))
        _, january = serving(folder)
        _, refreshed = serving(folder)
        for month in range(2, 13):
            window = {"mode": "growing", "until": f"month={month:02}", "holdout": 1}
            print(told(month, retrain_flow(PipelineConfig.model_validate(SETTINGS | {"window": window}))), flush=True)
            refreshed.local.learn(placed(january, rows_of(month)), config.jitl)
            if month < 12:
                number, champion = serving(folder)
                later.append((month + 1, number, *compared(january, refreshed, champion, rows_of(month + 1))))
    print(f"\n{LATER}")
    for row in later:
        print("| {:02} | version {} | {:.2f} | {:.2f}, {:.2f}, {:.2f} | {:.2f}, {:.2f}, {:.2f} |".format(*row))


def serving(folder: Path) -> "tuple[str, MapModel]":
    """Number and model of the version that serves."""
    from pipelines.store import registry, servable

    version = registry.champion("year")
    return version.version, servable.fetch(version, Path(tempfile.mkdtemp(dir=folder)))


def told(month: int, result: "RetrainResult") -> str:
    """A line of the first table."""
    from mlflow import MlflowClient

    metrics = MlflowClient().get_run(result.run_id).data.metrics
    moved, kept = metrics["moved/share"], metrics["cluster_stability"]
    drift, reason = result.drift.partition(":")[0], result.reason.partition(";")[0]
    return f"| {month:02} | {result.outcome} | {drift} | {moved:.2f} | {kept:.2f} | {reason} |"


def rows_of(month: int) -> "Dataset":
    from pipelines.data import find_source, read_dataset, survey
    from pipelines.settings.sections import DataConfig

    source = find_source(DataConfig.model_validate(SETTINGS["data"] | {"where": f"month = {month}"}))
    return read_dataset(source, survey(source, False), False)


def placed(model: "MapModel", dataset: "Dataset") -> "Labelled":
    import numpy as np

    from pipelines.data.samples import labelled

    return labelled(dataset, model.scaler, np.arange(len(dataset.features)))


def compared(january: "MapModel", refreshed: "MapModel", champion: "MapModel", month: "Dataset") -> tuple[float, ...]:
    """A line of the second table."""
    import polars as pl

    from pipelines.retraining.evaluation import Candidate, evaluate
    from pipelines.training.local_scores import asked_of, said_to

    values = []
    reference = Candidate(january.som, january.scaler)
    for model in (january, refreshed, champion):
        rows = placed(model, month)
        answers = pl.concat([said_to(model.local, target, asked_of(rows, target)) for target in rows.targets])
        values.append(evaluate(Candidate(model.som, model.scaler, answers), reference, month, rows).values)
    errors = [each[f"jitl/{target}/rmse"] for target in SETTINGS["data"]["target"] for each in values]
    return (values[-1]["qe"] / values[0]["qe"], *errors)


if __name__ == "__main__":
    started = time.perf_counter()
    with throwaway() as folder:
        main(folder)
    print(f"\n{time.perf_counter() - started:.0f} s")
