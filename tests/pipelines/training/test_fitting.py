import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.data.scaling import Scaler, fit_scaler
from pipelines.errors import ModelError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.fitting import cpu_threads, in_units_of, settings_taken, train_som
from somlib import SOM, SOMConfig
from somlib.core.trainer import EpochReport

CONFIG = SOMConfig(x=4, y=3, epochs=5, algorithm="batch", sigma_decay_function="sig_linear_decay_to_one", sigma=2.0)


def samples(rows: int = 100) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)


def test_the_map_is_the_one_that_somlib_trains() -> None:
    trained = train_som(samples(), CONFIG, ["a", "b"])
    som = SOM.from_config(CONFIG)
    som.fit(torch.from_numpy(samples()), verbose=False)
    torch.testing.assert_close(trained.som.weights, som.weights, rtol=0, atol=0)
    assert trained.quantization_errors == som.quantization_errors
    assert trained.som.feature_names == ["a", "b"]


def test_every_epoch_is_told_and_its_radius_kept() -> None:
    heard = []
    trained = train_som(samples(), CONFIG, ["a", "b"], on_epoch=heard.append)
    assert [report.epoch for report in heard] == [0, 1, 2, 3, 4]
    assert trained.sigmas == pytest.approx([2 + t * (1 - 2) / 5 for t in range(5)])
    assert trained.quantization_errors[-1] == heard[-1].quantization_error


def test_threads_are_set_for_the_training_alone() -> None:
    before = torch.get_num_threads()
    seen = []
    train_som(
        samples(), CONFIG, ["a", "b"], threads=before + 1, on_epoch=lambda _: seen.append(torch.get_num_threads())
    )
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), cpu_threads(before + 1):
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_settings_hold_the_values_taken_where_they_were_left_open() -> None:
    trained = train_som(samples(), SOMConfig(epochs=1), ["a", "b"])
    settings = settings_taken(trained.som)
    assert (settings["x"], settings["y"]) == (trained.som.grid.x, trained.som.grid.y)
    assert settings["num_features"] == 2
    assert math.isfinite(settings["sigma"])
    assert settings["device"] in ("cpu", "cuda")
    assert settings["epochs"] == 1


# ---------------------------------------------------------------- after a crash


def test_a_training_that_crashed_goes_on_to_the_same_map_with_whole_curves(tmp_path: Path) -> None:
    def checkpoints() -> Checkpoints:
        return Checkpoints(tmp_path, "demo", "k" * 64, seconds=0)

    def crash(report: EpochReport) -> None:
        if report.epoch == 3:
            raise ZeroDivisionError

    whole, heard = train_som(samples(), CONFIG, ["a", "b"]), []
    with pytest.raises(ZeroDivisionError):
        train_som(samples(), CONFIG, ["a", "b"], on_epoch=crash, checkpoints=checkpoints())
    resumed = train_som(samples(), CONFIG, ["a", "b"], on_epoch=heard.append, checkpoints=checkpoints())
    assert torch.equal(resumed.som.weights, whole.som.weights)
    assert resumed.quantization_errors == whole.quantization_errors
    assert resumed.topographic_errors == whole.topographic_errors
    assert resumed.sigmas == whole.sigmas
    assert [report.epoch for report in heard] == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------- a warm start


RAW = np.random.default_rng(1).normal(size=(300, 3)) * (1.0, 20.0, 0.1) + (0.0, 100.0, -5.0)
NAMES = ("a", "b", "c")


def champion(**settings: Any) -> tuple[SOM, Scaler]:
    scaler = fit_scaler(RAW, NAMES, "standard")
    config = SOMConfig(**{"x": 5, "y": 4, "epochs": 3} | settings)
    return train_som(scaler.transform(RAW), config, NAMES).som, scaler


def test_a_map_in_other_units_stands_for_the_same_values_of_the_data() -> None:
    som, scaler = champion()
    new = fit_scaler(RAW[:, [2, 0, 1]] * 1.5 + 1, ("c", "a", "b"), "minmax")
    before = som.weights.clone()
    moved = in_units_of(new, som, scaler)
    expected = scaler.inverse(som.weights)[..., [2, 0, 1]]
    np.testing.assert_allclose(new.inverse(moved.weights), expected, rtol=1e-5)
    assert moved.feature_names == ["c", "a", "b"]
    assert torch.equal(som.weights, before)
    assert moved.weights.dtype == torch.float32


def test_features_that_differ_are_named() -> None:
    som, scaler = champion()
    with pytest.raises(ModelError, match="got one without d, e and with a: start without it"):
        in_units_of(Scaler.identity(("b", "c", "d", "e")), som, scaler)
    with pytest.raises(ModelError, match="got one with c: start without it"):
        in_units_of(Scaler.identity(("b", "a")), som, scaler)


@pytest.mark.parametrize("size", [(5, 4), (8, 3), (None, None)])
def test_a_warm_training_starts_where_the_other_map_ended_at_any_size(size: tuple[int | None, int | None]) -> None:
    som, scaler = champion()
    new = fit_scaler(RAW * 2, NAMES, "robust")
    start = in_units_of(new, som, scaler)
    config = SOMConfig(x=size[0], y=size[1], epochs=1, sigma=0.3, learning_rate=1e-9)  # a training that hardly moves
    trained = train_som(new.transform(RAW), config, NAMES, start_from=start)
    expected = SOM(*(size if size[0] else (5, 4)), 3)
    expected.initialize_from(start)
    torch.testing.assert_close(trained.som.weights, expected.weights, rtol=0, atol=1e-6)


def test_a_checkpoint_is_further_than_the_map_to_start_from(tmp_path: Path) -> None:
    som, _ = champion()
    data = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    config = SOMConfig(x=3, y=3, epochs=4)

    def run(stop_at: int | None) -> SOM:
        def crash(report: EpochReport) -> None:
            if report.epoch == stop_at:
                raise ZeroDivisionError

        kept = Checkpoints(tmp_path, "demo", "w" * 64, seconds=0)
        return train_som(data, config, NAMES, on_epoch=crash, start_from=som, checkpoints=kept).som

    whole = train_som(data, config, NAMES, start_from=som).som
    with pytest.raises(ZeroDivisionError):
        run(stop_at=2)
    assert torch.equal(run(stop_at=None).weights, whole.weights)
