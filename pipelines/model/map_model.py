"""The model that a run publishes: a map with scaler, clusters and local models, in a folder of JSON and safetensors.

    som/weights.safetensors, som/config.json    the map, as `SOM.save` writes it
    scaler.json                                 how features are made of columns, and scaled
    clusters.json                               cluster of each neuron, its strength there, and how far it reaches
    local/                                      local models, as `LocalModels.save` writes them, where there are any
    profile.json                                what training rows looked like, to recognize drift, where it is known
    example.json                                a few rows as requests have them, where there are any
    manifest.json                               format, and the SHA-256 of every other file

Loading runs no code from the folder, and refuses a file that is not the one that was written. `pyfunc_model.py` is the
same model as MLflow serves it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import polars as pl
import torch
from torch import Tensor

from pipelines.data.scaling import Scaler
from pipelines.errors import ModelError
from pipelines.model.inputs import read_rows, with_past
from pipelines.model.local_models import LocalModels
from pipelines.model.profile import Profile
from pipelines.wording import some
from somlib import SOM
from somlib.errors import DataError, NotFittedError, SavedMapError

FORMAT, READABLE = 3, (1, 2, 3)  # 1 had no local models, 2 only columns that are numbers
ARTIFACT = "map"  # the folder's name inside of an MLflow model
SOM_FOLDER, LOCAL_FOLDER = "som", "local"
SCALER, CLUSTERS, PROFILE, MANIFEST = "scaler.json", "clusters.json", "profile.json", "manifest.json"
EXAMPLE = "example.json"
OUTPUTS: dict[str, str] = {"row": "long", "col": "long", "quantization_error": "double", "cluster": "long"}
STRENGTH = {"strength": "double"}  # an output too, where the clustering gave its neurons any
OFF_MAP = 0.001  # share of normal rows that lie farther from their neuron than is called on the map
NUMPY_TYPES = {"long": np.int64, "double": np.float64, "boolean": np.bool_, "string": object}


@dataclass(frozen=True)
class MapModel:
    """A map that answers rows in the units of the data.

    Attributes:
        som: The map, trained on scaled samples.
        scaler: What makes samples of rows; its inputs are the columns that `predict` needs.
        clusters: Cluster of each neuron in flat order, from 1, noise is -1; int64, shape (m,).
        local: Models of the targets on the map; None where it predicts none.
        profile: What its training rows looked like, to recognize drift; None where that is not known.
        strength: How surely each neuron belongs to its cluster, in [0, 1], float64, shape (m,); None where the
            clustering does not say.
        reach: Distance from each neuron beyond which a row is off the map, float64, shape (m,); None for no limit.
    """

    som: SOM
    scaler: Scaler
    clusters: Tensor
    local: LocalModels | None = None
    profile: Profile | None = None
    strength: Tensor | None = None
    reach: Tensor | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that `predict` needs."""
        return self.scaler.inputs

    @property
    def texts(self) -> tuple[str, ...]:
        """Those of them that may hold text: categories, times and so on."""
        encoding = self.scaler.encoding
        return () if encoding is None else tuple(each.name for each in encoding.columns if each.takes_text)

    @property
    def outputs(self) -> dict[str, str]:
        """Name and type of each column that `predict` answers with."""
        places = OUTPUTS if self.strength is None else OUTPUTS | STRENGTH
        return places if self.local is None else places | self.local.outputs

    @property
    def watermark(self) -> str | None:
        """The time up to which all local models have learned, ISO 8601 in UTC; None without any, or without dates."""
        return None if self.local is None else self.local.watermark

    def predict(self, rows: Any) -> pd.DataFrame:
        """Where each row falls on the map, and what local models say to it.

        Args:
            rows: One row a sample. A frame of pandas or polars, a dict of columns or a list of dicts with the columns
                `features`, in any order, others are ignored; or an array or a list of lists (n, d) in the order of
                `features`. Numbers and booleans of any type, and what else the columns are; see `read_rows`.

        Returns:
            `row` and `col` of the nearest neuron, the distance to it as `quantization_error` (in units of scaled
            features), and its `cluster` with the `strength` of the neuron in it, where that is known; index as in a
            pandas frame. A row farther from its neuron than all but one in a thousand normal rows is in no cluster: -1,
            with strength 0. With local models also their answers, see `LocalModels.answer`. With a map that takes
            missing values, a row without any value gets -1, -1, NaN and -1.

        Raises:
            ModelError: A column is absent or not numeric, or holds null, NaN or infinity that the map does not take,
                or a value so far from training that its distance to the map is beyond float32.
        """
        values, index = read_rows(rows, self.features, self.scaler.encoding)
        samples = self._scaled(values)
        if not len(samples):
            types = {name: NUMPY_TYPES[kind] for name, kind in self.outputs.items()}
            return pd.DataFrame(columns=list(types), index=index).astype(types)
        answers = self._places(torch.from_numpy(samples).to(self.som.device))
        if self.local is not None:
            answers |= self.local.answer(samples)
        return pd.DataFrame(answers, index=index)

    def with_past(self, rows: pd.DataFrame | pl.DataFrame) -> pd.DataFrame | pl.DataFrame:
        """A table with the lags and rolling means that `predict` needs, made of its own rows as for training.

        Args:
            rows: Rows to be answered and enough earlier ones, in any order, with the columns that lags and rolling
                means are of, and those of time and series. Without such features it comes back as it is.

        Returns:
            The table, whose first rows lack what lies before them.

        Raises:
            ModelError: A column is absent, there twice, or of another type.
        """
        return with_past(rows, () if self.scaler.encoding is None else self.scaler.encoding.columns)

    def _places(self, samples: Tensor) -> dict[str, np.ndarray[Any, Any]]:
        """Where scaled samples (n, d) fall, by the names of `OUTPUTS`."""
        winners = self.som.winners(samples, distances=True)
        index = winners.index[:, 0].cpu()
        places, nearest = self.som.places(index), index.clamp_min(0)
        distance = winners.distance[:, 0].cpu().double()
        away = index < 0 if self.reach is None else (index < 0) | (distance > self.reach[nearest])
        cluster = self.clusters[nearest].masked_fill(away, -1)
        answers = {
            "row": places[:, 0].numpy(),
            "col": places[:, 1].numpy(),
            "quantization_error": distance.numpy(),
            "cluster": cluster.numpy(),
        }
        if self.strength is not None:
            answers["strength"] = self.strength[nearest].masked_fill(cluster < 0, 0.0).numpy()
        return answers

    def _scaled(self, values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, Any]:
        """Samples (n, d) of numbers (n, r), each of them one that the map can place."""
        refused = np.isinf(values) if self.som.missing == "mask" else ~np.isfinite(values)
        what = "must not be infinite" if self.som.missing == "mask" else "must not be null, NaN or infinite"
        self._refuse(refused, self.scaler.numbers, what)
        with np.errstate(over="ignore"):
            samples = self.scaler.transform(values)
        names = self.scaler.features
        far = np.abs(samples) > np.sqrt(np.finfo(np.float32).max / len(names)) / 4  # squares are added up
        self._refuse(far, names, "must be near enough to the training data for distances in float32")
        return samples

    @staticmethod
    def _refuse(refused: np.ndarray[Any, Any], names: Sequence[str], what: str) -> None:
        """Refuse rows where there is any such value (n, k) in columns of these names."""
        if refused.any():
            counts = {name: int(count) for name, count in zip(names, refused.sum(axis=0), strict=True) if count}
            columns = some([f"{name} in {count}" for name, count in counts.items()])
            raise ModelError(f"input {what}, got such values in {int(refused.any(axis=1).sum())} rows: {columns}")

    # ---------------------------------------------------------------- saving

    def save(self, folder: Path, example: pd.DataFrame | None = None) -> str:
        """Write the model into a new folder.

        Args:
            folder: To make.
            example: Rows as requests have them, for `read_example`.

        Returns:
            The SHA-256 of its manifest, which covers every file.
        """
        folder.mkdir(parents=True)
        self.som.save(folder / SOM_FOLDER)
        _write_json(folder / SCALER, self.scaler.to_dict())
        known = {"strength": self.strength, "reach": self.reach}
        lists = {name: values.tolist() for name, values in known.items() if values is not None}
        _write_json(folder / CLUSTERS, {"labels": self.clusters.tolist()} | lists)
        if self.local is not None:
            self.local.save(folder / LOCAL_FOLDER)
        if self.profile is not None:
            _write_json(folder / PROFILE, self.profile.to_dict())
        if example is not None:
            _write_json(folder / EXAMPLE, {str(name): example[name].tolist() for name in example.columns})
        manifest = {"format": FORMAT, "files": _digests(folder)}
        _write_json(folder / MANIFEST, manifest)
        return _sha256(folder / MANIFEST)

    @classmethod
    def load(cls, folder: Path, digest: str | None = None) -> Self:
        """The model in a folder.

        Args:
            folder: Where `save` has put it.
            digest: What `save` returned, where it is known; checks that the manifest is the one that was written.

        Raises:
            ModelError: The folder holds none, or a file is missing, damaged, changed, left over or of a newer format.
        """
        _verify(folder, digest)
        with _reading(folder / SOM_FOLDER):
            som = SOM.load(folder / SOM_FOLDER)
        with _reading(folder / SCALER):
            scaler = Scaler.from_dict(_read_json(folder / SCALER))
        with _reading(folder / CLUSTERS):
            content = _read_json(folder / CLUSTERS)
            clusters = _labels(content)
            strength, reach = (_by_neuron(content, name, som.grid.m) for name in ("strength", "reach"))
        if len(clusters) != som.grid.m or len(scaler.features) != som.num_features:
            raise ModelError(
                f"the model in {folder} must fit together, got a map of {som.grid.m} neurons and {som.num_features} "
                f"features, {len(clusters)} cluster labels and {len(scaler.features)} scaled features"
            )
        local = None
        if (folder / LOCAL_FOLDER).is_dir():
            with _reading(folder / LOCAL_FOLDER):
                local = LocalModels.load(folder / LOCAL_FOLDER)
                local.require_map(som)
        with _reading(folder / PROFILE):
            profile = Profile.from_dict(_read_json(folder / PROFILE)) if (folder / PROFILE).is_file() else None
        return cls(som, scaler, clusters, local, profile, strength, reach)


def read_example(folder: Path) -> pd.DataFrame | None:
    """The rows that were saved with a model as an example, None where there are none; `MapModel.load` has checked them.

    Raises:
        ModelError: They cannot be read.
    """
    path = folder / EXAMPLE
    with _reading(path):
        return pd.DataFrame(_read_json(path)) if path.is_file() else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever odd content makes the readers raise is damage to the file or folder that they read."""
    try:
        yield
    except ModelError as error:
        if str(path.parent) in str(error):
            raise
        raise ModelError(f"{path}: {error}") from error
    except SavedMapError as error:
        raise ModelError(f"the map of the model in {path.parent} cannot be read: {error}") from error
    except Exception as error:  # broad: a damaged file makes json, safetensors, polars or pydantic raise anything
        raise ModelError(f"{path} is damaged: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _labels(content: Mapping[str, Any]) -> Tensor:
    labels = content.get("labels")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise TypeError("labels must be a list of whole numbers")
    return torch.tensor(labels, dtype=torch.int64)


def _by_neuron(content: Mapping[str, Any], name: str, m: int) -> Tensor | None:
    """Numbers of each neuron; None where an older version, or a method without them, has written none."""
    values = content.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != m or any(type(value) not in (int, float) for value in values):
        raise TypeError(f"{name} must be a list of {m} numbers")
    return torch.tensor(values, dtype=torch.float64)


def reach_of(som: SOM) -> Tensor | None:
    """The distance from each neuron beyond which a row is off the map, shape (m,); None with too few training rows."""
    try:
        return som.normal_reach(OFF_MAP).cpu()
    except (DataError, NotFittedError):
        return None


def _verify(folder: Path, digest: str | None) -> None:
    """Refuse a folder whose files are not those of its manifest, or whose manifest is another one."""
    path = folder / MANIFEST
    manifest = _read_json(path)
    if digest is not None and _sha256(path) != digest:
        raise ModelError(f"{path} is not the manifest that was registered: its SHA-256 must be {digest}")
    if type(manifest.get("format")) is not int or manifest["format"] not in READABLE:
        known = " or ".join(map(str, READABLE))
        raise ModelError(f"{path} must be of format {known}, got {manifest.get('format')!r:.40}: update som-pipelines")
    expected = manifest.get("files")
    if not isinstance(expected, dict) or not all(isinstance(each, str) for each in expected.values()):
        raise ModelError(f"{path} is damaged: files must be an object of paths and their SHA-256")
    found = _digests(folder)
    bad = [name for name, known in expected.items() if found.get(name) != known]
    if bad:
        raise ModelError(f"the model in {folder} is damaged: {some(bad)} changed or missing since it was written")
    unknown = [name for name in found if name not in expected]
    if unknown:
        raise ModelError(f"the model in {folder} is damaged: {path.name} does not list {some(unknown)}")


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
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it must hold an object")
    return content
