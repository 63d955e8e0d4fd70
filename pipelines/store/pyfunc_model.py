"""The published model as MLflow loads and serves it.

MLflow stores this file with the model and runs it to load one ("models from code"), so that no pickle is involved. What
it loads is `pipelines.model.map_model.MapModel`, of the installed package, or where there is none of the source that
was stored with the model.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if find_spec("pipelines") is None and find_spec("somlib") is None:
    # At the end of the path, so that it hides nothing. MLflow keeps the files as long as the process lives.
    sys.path.append(str(Path(__file__).parent / "artifacts" / "som_pipelines.zip"))

from pipelines.model.map_model import ARTIFACT, MapModel


class MapPythonModel(PythonModel):
    """Answers rows of features with places on the map, and with predictions where it has local models."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the map; its files are checked against their digests."""
        self.model = MapModel.load(Path(context.artifacts[ARTIFACT]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Where each row falls on the map, and what local models say to it; see `MapModel.predict`.

        Tables of other kinds are answered as well: MLflow 3.17 checks nothing by this hint, and warns of any other.
        """
        return self.model.predict(model_input)


mlflow.models.set_model(MapPythonModel())
