import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest

from pipelines.store.run_life import open_run
from pipelines.store.source import requirements, write_source
from tests.pipelines.registered import RAW, map_model

# Python as it is where this package is not installed: without the finder of an editable installation, and with an
# error for whatever distribution the requirements do not name.
ELSEWHERE = """
import sys
sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in getattr(each, "__module__", "") + repr(each)]
try:
    import pipelines
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the package must not be there")
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
import pipelines, json
assert ".zip" in pipelines.__file__, pipelines.__file__
print(model.predict({"a": [1, 2], "b": [3, 4]}).to_json())
unneeded = ["prefect", "bokeh", "matplotlib", "faiss", "typer", "uvicorn"]
unneeded += [f"pipelines.{room}" for room in ("flows", "training", "report", "publishing", "serving", "store")]
print(json.dumps([name for name in unneeded if name in sys.modules]))
"""


def test_a_model_is_loaded_from_what_the_store_holds_where_the_package_is_not_installed(
    store: str, tmp_path: Path
) -> None:
    model = map_model()
    with open_run("demo", None, {}, None) as run:
        model_id, _ = run.model(model, RAW, step=0)
    folder = mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(tmp_path / "copy"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, folder], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer, unneeded = done.stdout.splitlines()[-2:]
    expected = model.predict(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}))
    pd.testing.assert_frame_equal(pd.DataFrame(json.loads(answer)).reset_index(drop=True), expected)
    assert json.loads(unneeded) == []


def test_requirements_are_exact_and_on_the_index() -> None:
    assert all("==" in line and "+" not in line for line in requirements())
    assert not any(line.startswith("som-pipelines") for line in requirements())


def test_the_same_source_makes_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = (write_source(tmp_path / name).read_bytes() for name in "ab")
    assert first == second
    assert str(Path.home()).encode() not in first


@pytest.mark.parametrize("kind", ["int64", "Int64", "bool", "float32", "int32[pyarrow]", "object"])
def test_mlflow_lets_every_type_of_number_in(kind: str, store: str) -> None:
    model = map_model()
    with open_run("demo", None, {}, None) as run:
        model_id, _ = run.model(model, RAW, step=0)
    loaded = mlflow.pyfunc.load_model(f"models:/{model_id}")
    rows = pd.DataFrame({"b": [0, 1], "a": [1, 0]})
    expected = model.predict(rows.astype("float64"))
    for given in (
        rows.astype(kind),
        pl.DataFrame({"b": [0, 1], "a": [1, 0]}),
        np.array([[1, 0], [0, 1]]),
        [{"a": 1, "b": 0}, {"a": 0, "b": 1}],
        {"a": [1, 0], "b": [0, 1]},
    ):
        pd.testing.assert_frame_equal(loaded.predict(given), expected)
