"""What a registered version holds, read without running anything that is stored with it.

MLflow's own loader runs the script that is stored with a model. Here numbers and settings are read by the code of the
installed package, and only from files that the manifest of the model lists, which is held against the registry's tag.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
from mlflow.models import Model

from pipelines.errors import ModelError
from pipelines.model.map_model import ARTIFACT, MANIFEST, MapModel, read_example
from pipelines.store.connection import mlflow_errors
from pipelines.store.names import MODEL_TAG
from pipelines.store.versions import Version


@dataclass(frozen=True)
class Servable:
    """A version, ready to answer.

    Attributes:
        version: Which one.
        model: What it holds.
        example: A few complete rows in the units of the data, logged with the model.
    """

    version: Version
    model: MapModel
    example: pd.DataFrame

    @property
    def features(self) -> list[str]:
        """The columns that it needs."""
        return list(self.model.features)

    @property
    def outputs(self) -> list[str]:
        """The columns of its answers."""
        return list(self.model.outputs)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Its answer to rows.

        Raises:
            ModelError: The rows are not what the model takes.
        """
        return self.model.predict(frame)


def load(version: Version) -> Servable:
    """A version, ready to answer; nothing of it stays on disk.

    Raises:
        ModelError: It has no example, is no map, damaged, or not what was registered.
    """
    with TemporaryDirectory() as folder:
        root = _download(version, Path(folder))
        model = _model(version, root)
        example = read_example(root / "artifacts" / ARTIFACT)
        if example is None:
            example = _example_beside(root)
    if example is None:
        raise ModelError(f"{version.name} version {version.version} must be logged with an example of its rows")
    return Servable(version, model, example)


def fetch(version: Version, folder: Path) -> MapModel:
    """The model of a version, downloaded into a folder that must outlive it.

    Raises:
        ModelError: What is registered is not a map, damaged, or not what was registered.
    """
    return _model(version, _download(version, folder))


def _download(version: Version, folder: Path) -> Path:
    with mlflow_errors():
        return Path(mlflow.artifacts.download_artifacts(version.uri, dst_path=str(folder)))


def _model(version: Version, root: Path) -> MapModel:
    """Held against the digest in the registry, which whoever can write files of the store cannot change."""
    digest = version.tags.get(MODEL_TAG)
    if not digest:
        raise ModelError(
            f"{version.name} version {version.version} must have the tag {MODEL_TAG}, without which nothing says that "
            "its files are those that were registered: publish it with som, or set the tag to the SHA-256 of its "
            f"artifacts/{ARTIFACT}/{MANIFEST}"
        )
    return MapModel.load(root / "artifacts" / ARTIFACT, digest)


def _example_beside(root: Path) -> pd.DataFrame | None:
    """The example as MLflow keeps it, for models that were logged before the manifest had one."""
    try:
        example = Model.load(str(root)).load_input_example(str(root))
    except Exception as error:  # broad: whatever odd files make MLflow raise
        raise ModelError(f"the example in {root} cannot be read: {type(error).__name__}") from error
    return example if isinstance(example, pd.DataFrame) else None
