"""Checkpoints: a training stopped after an epoch, with everything that decides how it goes on.

What is left of a training follows from the map after an epoch, the state of the generator of its shuffles, and the
data. So a training that is taken up again (`SOM.resume`) ends in the map of one that was never stopped, to the bit: on
the same machine with as many threads, on CUDA with `deterministic=True`.

A checkpoint is one safetensors file. Its tensors are those of the map, the generator and the curves; its metadata is a
JSON text with the rest, and the SHA-256 of both together. The file is written beside its place and moved there whole,
so that whoever is killed while writing leaves the earlier one.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from somlib.core.persistence import SavedMap
from somlib.core.trainer import EpochReport
from somlib.errors import ArgumentError, SavedMapError

FORMAT = 1
PARTIAL = ".partial"  # ending of a file that is being written
GENERATOR, CURVES, OF_MAP = "generator", "curves", "map."


@dataclass(frozen=True)
class Checkpoint:
    """A training after an epoch.

    Attributes:
        map: The map after that epoch.
        generator: State of the generator of the shuffles, uint8.
        reports: What every epoch so far did; one at least.
        rows: Rows of the training data.
        key: What the training is of, in the words of whoever keeps the checkpoint; nothing here reads it.
    """

    map: SavedMap
    generator: Tensor
    reports: tuple[EpochReport, ...]
    rows: int
    key: str = ""

    def require_fit(self, kind: str, config: Mapping[str, Any], rows: int) -> None:
        """Refuse to go on with another map or other data than the training was begun with.

        Args:
            kind: Class of the map that is to go on.
            config: Settings of the map that is to go on; None where one is left to the data.
            rows: Of its data.

        Raises:
            ArgumentError: One of them differs.
        """
        if kind != self.map.kind:
            raise ArgumentError(f"checkpoint must be of a {kind}, got one of a {self.map.kind}")
        left_open = {name for name in ("x", "y", "num_features") if config[name] is None}
        names = [name for name in config if name != "device" and name not in left_open]
        differs = next((name for name in names if config[name] != self.map.config.get(name)), None)
        if differs is not None:
            was, now = self.map.config.get(differs), config[differs]
            raise ArgumentError(f"checkpoint must be of a training with {differs}={now!r}, got one with {was!r}")
        if rows != self.rows:
            raise ArgumentError(f"checkpoint must be of a training on {rows} rows, got one on {self.rows}")


@dataclass
class Course:
    """A training that is going on.

    Attributes:
        generator: Source of its shuffles, where it is now.
        reports: Of the epochs so far.
        rows: Rows of its data.
    """

    generator: torch.Generator
    reports: list[EpochReport]
    rows: int

    @classmethod
    def of(cls, seed: int, rows: int, resume: Checkpoint | None) -> Self:
        """A training that begins, or goes on where a checkpoint was made."""
        generator = torch.Generator().manual_seed(seed)
        if resume is None:
            return cls(generator, [], rows)
        generator.set_state(resume.generator)
        return cls(generator, list(resume.reports), rows)

    def checkpoint(self, saved: SavedMap) -> Checkpoint:
        """What is left to do follows from this, and from the map as it is now."""
        return Checkpoint(saved, self.generator.get_state(), tuple(self.reports), self.rows)


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, all or nothing; an earlier one in the same file is replaced.

    Raises:
        OSError: The folder is not there, or cannot be written.
    """
    tensors = {OF_MAP + name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.map.tensors.items()}
    tensors[GENERATOR] = checkpoint.generator
    tensors[CURVES] = torch.tensor([astuple(report) for report in checkpoint.reports], dtype=torch.float64)
    text = json.dumps(
        {
            "format": FORMAT,
            "kind": checkpoint.map.kind,
            "config": checkpoint.map.config,
            "state": checkpoint.map.state,
            "rows": checkpoint.rows,
            "key": checkpoint.key,
        }
    )
    _write_whole(file, save(tensors, {"checkpoint": text, "sha256": _digest(text, tensors)}))


def read_checkpoint(file: Path) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        SavedMapError: Missing, damaged, or of another format.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
        document, stated = metadata["checkpoint"], metadata["sha256"]
    except (SafetensorError, OSError, KeyError) as error:
        raise SavedMapError(f"{file} must be a checkpoint, got: {error}") from error
    if _digest(document, tensors) != stated:
        raise SavedMapError(f"{file} must be the checkpoint that was written, got another content: it is damaged")
    content = json.loads(document)
    if content["format"] != FORMAT:
        raise SavedMapError(f"{file} must be of format {FORMAT}, got {content['format']}: written by another somlib")
    of_map = {name.removeprefix(OF_MAP): tensor for name, tensor in tensors.items() if name.startswith(OF_MAP)}
    saved = SavedMap(content["kind"], content["config"], content["state"], of_map)
    reports = tuple(_report(row) for row in tensors[CURVES].tolist())
    return Checkpoint(saved, tensors[GENERATOR], reports, content["rows"], content["key"])


def _report(row: list[float]) -> EpochReport:
    epoch, epochs, *figures = row
    return EpochReport(int(epoch), int(epochs), *figures)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(text.encode() + save(dict(tensors))).hexdigest()


def _write_whole(file: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, on the disk before it is seen."""
    partial = file.with_name(f".{file.name}-{uuid.uuid4().hex}{PARTIAL}")
    try:
        with partial.open("xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    """Put a new name in a folder on the disk, where the system lets a folder be opened (Windows does not)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
