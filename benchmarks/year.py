"""A year of retraining on the shipped weather data: what a map that is retrained each month is worth.

    make year

January trains a first map, which is published. Then `som retrain` runs at the end of each month from February to
December, on a store of its own that is thrown away: it trains on all months before and judges on the one that has just
ended. The first table has its verdicts.

The second looks at the month that comes next, which nobody has seen: the version that serves by then against the one
of January, as it was. `qe` is their ratio in January's units; `rmse` is of the local models, January's again first.
What is compared is what would have served, local models included; `som refresh` would let both learn new labels.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "weather"
MONTHS = range(2, 13)
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


@contextlib.contextmanager
def throwaway() -> Iterator[None]:
    """Run in a folder of its own, with stores of its own."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ |= {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PREFECT_HOME": f"{folder}/prefect",
            "XDG_STATE_HOME": folder,
            "PREFECT_LOGGING_LEVEL": "ERROR",
        }
        yield


def main() -> None:
    from pipelines import registry
    from pipelines.config import PipelineConfig
    from pipelines.engine import quick_flows
    from pipelines.flows import retrain_flow, train_flow

    def config(**sections: object) -> PipelineConfig:
        return PipelineConfig.model_validate(SETTINGS | sections)

    def serving(folder: str) -> tuple[str, object]:
        version = registry.champion("year")
        assert version is not None
        return version.version, registry.fetch(version, Path(folder) / version.version)

    started = time.perf_counter()
    with quick_flows(), tempfile.TemporaryDirectory() as models:
        train_flow(config(data=SETTINGS["data"] | {"where": "month = 1"}))
        _, january = serving(models)
        comparisons = []
        print("| until | verdict | drift | turned by | clusters kept | why |")
        print("| --- | --- | --- | --- | --- | --- |")
        for month in MONTHS:
            window = {"mode": "growing", "until": f"month={month:02}", "holdout": 1}
            result = retrain_flow(config(window=window))
            print(
                f"| {month:02} | {result.outcome} | {result.drift.partition(':')[0]} | {shortened(result)} |",
                flush=True,
            )
            number, champion = serving(models)
            if month < 12:
                comparisons.append((month + 1, number, *compared(january, champion, month + 1)))
    print("\n| month | serves | qe / January's | humid_JFK rmse | temp_JFK rmse |")
    print("| --- | --- | --- | --- | --- |")
    for row in comparisons:
        print("| {:02} | version {} | {:.3f} | {:.2f} → {:.2f} | {:.2f} → {:.2f} |".format(*row))
    print(f"\n{time.perf_counter() - started:.0f} s")


def shortened(result: object) -> str:
    """How far the map moved, the stability of clusters, and the first reason."""
    from mlflow import MlflowClient

    metrics = MlflowClient().get_run(result.run_id).data.metrics
    moved, stability = metrics["moved/share"], metrics.get("cluster_stability", float("nan"))
    return f"{moved:.2f} | {stability:.2f} | {result.reason.partition(';')[0]}"


def compared(january: object, champion: object, month: int) -> tuple[float, ...]:
    """Ratio of quantization errors on a month, and both RMSE of each target, January's first."""
    import numpy as np

    from pipelines.config import PipelineConfig
    from pipelines.contest import defender, measured
    from pipelines.data import find_source, read_dataset, survey
    from pipelines.samples import Samples, labelled

    config = PipelineConfig.model_validate(SETTINGS)
    source = find_source(config.data.model_copy(update={"where": f"month = {month}"}))
    dataset = read_dataset(source, survey(source, False), False)
    every, none = np.arange(len(dataset.features)), np.arange(0)
    samples = Samples(labelled(dataset, january.scaler, none), labelled(dataset, january.scaler, every), january.scaler)
    first, second = (defender(model, dataset, samples, config) for model in (january, champion))
    before, after = (measured(each, first, dataset, samples.judging).values for each in (first, second))
    errors = [each[f"jitl/{t}/rmse"] for t in SETTINGS["data"]["target"] for each in (before, after)]
    return (after["qe"] / before["qe"], *errors)


if __name__ == "__main__":
    with throwaway():
        main()
