"""A training that is stopped and taken up again, against one that was never stopped."""

import dataclasses
import functools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from somlib import SOM, GrowingSOM
from somlib.core import trainer
from somlib.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from somlib.core.trainer import EpochReport
from somlib.errors import ArgumentError, DataError, NotFittedError, SavedMapError
from somlib.utils import heuristics

EPOCHS = 6
RULES = {
    "minibatch": {"algorithm": "minibatch", "batch_size": 16},
    "all rows at once": {"algorithm": "minibatch", "batch_size": 90},
    "batch": {"algorithm": "batch", "steps_per_epoch": 1},
    "short steps": {"algorithm": "batch", "steps_per_epoch": 4},
    "own size": {"x": None, "y": None, "num_features": None},
    "masked torus": {"missing": "mask", "topology": "hexagonal", "pbc": True},
    "repelling": {"algorithm": "batch", "neighborhood_function": "mexican_hat", "distance_function": "manhattan"},
}


class Killed(Exception):
    pass


def new_map(**settings: Any) -> SOM:
    return SOM(**{"x": 4, "y": 3, "num_features": 3, "epochs": EPOCHS, "device": "cpu"} | settings)


def samples(rows: int = 90) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(size=(rows, 3)).astype(np.float32))


def samples_for(settings: dict[str, Any]) -> torch.Tensor:
    data = samples()
    if settings.get("missing") == "mask":
        data[::4, 1] = math.nan
    return data


def killed_after(
    epoch: int, som: SOM, data: Any, file: Path, begun: Checkpoint | None = None, **arguments: Any
) -> Checkpoint:
    """Train until an epoch is over, and read back what was written then."""

    def stop(report: EpochReport) -> None:
        if report.epoch == epoch:
            write_checkpoint(file, som.checkpoint())
            raise Killed

    train = som.fit if begun is None else functools.partial(som.resume, begun)
    with pytest.raises(Killed):
        train(data, verbose=False, on_epoch=stop, **arguments)
    return read_checkpoint(file)


def assert_same(one: SOM, other: SOM) -> None:
    """Same to the bit, in everything that a saved map holds."""
    a, b = one._saved(), other._saved()
    assert (a.kind, a.config, a.state) == (b.kind, b.config, b.state)
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name


@pytest.mark.parametrize("epoch", [0, 3, EPOCHS - 1])
@pytest.mark.parametrize("settings", RULES.values(), ids=RULES)
def test_a_training_taken_up_again_ends_like_one_never_stopped(
    settings: dict[str, Any], epoch: int, tmp_path: Path
) -> None:
    data = samples_for(settings)
    whole, heard = new_map(**settings), []
    whole.fit(data, verbose=False, on_epoch=heard.append)
    checkpoint = killed_after(epoch, new_map(**settings), data, tmp_path / "c")
    resumed, heard_again = new_map(**settings), []
    errors = resumed.resume(checkpoint, data, verbose=False, on_epoch=heard_again.append)
    assert_same(resumed, whole)
    assert errors == (whole.quantization_errors, whole.topographic_errors)
    assert repr(heard_again) == repr(heard)  # by text, for the batch map's learning rate is NaN
    assert torch.equal(resumed.anomaly_score(data), whole.anomaly_score(data))


@pytest.mark.parametrize("measured", [40, 1_000])
def test_short_steps_go_on_after_every_epoch(measured: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", measured)
    monkeypatch.setattr(heuristics, "ROWS_PER_NEIGHBORHOOD", 5)
    settings = RULES["short steps"] | {"sigma_decay_function": "sig_geometric_decay_to_one", "final_sigma": 0.8}
    whole = new_map(**settings)
    whole.fit(samples(), verbose=False)
    for epoch in range(EPOCHS - 1):
        resumed = new_map(**settings)
        checkpoint = killed_after(epoch, new_map(**settings), samples(), tmp_path / "c")
        resumed.resume(checkpoint, samples(), verbose=False)
        assert_same(resumed, whole)


def test_a_training_may_be_stopped_and_taken_up_many_times(tmp_path: Path) -> None:
    data, whole, checkpoint = samples(), new_map(), None
    whole.fit(data, verbose=False)
    for epoch in (1, 2, 4):
        checkpoint = killed_after(epoch, new_map(), data, tmp_path / "c", checkpoint)
    resumed = new_map()
    resumed.resume(checkpoint, data, verbose=False)
    assert_same(resumed, whole)


def test_weights_in_double_and_sample_weights_go_on_too(tmp_path: Path) -> None:
    data, weight = samples(), torch.linspace(0, 2, 90)

    def warm() -> SOM:
        som = new_map()
        som.initialize_from(torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(4, 3, 3))
        return som

    whole = warm()
    whole.fit(data, verbose=False, sample_weight=weight)
    checkpoint = killed_after(2, warm(), data, tmp_path / "c", sample_weight=weight)
    resumed = new_map()
    resumed.resume(checkpoint, data, verbose=False, sample_weight=weight)
    assert resumed.weights.dtype == torch.float64
    assert_same(resumed, whole)


def test_a_later_training_differs_from_the_first_also_after_a_stop(tmp_path: Path) -> None:
    data, whole = samples(), new_map()
    whole.fit(data, verbose=False)
    resumed = new_map()
    resumed.resume(killed_after(2, new_map(), data, tmp_path / "c"), data, verbose=False)
    for som in (whole, resumed):
        som.fit(data, verbose=False)
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    ("settings", "rows", "said"),
    [
        ({"sigma": 1.5}, 90, r"checkpoint must be of a training with sigma=1\.5, got one with None"),
        ({"x": 5}, 90, "checkpoint must be of a training with x=5, got one with 4"),
        ({}, 89, "checkpoint must be of a training on 89 rows, got one on 90"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_changes_nothing(
    settings: dict[str, Any], rows: int, said: str, tmp_path: Path
) -> None:
    checkpoint = killed_after(2, new_map(), samples(), tmp_path / "c")
    som = new_map(**settings)
    before = som.weights.clone()
    with pytest.raises(ArgumentError, match=said):
        som.resume(checkpoint, samples(rows), verbose=False)
    assert torch.equal(som.weights, before)
    assert not som.initialized


def test_a_map_of_another_kind_is_refused(tmp_path: Path) -> None:
    checkpoint = killed_after(2, new_map(), samples(), tmp_path / "c")
    growing = GrowingSOM(x=4, y=3, num_features=3, epochs=EPOCHS, device="cpu")
    with pytest.raises(ArgumentError, match="checkpoint must be of a GrowingSOM, got one of a SOM"):
        growing.resume(checkpoint, samples(), verbose=False)


def test_bad_data_is_refused_before_the_checkpoint_is_taken_up(tmp_path: Path) -> None:
    checkpoint = killed_after(2, new_map(), samples(), tmp_path / "c")
    som = new_map()
    with pytest.raises(DataError):
        som.resume(checkpoint, samples() * math.nan, verbose=False)
    assert not som.initialized


def test_there_is_nothing_to_keep_outside_of_a_training() -> None:
    som = new_map()
    for act in (lambda: None, lambda: som.fit(samples(), verbose=False)):
        act()
        with pytest.raises(NotFittedError, match="call checkpoint within on_epoch of fit"):
            som.checkpoint()


@pytest.mark.parametrize("settings", RULES.values(), ids=RULES)
def test_errors_of_many_rows_stay_those_of_the_same_sample(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 50)
    data, whole, resumed = samples_for(settings), new_map(**settings), new_map(**settings)
    errors = whole.fit(data, verbose=False)
    checkpoint = killed_after(3, new_map(**settings), data, tmp_path / "c")
    assert resumed.resume(checkpoint, data, verbose=False) == errors
    assert_same(resumed, whole)


# ---------------------------------------------------------------- the file


def written(tmp_path: Path) -> Path:
    killed_after(2, new_map(), samples(), tmp_path / "c")
    return tmp_path / "c"


def test_the_file_is_plain_safetensors_with_json(tmp_path: Path) -> None:
    with safe_open(written(tmp_path), framework="np") as opened:
        document = json.loads(opened.metadata()["checkpoint"])
        curves = opened.get_tensor("curves")
    assert (document["kind"], document["rows"], document["config"]["epochs"]) == ("SOM", 90, EPOCHS)
    np.testing.assert_array_equal(curves[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(curves[:, 2], document["state"]["quantization_errors"])


def test_the_key_of_whoever_keeps_it_comes_back(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(written(tmp_path))
    write_checkpoint(tmp_path / "d", dataclasses.replace(checkpoint, key="mine"))
    assert read_checkpoint(tmp_path / "d").key == "mine"


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.99])
def test_a_flipped_byte_anywhere_is_noticed(place: float, tmp_path: Path) -> None:
    file = written(tmp_path)
    content = bytearray(file.read_bytes())
    content[int(len(content) * place)] ^= 0x55
    file.write_bytes(content)
    with pytest.raises(SavedMapError, match="must be"):
        read_checkpoint(file)


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint at all"])
def test_a_file_that_is_none_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "c"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SavedMapError, match=f"{file} must be a checkpoint"):
        read_checkpoint(file)


def test_a_write_that_fails_leaves_the_earlier_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path)
    before = file.read_bytes()
    checkpoint = read_checkpoint(file)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(file, checkpoint)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
