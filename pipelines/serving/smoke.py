"""The last look at a registered version before an alias moves to it: does it answer over HTTP what it should?"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pandas as pd

from pipelines.errors import ModelError, PipelineError, SmokeTestError
from pipelines.model.map_model import OUTPUTS, MapModel
from pipelines.serving.application import VERSION_HEADER, application
from pipelines.serving.server import on_loopback
from pipelines.serving.service import Service
from pipelines.store.servable import Servable, fetch
from pipelines.store.versions import Version
from pipelines.wording import some

ANSWER_SECONDS = 60.0
TOLERANCE = 1e-6  # relative: another batch may add up in another order

Record = Mapping[str, Any]


def smoke_test(version: Version) -> None:
    """Serve a version on a port of this machine and compare what it answers with the model itself.

    The rows asked are the example that was logged with the model, and that example with a null in it, which a model
    that takes no missing values has to refuse.

    Raises:
        SmokeTestError: It does not load, or does not answer as it must; with what came.
    """
    try:
        with TemporaryDirectory() as folder:
            witness = fetch(version, Path(folder))
            service = Service(version)
            with on_loopback(application(service)) as address:
                _ask(address, service.current.servable, witness)
    except SmokeTestError as error:
        raise SmokeTestError(f"{version.name} version {version.version} failed its smoke test: {error}") from None
    except PipelineError as error:
        raise SmokeTestError(f"{version.name} version {version.version} cannot be served: {error}") from error


def _ask(address: str, servable: Servable, witness: MapModel) -> None:
    example = servable.example
    with httpx.Client(base_url=address, timeout=ANSWER_SECONDS, trust_env=False) as client:
        answer = _post(client, example)
        _require_version(answer, servable.version)
        predictions = _predictions(answer)
        _require_columns(predictions, servable.outputs, len(example))
        _require_equal(predictions, _records(witness.predict(example)))
        _require_defined(predictions)
        _require_gaps_handled(_post(client, _with_gap(example)), _with_gap(example), witness)


def _post(client: httpx.Client, frame: pd.DataFrame) -> httpx.Response:
    rows = [[None if pd.isna(value) else value for value in row] for row in frame.to_numpy().tolist()]
    try:
        return client.post("/invocations", json={"dataframe_split": {"columns": list(frame.columns), "data": rows}})
    except httpx.HTTPError as error:
        raise SmokeTestError(f"no answer within {ANSWER_SECONDS:g} s: {type(error).__name__}: {error}") from error


def _predictions(answer: httpx.Response) -> Sequence[Record]:
    if answer.status_code != 200:
        raise SmokeTestError(f"must answer its example with 200, got {answer.status_code}: {answer.text[:500]}")
    predictions: Sequence[Record] = answer.json()["predictions"]
    return predictions


def _require_version(answer: httpx.Response, version: Version) -> None:
    named = answer.headers.get(VERSION_HEADER)
    if named != version.version:
        raise SmokeTestError(f"must name version {version.version} in {VERSION_HEADER}, got {named}")


def _require_columns(predictions: Sequence[Record], columns: Sequence[str], rows: int) -> None:
    if len(predictions) != rows:
        raise SmokeTestError(f"must give an answer for each of {rows} rows, got {len(predictions)}")
    odd = [record for record in predictions if list(record) != list(columns)]
    if odd:
        raise SmokeTestError(f"must answer with the columns of its signature, {some(columns, 20)}, got {list(odd[0])}")


def _require_equal(predictions: Sequence[Record], expected: Sequence[Record]) -> None:
    for i, (got, want) in enumerate(zip(predictions, expected, strict=True)):
        for name, value in want.items():
            if not _same(got.get(name), value):
                raise SmokeTestError(f"row {i} of its example must get {name} {value}, got {got.get(name)}")


def _require_defined(predictions: Sequence[Record]) -> None:
    """A row of the example has a place on the map."""
    for i, record in enumerate(predictions):
        absent = [name for name in OUTPUTS if record[name] is None]
        if absent or record["row"] < 0:
            raise SmokeTestError(f"row {i} of its example must have a place on the map, got {dict(record)}")


def _require_gaps_handled(answer: httpx.Response, frame: pd.DataFrame, witness: MapModel) -> None:
    try:
        expected = _records(witness.predict(frame))
    except ModelError:
        if answer.status_code != 400:
            raise SmokeTestError(
                f"must refuse a null with 400, got {answer.status_code}: {answer.text[:500]}"
            ) from None
        return
    _require_equal(_predictions(answer), expected)


def _with_gap(frame: pd.DataFrame) -> pd.DataFrame:
    """The example with nothing in its first field."""
    gapped = frame.astype({frame.columns[0]: object})  # a column of texts or truth values takes no NaN
    gapped.iloc[0, 0] = None
    return gapped


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of an answer as JSON can say them: None for NaN."""
    rows = frame.to_dict(orient="records")
    return [{str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]


def _same(got: Any, want: Any) -> bool:
    if isinstance(want, float) and isinstance(got, int | float):
        return math.isclose(got, want, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(got == want)
