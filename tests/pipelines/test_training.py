import math

import numpy as np
import pytest
import torch

from pipelines.training import cpu_threads, settings_taken, train_som
from somlib import SOM, SOMConfig

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
