"""The model that a run publishes: a map with scaler, clusters and local models, in a folder of JSON and safetensors.

    som/weights.safetensors, som/config.json    the map, as `SOM.save` writes it
    scaler.json                                 how features are scaled
    clusters.json                               cluster of each neuron in flat order
    local/                                      local models, as `LocalModels.save` writes them, where there are any
    profile.json                                what training rows looked like, to recognize drift, where it is known
    manifest.json                               format, and the SHA-256 of every other file

Loading runs no code from the folder, and refuses a file that is not the one that was written. `pyfunc_model.py` is the
same model as MLflow serves it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipelines.errors import ModelError
from pipelines.jitl.models import LocalModels
from pipelines.retraining.profile import Profile
from pipelines.scaling import Scaler
from pipelines.wording import some
from somlib import SOM
from somlib.errors import SavedMapError

FORMAT, READABLE = 2, (1, 2)  # 1 had no local models
ARTIFACT = "map"  # the folder's name inside of an MLflow model
SOM_FOLDER, LOCAL_FOLDER = "som", "local"
SCALER, CLUSTERS, PROFILE, MANIFEST = "scaler.json", "clusters.json", "profile.json", "manifest.json"
OUTPUTS: dict[str, str] = {"row": "long", "col": "long", "quantization_error": "double", "cluster": "long"}
NUMPY_TYPES = {"long": np.int64, "double": np.float64, "boolean": np.bool_}


@dataclass(frozen=True)
class MapModel:
    """A map that answers rows in the units of the data.

    Attributes:
        som: The map, trained on scaled samples.
        scaler: What scales them; its features are the columns that `predict` needs.
        clusters: Cluster of each neuron in flat order, from 1, noise is -1; int64, shape (m,).
        local: Models of the targets on the map; None where it predicts none.
        profile: What its training rows looked like, to recognize drift; None where that is not known.
    """

    som: SOM
    scaler: Scaler
    clusters: Tensor
    local: LocalModels | None = None
    profile: Profile | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that `predict` needs."""
        return self.scaler.features

    @property
    def outputs(self) -> dict[str, str]:
        """Name and type of each column that `predict` answers with."""
        return OUTPUTS if self.local is None else OUTPUTS | self.local.outputs

    @property
    def watermark(self) -> str | None:
        """The time up to which all local models have learned, ISO 8601 in UTC; None without any, or without dates."""
        return None if self.local is None else self.local.watermark

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Where each row falls on the map, and what local models say to it.

        Args:
            frame: One row a sample with the columns `features`, in any order; others are ignored.

        Returns:
            `row` and `col` of the nearest neuron, the distance to it as `quantization_error` (in units of scaled
            features), and its `cluster`; index as in `frame`. With local models also their answers, see
            `LocalModels.answer`. With a map that takes missing values, a row without any value gets -1, -1, NaN and -1.

        Raises:
            ModelError: A column is absent or not numeric, or holds null, NaN or infinity that the map does not take.
        """
        samples = self.scaler.transform(self._values(frame))
        if not len(samples):
            types = {name: NUMPY_TYPES[kind] for name, kind in self.outputs.items()}
            return pd.DataFrame(columns=list(types), index=frame.index).astype(types)
        answers = self._places(torch.from_numpy(samples).to(self.som.device))
        if self.local is not None:
            answers |= self.local.answer(samples)
        return pd.DataFrame(answers, index=frame.index)

    def _places(self, samples: Tensor) -> dict[str, np.ndarray[Any, Any]]:
        """Where scaled samples (n, d) fall, by the names of `OUTPUTS`."""
        winners = self.som.winners(samples, distances=True)
        index = winners.index[:, 0].cpu()
        places = self.som.places(index)
        return {
            "row": places[:, 0].numpy(),
            "col": places[:, 1].numpy(),
            "quantization_error": winners.distance[:, 0].cpu().double().numpy(),
            "cluster": torch.where(index < 0, -1, self.clusters[index.clamp_min(0)]).numpy(),
        }

    def _values(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        absent = [name for name in self.features if name not in frame.columns]
        if absent:
            raise ModelError(f"input must have the columns {some(self.features, 20)}; absent: {some(absent, 20)}")
        try:
            values = frame.loc[:, list(self.features)].astype("float64").to_numpy()
        except (TypeError, ValueError) as error:
            raise ModelError(f"input must be numeric: {error}") from error
        refused = np.isinf(values) if self.som.missing == "mask" else ~np.isfinite(values)
        if refused.any():
            counts = {name: int(count) for name, count in zip(self.features, refused.sum(axis=0), strict=True) if count}
            what = "must not be infinite" if self.som.missing == "mask" else "must not be null, NaN or infinite"
            columns = some([f"{name} in {count}" for name, count in counts.items()])
            raise ModelError(f"input {what}, got such values in {int(refused.any(axis=1).sum())} rows: {columns}")
        return values

    # ---------------------------------------------------------------- saving

    def save(self, folder: Path) -> str:
        """Write the model into a new folder; the SHA-256 of its manifest, which covers every file."""
        folder.mkdir(parents=True)
        self.som.save(folder / SOM_FOLDER)
        _write_json(folder / SCALER, self.scaler.to_dict())
        _write_json(folder / CLUSTERS, {"labels": self.clusters.tolist()})
        if self.local is not None:
            self.local.save(folder / LOCAL_FOLDER)
        if self.profile is not None:
            _write_json(folder / PROFILE, self.profile.to_dict())
        manifest = {"format": FORMAT, "files": _digests(folder)}
        _write_json(folder / MANIFEST, manifest)
        return _sha256(folder / MANIFEST)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model in a folder.

        Raises:
            ModelError: The folder holds none, or a file is missing, damaged, changed or of a newer format.
        """
        _verify(folder)
        try:
            som = SOM.load(folder / SOM_FOLDER)
        except SavedMapError as error:
            raise ModelError(f"the map of the model in {folder} cannot be read: {error}") from error
        scaler = Scaler.from_dict(_read_json(folder / SCALER))
        clusters = torch.tensor(_read_json(folder / CLUSTERS)["labels"], dtype=torch.int64)
        if len(clusters) != som.grid.m or len(scaler.features) != som.num_features:
            raise ModelError(
                f"the model in {folder} must fit together, got a map of {som.grid.m} neurons and {som.num_features} "
                f"features, {len(clusters)} cluster labels and {len(scaler.features)} scaled features"
            )
        local = LocalModels.load(folder / LOCAL_FOLDER) if (folder / LOCAL_FOLDER).is_dir() else None
        if local is not None:
            local.require_map(som)
        profile = Profile.from_dict(_read_json(folder / PROFILE)) if (folder / PROFILE).is_file() else None
        return cls(som, scaler, clusters, local, profile)


def _verify(folder: Path) -> None:
    """Refuse a folder whose files are not those of its manifest."""
    manifest = _read_json(folder / MANIFEST)
    if manifest.get("format") not in READABLE:
        known = " or ".join(map(str, READABLE))
        raise ModelError(
            f"{folder / MANIFEST} must be of format {known}, got {manifest.get('format')}: update som-pipelines"
        )
    expected: Mapping[str, str] = manifest["files"]
    found = _digests(folder)
    bad = [name for name, digest in expected.items() if found.get(name) != digest]
    if bad:
        raise ModelError(f"the model in {folder} is damaged: {some(bad)} changed or missing since it was written")


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model but the manifest, by path."""
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in _files(folder)}


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent} holds no model: {path.name} is missing") from None
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it must hold an object")
    return content
