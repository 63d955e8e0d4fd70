"""What a run leaves in MLflow; registered models are the business of `registry.py`.

Everything is written by run id through `MlflowClient`: MLflow's active run belongs to one thread, and Prefect may run a
task in another. `TrackedRun` writes into a run, also into one that a notebook opened; `run_life.py` opens and
ends runs.
"""

import json
import logging
import math
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
from mlflow import MlflowClient
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.utils import environment

from pipelines.data import Dataset
from pipelines.data.labels import label
from pipelines.errors import TrackingError
from pipelines.masking import masked, masked_uri
from pipelines.model.map_model import ARTIFACT, MapModel
from pipelines.store.addresses import is_server, local_artifacts, ui_command
from pipelines.store.connection import mlflow_errors, written
from pipelines.store.names import DATA_TAG, UNDEFINED_TAG
from pipelines.store.origin import RunFacts
from pipelines.store.source import SOURCE, requirements, write_source
from somlib.core.trainer import EpochReport

logger = logging.getLogger(__name__)

MODEL_NAME_IN_RUN = "model"
PYFUNC_SCRIPT = Path(__file__).with_name("pyfunc_model.py")
FLUSH_SECONDS = 5.0
MOST_CHARACTERS = 6_000  # of a param value; MLflow cuts longer ones with a warning
REASON_CHARACTERS = 5_000  # of the tag with the reason of a failure; MLflow takes 8 000
DIGEST_CHARACTERS = 36  # of a dataset digest
EXAMPLE_ROWS = 3
REQUIREMENTS_CHECK = "warn_dependency_requirement_mismatches"

Example = np.ndarray[Any, Any] | pl.DataFrame


class TrackedRun:
    """Writes into an MLflow run, and reads back what was written.

    Args:
        run_id: An existing run in the current tracking store.

    Attributes:
        client: The way there.
        run_id: Its id.
        experiment_id: That of its experiment.
        name: Its name.
        ended: Whether it was discarded, or has ended well: nothing ends it any more.
    """

    def __init__(self, run_id: str) -> None:
        self.client = MlflowClient()
        self.run_id = run_id
        with mlflow_errors():
            info = self.client.get_run(run_id).info
        self.experiment_id = info.experiment_id
        self.name = info.run_name
        self.ended = False
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()

    @property
    def page(self) -> str:
        """Address of the run in the MLflow UI; for a store without a server, as `mlflow ui` will show it."""
        uri = mlflow.get_tracking_uri()
        host = uri.rstrip("/") if is_server(uri) else "http://127.0.0.1:5000"
        return f"{masked_uri(host)}/#/experiments/{self.experiment_id}/runs/{self.run_id}"

    @property
    def how_to_open(self) -> str:
        """What a user types or visits to see the run."""
        uri = mlflow.get_tracking_uri()
        return self.page if is_server(uri) else ui_command(uri)

    # ---------------------------------------------------------------- facts

    def params(self, values: Mapping[str, Any]) -> None:
        """Log settings; lists as JSON, None as an empty value, very long values cut."""
        entries = [Param(name, _param_text(value)) for name, value in values.items()]
        with mlflow_errors():
            for start in range(0, len(entries), 100):
                self._batch(params=entries[start : start + 100])

    def tags(self, values: Mapping[str, str | None]) -> None:
        """Set tags; those without a value are left out."""
        entries = [RunTag(name, value) for name, value in values.items() if value]
        with mlflow_errors():
            self._batch(tags=entries)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers; those that are not finite are left out and named in the tag `som.undefined`."""
        now = _now_ms()
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        undefined = sorted(set(values) - set(finite))
        with mlflow_errors():
            self._batch(metrics=[Metric(name, value, now, step) for name, value in finite.items()])
        if undefined:
            logger.info("not defined, and not logged: %s", ", ".join(undefined))
            self.tags({UNDEFINED_TAG: ", ".join(undefined)})

    def epoch(self, report: EpochReport) -> None:
        """A point of the curves `qe`, `te`, `sigma` and `learning_rate`; written out every few seconds."""
        now = _now_ms()
        point = {
            "qe": report.quantization_error,
            "te": report.topographic_error,
            "sigma": report.sigma,
            "learning_rate": report.learning_rate,
        }
        self._waiting += [Metric(k, v, now, report.epoch) for k, v in point.items() if math.isfinite(v)]
        if time.monotonic() - self._flushed > FLUSH_SECONDS or report.epoch + 1 == report.epochs:
            self.flush()

    def flush(self) -> None:
        """Write out what `epoch` has kept."""
        waiting, self._waiting = self._waiting, []
        with mlflow_errors():
            for start in range(0, len(waiting), 1000):
                self._batch(metrics=waiting[start : start + 1000])
        self._flushed = time.monotonic()

    def _batch(self, **entries: Any) -> None:
        written(lambda: self.client.log_batch(self.run_id, **entries))

    def dataset(self, dataset: Dataset, name: str) -> None:
        """Log the data as input of the run: source, columns, row count and digest; the whole digest as a tag."""
        columns = [*dataset.feature_names, *dataset.target_names]
        rows = dataset.rows
        profile = {"num_rows": rows, "num_elements": rows * len(columns)}
        entity = DatasetEntity(
            name=name,
            digest=dataset.sha256[:DIGEST_CHARACTERS],
            source_type="local",
            source=json.dumps({"uri": masked_uri(dataset.path)}),
            schema=json.dumps({"mlflow_colspec": Schema([ColSpec(DataType.double, c) for c in columns]).to_dict()}),
            profile=json.dumps(profile),
        )
        with mlflow_errors():
            given = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
            written(lambda: self.client.log_inputs(self.run_id, given))
        self.tags({DATA_TAG: dataset.sha256})

    def discard(self) -> None:
        """Delete the run, which had nothing to do; MLflow keeps it among the deleted ones until `mlflow gc`."""
        self.ended = True
        with mlflow_errors():
            self.client.set_terminated(self.run_id, "FINISHED")
            self.client.delete_run(self.run_id)

    def files(self, folder: Path) -> None:
        """Log everything in a folder as artifacts, under the same paths."""
        with mlflow_errors():
            self.client.log_artifacts(self.run_id, str(folder))

    def file(self, file: Path, name: str) -> str:
        """Log a file as an artifact of that name, in place of one that is there; where it is now."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(file, Path(folder) / name)
            self.files(Path(folder))
        return self.address(name)

    def address(self, artifact: str) -> str:
        """Where a person finds an artifact: its file, or its page in the MLflow UI where it is kept elsewhere."""
        with mlflow_errors():
            uri = str(self.client.get_run(self.run_id).info.artifact_uri)
        local = local_artifacts(uri)
        return str(local / artifact) if local else f"{self.page}/artifacts/{artifact}"

    # ---------------------------------------------------------------- reading back

    @property
    def status(self) -> str:
        """What MLflow says of it now: RUNNING, FINISHED, FAILED or KILLED."""
        with mlflow_errors():
            return str(self.client.get_run(self.run_id).info.status)

    def facts(self) -> RunFacts:
        """Which run it is."""
        with mlflow_errors():
            run = self.client.get_run(self.run_id)
            experiment = self.client.get_experiment(self.experiment_id).name
        started = datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)
        return RunFacts(self.run_id, run.info.run_name, experiment, started, run.data.tags)

    def settings(self) -> dict[str, str]:
        """The params, as text."""
        with mlflow_errors():
            return dict(self.client.get_run(self.run_id).data.params)

    def last_metrics(self) -> dict[str, float]:
        """The last value of every metric."""
        with mlflow_errors():
            return dict(self.client.get_run(self.run_id).data.metrics)

    def history(self, metric: str) -> list[float]:
        """A metric by step; empty where it was never logged."""
        with mlflow_errors():
            points = self.client.get_metric_history(self.run_id, metric)
        return [point.value for point in sorted(points, key=lambda point: point.step)]

    def fetch(self, names: Iterable[str], folder: Path) -> None:
        """Download artifacts, files and folders, into a folder; those that are not there are left out."""
        with mlflow_errors():
            there = {artifact.path for artifact in self.client.list_artifacts(self.run_id)}
            for name in there.intersection(names):
                self.client.download_artifacts(self.run_id, name, str(folder))

    def fetch_model(self, folder: Path) -> Path:
        """Download the model that the run logged; the folder for `MapModel.load`.

        Raises:
            TrackingError: It logged none.
        """
        model = self.model_uri()
        with mlflow_errors():
            return Path(mlflow.artifacts.download_artifacts(model, dst_path=str(folder))) / "artifacts" / ARTIFACT

    def model_uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes for the model that the run logged.

        Raises:
            TrackingError: It logged none.
        """
        with mlflow_errors():
            outputs = self.client.get_run(self.run_id).outputs
        if outputs is None or not outputs.model_outputs:
            raise TrackingError(f"the run {self.run_id} logged no map: it did not get that far, or is of another kind")
        return f"models:/{outputs.model_outputs[-1].model_id}"

    # ---------------------------------------------------------------- the model

    def model(self, model: MapModel, example: Example, step: int) -> tuple[str, str]:
        """Log the model as a pyfunc without pickle.

        Args:
            model: What to log.
            example: Some samples in the units of the data, shape (n, d), or a frame of rows as they are stored; the
                first complete ones go along as example, and where there are none, what the first neurons stand for.
            step: Last epoch: the metrics of this step are attached to the model.

        Returns:
            Its id in MLflow, and the SHA-256 of its manifest.
        """
        frame = _example(model, example)
        with tempfile.TemporaryDirectory() as folder, mlflow_errors(), warnings.catch_warnings(), _quick_logging():
            warnings.filterwarnings("ignore", module=r"mlflow\.")  # of its own type hints and of its use of pandas
            # Made here, since `Model.log` would put it into the experiment of the thread's active run.
            logged = self.client.create_logged_model(
                self.experiment_id,
                name=MODEL_NAME_IN_RUN,
                source_run_id=self.run_id,
                params=self.client.get_run(self.run_id).data.params,
            )
            digest = model.save(Path(folder) / ARTIFACT, frame)
            # MLflow records the path of the script it copies: one in a temporary folder reveals nothing.
            script = shutil.copy(PYFUNC_SCRIPT, Path(folder) / "map_model.py")
            artifacts = {ARTIFACT: Path(folder) / ARTIFACT, SOURCE: write_source(Path(folder))}
            info = Model.log(
                artifact_path=None,
                model_id=logged.model_id,
                flavor=Pyfunc(),
                flavor_name="pyfunc",
                run_id=self.run_id,
                step=step,
                python_model=str(script),
                artifacts={name: str(path) for name, path in artifacts.items()},
                signature=signature(model),
                input_example=frame,
                pip_requirements=requirements(),
                metadata={"manifest_sha256": digest, "features": list(model.features)},
                validate_serving_input=False,
            )
        return str(info.model_id), digest


# ---------------------------------------------------------------- the model's interface


class Pyfunc:
    """MLflow's pyfunc, for a model that is not loaded and asked once more while it is logged.

    MLflow does that with every example, and at worst writes a warning into its own log. A version that is to serve is
    asked by `serving/smoke.py`, which compares the answers and refuses what does not answer.
    """

    def save_model(self, path: str, mlflow_model: Model, validate_serving_input: bool, **settings: Any) -> None:
        """Write the model into a folder."""
        del validate_serving_input  # of `Model.log`, which hands it on
        mlflow.pyfunc.save_model(path=path, mlflow_model=mlflow_model, **settings)


def signature(model: MapModel) -> ModelSignature:
    """Place on the map and predictions out; what comes in is checked by the model.

    With inputs in the signature, MLflow refuses whole numbers for a double, arrays without names, and polars frames,
    before the model is asked (https://github.com/mlflow/mlflow/issues/3798). The names stand in the model's metadata.
    """
    return ModelSignature(None, Schema([ColSpec(DataType[kind], name) for name, kind in model.outputs.items()]))


def _example(model: MapModel, given: Example) -> pd.DataFrame:
    """Some complete rows as requests have them: numbers as float64, dates and times as text."""
    if isinstance(given, pl.DataFrame):
        return pd.DataFrame({name: _requested(given[name].head(EXAMPLE_ROWS)) for name in model.features})
    complete = given[np.isfinite(given).all(axis=1)][:EXAMPLE_ROWS]
    encoding = model.scaler.encoding
    if not len(complete) or encoding is not None:
        features = model.scaler.inverse(model.som.weights.flatten(0, 1)[:EXAMPLE_ROWS].numpy(force=True))
        if encoding is not None:
            return pd.DataFrame(encoding.as_stored(features))
        complete = features
    return pd.DataFrame(complete.astype("float64"), columns=list(model.features))


def _requested(values: pl.Series) -> "pd.Series[Any]":
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return pd.Series(values.cast(pl.Float64).to_numpy())
    return pd.Series([label(value) for value in values.to_list()], dtype=object)


# ---------------------------------------------------------------- small change


def _param_text(value: Any) -> str:
    if value is None:
        return ""
    text = masked(json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | bool) else str(value))
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _now_ms() -> int:
    return int(time.time() * 1000)


@contextmanager
def _quick_logging() -> Iterator[None]:
    """Lets logging a model leave no compiled file beside the script, and compare nothing with what is installed.

    Python would compile the script that MLflow runs where it keeps the model. And MLflow reads the lists of files of
    all installed packages to compare the requirements with them, two thirds of the time: ours say what is installed.
    """
    before, check = sys.dont_write_bytecode, getattr(environment, REQUIREMENTS_CHECK, None)
    sys.dont_write_bytecode = True
    if check is not None:  # MLflow 3.17 has no switch for it
        setattr(environment, REQUIREMENTS_CHECK, lambda requirements: None)
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        if check is not None:
            setattr(environment, REQUIREMENTS_CHECK, check)
