"""The published model as MLflow loads and serves it.

MLflow stores this file with the model and runs it to load one ("models from code"), so that no pickle is involved. What
it loads is `pipelines.model.MapModel`, from the installed package.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipelines.model import ARTIFACT, MapModel


class MapPythonModel(PythonModel):
    """Answers a DataFrame of features with places on the map, and with predictions where it has local models."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the map; its files are checked against their digests."""
        self.model = MapModel.load(Path(context.artifacts[ARTIFACT]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Where each row falls on the map, and what local models say to it; see `MapModel.predict`."""
        return self.model.predict(model_input)


mlflow.models.set_model(MapPythonModel())
