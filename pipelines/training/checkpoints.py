"""Checkpoints of trainings: where they lie, when they are written, and which of them count.

A training keeps one file, named by its experiment and by the key of everything that decides its result, so that
trainings beside each other, as in a sweep, do not meet, and one of other settings or data is never taken up. The file
goes away when the work that it served is done; what crashed runs left and nobody came back for goes after a week.
"""

import logging
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from somlib import SOM
from somlib.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from somlib.core.trainer import EpochReport
from somlib.errors import SavedMapError

logger = logging.getLogger(__name__)

FOLDER, SUFFIX = "checkpoints", ".safetensors"
KEY_CHARACTERS = 16  # of the key in a file's name; the file itself holds all of it
FORGOTTEN_SECONDS = 7 * 24 * 3600.0


class Checkpoints:
    """The checkpoint of one training.

    Args:
        state: Folder of what must outlive a crash.
        name: Of the experiment.
        key: Digest of everything that decides the training.
        seconds: How often one is written; 0 after every epoch.
    """

    def __init__(self, state: Path, name: str, key: str, seconds: float) -> None:
        self.file = state / FOLDER / f"{name}-{key[:KEY_CHARACTERS]}{SUFFIX}"
        self.key = key
        self.seconds = seconds
        self._last = time.monotonic()
        self._failed = False

    def latest(self) -> Checkpoint | None:
        """The checkpoint that the training can go on from; one that is damaged or of other work is left alone."""
        self._tidy()
        if not self._there():
            return None
        try:
            checkpoint = read_checkpoint(self.file)
        except SavedMapError as error:
            logger.warning("training begins anew, its checkpoint cannot be used: %s", error)
            return None
        if checkpoint.key != self.key:
            logger.warning("training begins anew, the checkpoint %s is of other settings or data", self.file)
            return None
        last = checkpoint.reports[-1]
        logger.warning("training goes on after epoch %d of %d, from %s", last.epoch + 1, last.epochs, self.file)
        return checkpoint

    def keep(self, som: SOM, report: EpochReport) -> None:
        """Write a checkpoint where it is time for one; to be called after each epoch, while `som` is in training.

        A long training keeps one after its last epoch too: the steps that follow may be where a run is killed. That a
        checkpoint cannot be written is no reason to stop training; one warning says so.
        """
        long_enough = time.monotonic() - self._last >= self.seconds
        ends = report.epoch + 1 == report.epochs and self._there()
        if not long_enough and not ends:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_checkpoint(self.file, replace(som.checkpoint(), key=self.key))
        except OSError as error:
            if not self._failed:
                logger.warning("a run that is killed will have to begin anew, no checkpoint can be written: %s", error)
            self._failed = True
        self._last = time.monotonic()

    def remove(self) -> None:
        """The work is done: remove the file, and the folders if they hold nothing else."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)
            self.file.parent.rmdir()
            self.file.parent.parent.rmdir()

    def _there(self) -> bool:
        """Whether there is a file; in a folder that may not be looked into there is none."""
        return os.access(self.file, os.F_OK)

    def _tidy(self) -> None:
        """Remove what nobody has touched for a week, files half written included."""
        now = time.time()
        with suppress(OSError):
            for file in self.file.parent.iterdir():
                if now - file.stat().st_mtime > FORGOTTEN_SECONDS:
                    file.unlink()
                    logger.info("removed %s, which nobody had come back for in a week", file)
