import logging
import os
import stat
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.training.checkpoints import FORGOTTEN_SECONDS, Checkpoints
from somlib import SOM
from somlib.core.trainer import EpochReport

KEY = "a" * 64


def kept(state: Path, key: str = KEY, seconds: float = 0) -> Checkpoints:
    return Checkpoints(state, "demo", key, seconds)


def trained(checkpoints: Checkpoints, heard: list[Any] | None = None) -> SOM:
    som = SOM(3, 2, 2, epochs=4, device="cpu")

    def on_epoch(report: EpochReport) -> None:
        checkpoints.keep(som, report)
        if heard is not None:
            heard.append(checkpoints.file.exists())

    som.fit(torch.from_numpy(np.random.default_rng(0).normal(size=(40, 2))), verbose=False, on_epoch=on_epoch)
    return som


def test_a_checkpoint_is_written_when_it_is_time_and_says_how_far_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bool] = []
    checkpoints = kept(tmp_path / "state")
    som = trained(checkpoints, heard)
    assert heard == [True] * 4
    found = kept(tmp_path / "state").latest()
    assert found is not None
    assert [report.epoch for report in found.reports] == [0, 1, 2, 3]
    assert torch.equal(found.map.tensors["weights"], som.weights)
    assert f"training goes on after epoch 4 of 4, from {checkpoints.file}" in caplog.text


def test_a_training_that_is_done_before_the_time_leaves_nothing(tmp_path: Path) -> None:
    heard: list[bool] = []
    trained(kept(tmp_path / "state", seconds=3600), heard)
    assert heard == [False] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_was_kept_once_is_kept_at_its_end_too(tmp_path: Path) -> None:
    trained(kept(tmp_path))
    trained(kept(tmp_path, seconds=3600))
    latest = kept(tmp_path).latest()
    assert latest is not None
    assert latest.reports[-1].epoch == 3


def test_nothing_is_there_to_begin_with(tmp_path: Path) -> None:
    assert kept(tmp_path / "nowhere").latest() is None


def test_removing_takes_the_folders_along_unless_others_use_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    one, other = kept(state), kept(state, "b" * 64)
    for checkpoints in (one, other):
        trained(checkpoints)
    one.remove()
    assert (one.file.exists(), other.file.exists()) == (False, True)
    other.remove()
    other.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_not_used_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = kept(tmp_path)
    trained(checkpoints)
    checkpoints.file.write_bytes(checkpoints.file.read_bytes()[:-7])
    assert kept(tmp_path).latest() is None
    assert "training begins anew, its checkpoint cannot be used" in caplog.text
    assert str(checkpoints.file) in caplog.text


def test_a_checkpoint_of_other_work_is_not_used_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained(kept(tmp_path))
    same_name = kept(tmp_path, KEY[:-1] + "b")
    assert same_name.latest() is None
    assert "is of other settings or data" in caplog.text
    assert kept(tmp_path, "b" * 64).latest() is None


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    som = trained(kept(tmp_path / "state"))
    assert len(som.quantization_errors) == 4
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "will have to begin anew" in caplog.text


def test_what_nobody_has_come_back_for_is_removed_after_a_week(tmp_path: Path) -> None:
    old, half, fresh = (kept(tmp_path, letter * 64).file for letter in "bcd")
    half = half.with_name(f".{half.name}-0.partial")
    for file in (old, half, fresh):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    for file in (old, half):
        os.utime(file, (time.time() - FORGOTTEN_SECONDS - 60,) * 2)
    assert kept(tmp_path).latest() is None
    assert [file.exists() for file in (old, half, fresh)] == [False, False, True]


def test_only_the_owner_decides_who_reads_it(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path)
    before = os.umask(0o077)
    try:
        trained(checkpoints)
    finally:
        os.umask(before)
    assert stat.S_IMODE(checkpoints.file.stat().st_mode) == 0o600
