"""Saved maps: a folder with `weights.safetensors` and `config.json`, and nothing that runs when it is read.

The JSON holds the kind of map, its settings and the small numbers that belong to it; the safetensors file holds the
codebook and what else is a tensor. A map is written beside its place first and moved there whole.
"""

import hashlib
import json
import shutil
import uuid
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from somlib.errors import SavedMapError

FORMAT = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


@dataclass(frozen=True)
class SavedMap:
    """What a folder holds.

    Attributes:
        kind: Name of the class that was saved.
        config: Its settings.
        state: Small numbers and texts beside the settings; JSON.
        tensors: Codebook and statistics, by name.
    """

    kind: str
    config: dict[str, Any]
    state: dict[str, Any]
    tensors: dict[str, Tensor]


def write_map(path: str | Path, saved: SavedMap) -> None:
    """Write a map into the folder `path`, all or nothing; an earlier map there is replaced.

    Raises:
        SavedMapError: `path` is a file, a folder that holds something other than a saved map, or no name for a folder.
    """
    path = _possible(path)
    _require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{uuid.uuid4().hex}")  # without the name, which may be as long as names can be
    staging.mkdir()
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in saved.tensors.items()}
        save_file(tensors, staging / WEIGHTS)
        digest = hashlib.sha256((staging / WEIGHTS).read_bytes()).hexdigest()
        document = {
            "format": FORMAT, "kind": saved.kind, "weights_sha256": digest, "config": saved.config, "state": saved.state
        }  # fmt: skip
        (staging / CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        _move_into_place(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_map(path: str | Path) -> SavedMap:
    """Read a map from the folder `path`.

    Raises:
        SavedMapError: Missing, damaged, changed since it was written, or of a newer format.
    """
    if not isinstance(path, str | PathLike):
        raise SavedMapError(f"path must be a folder, got {type(path).__name__}")
    path = _possible(path)
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise SavedMapError(f"path must be a folder with {CONFIG} and {WEIGHTS}, got {path} without {name}")
    try:
        document = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        version, kind, digest = document["format"], document["kind"], document["weights_sha256"]
        config, state = document["config"], document["state"]
    except (ValueError, KeyError, TypeError) as error:
        raise SavedMapError(f"{path / CONFIG} must describe a saved map, got a file without that: {error}") from error
    if version != FORMAT:
        raise SavedMapError(f"{path / CONFIG} must be of format {FORMAT}, got {version}: update somlib")
    if hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest() != digest:
        raise SavedMapError(f"{path / WEIGHTS} must be the file that {CONFIG} was written with, got another content")
    try:
        tensors = load_file(path / WEIGHTS)
    except SafetensorError as error:
        raise SavedMapError(f"{path / WEIGHTS} must be a safetensors file, got: {error}") from error
    return SavedMap(kind, config, state, tensors)


def _possible(path: str | Path) -> Path:
    """The path, unless the file system can have nothing of that name."""
    try:
        Path(path).lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SavedMapError(f"path must be a folder, got {str(path)[:200]!r}: {why}") from error
    return Path(path)


def _require_replaceable(path: Path) -> None:
    if path.is_file():
        raise SavedMapError(f"path must be a folder to save into, got the file {path}")
    if not path.name:
        raise SavedMapError(f"path must name a folder to save into, got {str(path)!r}")
    if path.is_dir():
        foreign = sorted(p.name for p in path.iterdir() if p.name not in (WEIGHTS, CONFIG))
        if foreign:
            raise SavedMapError(
                f"path must be new, empty or a saved map, got {path} with {foreign[0]!r} in it: choose another folder"
            )


def _move_into_place(staging: Path, path: Path) -> None:
    earlier = path.with_name(f"{staging.name}-earlier")
    if path.exists():  # never a mixture of two maps: the earlier folder goes aside whole
        path.rename(earlier)
    try:
        staging.rename(path)
    except OSError:
        if earlier.exists():
            earlier.rename(path)
        raise
    shutil.rmtree(earlier, ignore_errors=True)
