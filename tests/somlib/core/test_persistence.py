"""A saved map comes back as it was, and what is no saved map is refused."""

import copy
import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from somlib import SOM, SOMConfig
from somlib.core import persistence
from somlib.core.persistence import read_map, write_map
from somlib.errors import NotFittedError, SavedMapError, SomlibError

NAN = float("nan")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


DATA = normal(200, 3)
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {"x": 5, "y": 4},
    "size from the data": {"epochs": 2},
    "everything else": {
        "x": 4, "y": 5, "num_features": 3, "epochs": 3, "batch_size": 17, "sigma": 1.7, "learning_rate": 0.31,
        "neighborhood_order": 2, "topology": "hexagonal", "pbc": True, "lr_decay_function": "lr_linear_decay_to_zero",
        "sigma_decay_function": "sig_inverse_decay_to_one", "neighborhood_function": "triangle",
        "distance_function": "manhattan", "initialization_mode": "pca", "search_backend": "faiss", "random_seed": 7,
        "missing": "mask", "feature_weights": (0.1, 2.0, 1 / 3), "deterministic": True,
    },
    "batch": {"x": 5, "y": 4, "algorithm": "batch", "distance_function": "cosine", "neighborhood_function": "bubble"},
}  # fmt: skip


def trained(name: str = "defaults") -> SOM:
    return copy.deepcopy(_trained_once(name))


@cache
def _trained_once(name: str) -> SOM:
    som = SOM(**{"epochs": 3, **SETTINGS[name]}, device="cpu")
    som.fit(DATA, verbose=False)
    return som


def answers(som: SOM, data: Tensor = DATA[:50]) -> list[Any]:
    """Everything that a map can be asked without changing it."""
    target = torch.arange(len(data))
    samples = som.build_map("bmus_data", data)
    found = som.collect_samples(data[0], data, target, samples, return_indices=True)
    som_maps = [
        som.build_map("hit", data), som.build_map("distance"), *(
            som.build_map(t, data, target % 3) for t in ("metric", "score", "rank", "classification")
        ),
    ]  # fmt: skip
    scores = [som.anomaly_score(data), som.is_anomaly(data, 0.1), som.anomaly_threshold(0.05)]
    numbers = [som.quantization_error(data), som.topographic_error(data), som.cluster(n_clusters=3)["labels"]]
    return [som.weights, som.identify_bmus(data), samples, *found, *som_maps, *scores, *numbers]


def assert_same(one: object, other: object) -> None:
    if isinstance(one, Tensor):
        assert isinstance(other, Tensor)
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    elif isinstance(one, list):
        assert isinstance(other, list)
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other or (one != one and other != other)


# ---- there and back


@pytest.mark.parametrize("name", SETTINGS)
def test_a_loaded_map_answers_exactly_like_the_saved_one(name: str, tmp_path: Path) -> None:
    som = trained(name)
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    assert_same(answers(loaded), answers(som))
    assert loaded.quantization_errors == som.quantization_errors
    assert loaded.topographic_errors == som.topographic_errors


@pytest.mark.parametrize("name", SETTINGS)
def test_every_argument_comes_back_with_the_values_taken(name: str, tmp_path: Path) -> None:
    som = trained(name)
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    for argument in SOMConfig.model_fields:
        assert getattr(loaded, argument) == getattr(som, argument), argument
    assert None not in (loaded.x, loaded.y, loaded.num_features, loaded.sigma, loaded.batch_size)


@pytest.mark.parametrize("name", SETTINGS)
def test_training_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    som, new = trained(name), normal(80, 3, seed=4)
    som.save(tmp_path / "map")
    goes_on: list[Callable[[SOM], object]] = [
        lambda m: m.partial_fit(new),
        lambda m: m.partial_fit(new, forgetting_factor=0.5),
        lambda m: m.fit(new, verbose=False),
    ]
    for train in goes_on:
        loaded, original = SOM.load(tmp_path / "map"), copy.deepcopy(som)
        assert_same(list(train(loaded)), list(train(original)))  # type: ignore[call-overload]  # two lists
        assert_same(answers(loaded), answers(original))


def test_a_calibration_comes_back(tmp_path: Path) -> None:
    som = trained()
    som.calibrate_anomalies(normal(150, 3, seed=9))
    som.save(tmp_path / "map")
    assert SOM.load(tmp_path / "map").anomaly_threshold(0.05) == som.anomaly_threshold(0.05)


def test_a_changed_neighborhood_order_comes_back(tmp_path: Path) -> None:
    som = trained()
    som.set_neighborhood_order(3)
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    assert loaded.neighborhood_order == loaded.config.neighborhood_order == 3
    assert_same(loaded.build_map("distance"), som.build_map("distance"))


def test_a_sigma_that_the_map_took_for_itself_is_kept_and_not_taken_anew(tmp_path: Path) -> None:
    som = trained()
    assert som.config.sigma is None
    som.save(tmp_path / "map")
    document = json.loads((tmp_path / "map/config.json").read_text())
    assert document["state"]["sigma"] == som.sigma
    document["state"]["sigma"] = 9.5  # as if another version took another value
    (tmp_path / "map/config.json").write_text(json.dumps(document))
    assert SOM.load(tmp_path / "map").sigma == 9.5


def test_double_weights_and_data_stay_double(tmp_path: Path) -> None:
    data = DATA.double() + 1e9
    som = SOM(4, 4, epochs=2, device="cpu")
    som.fit(data, verbose=False)
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    assert loaded.weights.dtype == torch.float64
    assert_same(answers(loaded, data[:50]), answers(som, data[:50]))


def test_feature_names_and_undefined_errors_come_back(tmp_path: Path) -> None:
    som = SOM(1, 1, 2, epochs=2, device="cpu")
    som.fit(pd.DataFrame({"temp": [1.0, 2.0], "wind": [3.0, 5.0]}), verbose=False)
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    assert loaded.feature_names == ["temp", "wind"]
    assert [math.isnan(te) for te in loaded.topographic_errors] == [True, True]
    json.loads((tmp_path / "map/config.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def test_weights_written_by_hand_are_what_is_saved(tmp_path: Path) -> None:
    som = SOM(2, 3, 4, device="cpu")
    som.weights.data.copy_(torch.arange(24.0).reshape(2, 3, 4))
    som.save(tmp_path / "map")
    assert SOM.load(tmp_path / "map").weights.flatten().tolist() == list(range(24))


def test_a_map_saved_before_its_training_counts_as_loaded_and_is_not_started_anew(tmp_path: Path) -> None:
    som = SOM(3, 3, 3, epochs=1, learning_rate=1e-12, device="cpu")
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    loaded.fit(DATA, verbose=False)
    torch.testing.assert_close(loaded.weights, som.weights)


def test_the_devices_of_map_and_call(tmp_path: Path) -> None:
    som = trained()
    som.save(tmp_path / "map")
    assert SOM.load(tmp_path / "map", device="cpu").device == torch.device("cpu")
    assert SOM.load(tmp_path / "map", device=torch.device("cpu")).config.device == "cpu"
    with pytest.raises(SavedMapError, match="device must be one that torch can use here, got 'nonsense'"):
        SOM.load(tmp_path / "map", device="nonsense")


def test_saving_changes_nothing(tmp_path: Path) -> None:
    som = trained()
    before = answers(som)
    som.save(tmp_path / "map")
    assert_same(answers(som), before)


# ---- what lies on disk


def test_two_files_and_no_others_are_written(tmp_path: Path) -> None:
    trained().save(tmp_path / "some" / "new" / "map")
    assert sorted(p.name for p in (tmp_path / "some" / "new" / "map").iterdir()) == [
        "config.json",
        "weights.safetensors",
    ]
    assert [p.name for p in (tmp_path / "some" / "new").iterdir()] == ["map"]  # nothing left beside it
    tensors = load_file(tmp_path / "some/new/map/weights.safetensors")
    assert tensors["weights"].shape == (5, 4, 3)
    document = json.loads((tmp_path / "some/new/map/config.json").read_text())
    assert document["kind"] == "SOM"
    assert document["config"]["topology"] == "rectangular"


def test_a_folder_is_readable_as_the_umask_says(tmp_path: Path) -> None:
    trained().save(tmp_path / "map")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "map").stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_text_and_a_relative_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    som = trained()
    som.save("map")
    assert_same(SOM.load("map").weights, som.weights)


def test_saving_over_a_saved_map_replaces_it(tmp_path: Path) -> None:
    trained("everything else").save(tmp_path / "map")
    som = trained()
    for _ in range(2):
        som.save(tmp_path / "map")
    assert_same(answers(SOM.load(tmp_path / "map")), answers(som))
    assert [p.name for p in tmp_path.iterdir()] == ["map"]


def test_an_empty_folder_may_be_saved_into(tmp_path: Path) -> None:
    (tmp_path / "map").mkdir()
    trained().save(tmp_path / "map")
    SOM.load(tmp_path / "map")


def test_a_save_that_fails_leaves_the_earlier_map_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    som = trained()
    som.save(tmp_path / "map")

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(persistence, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        trained("everything else").save(tmp_path / "map")
    assert_same(answers(SOM.load(tmp_path / "map")), answers(som))
    assert [p.name for p in tmp_path.iterdir()] == ["map"]


def test_an_exchange_that_fails_brings_the_earlier_map_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    som, rename = trained(), Path.rename
    som.save(tmp_path / "map")

    def fails_for_the_new_one(self: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "map" and not self.name.endswith("-earlier"):
            raise PermissionError("denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(PermissionError):
        trained("everything else").save(tmp_path / "map")
    monkeypatch.undo()
    assert_same(answers(SOM.load(tmp_path / "map")), answers(som))


def test_a_foreign_folder_and_a_file_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.tex").write_text("precious")
    with pytest.raises(SavedMapError, match=r"with 'thesis.tex' in it: choose another folder"):
        trained().save(tmp_path / "work")
    with pytest.raises(SavedMapError, match="got the file"):
        trained().save(tmp_path / "work/thesis.tex")
    assert (tmp_path / "work/thesis.tex").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["work"]


def test_a_path_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SavedMapError, match=r"path must name a folder to save into, got '\.'"):
        trained().save(".")


def test_a_map_without_weights_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="no size yet"):
        SOM(device="cpu").save(tmp_path / "map")
    assert list(tmp_path.iterdir()) == []


# ---- what is refused


def rewrite(path: Path, **changes: Any) -> None:
    """Change the description of a saved map by hand."""
    document = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**document, **changes}))


def without(path: Path, section: str, key: str) -> None:
    document = json.loads((path / "config.json").read_text())
    del document[section][key]
    (path / "config.json").write_text(json.dumps(document))


def with_setting(path: Path, **settings: Any) -> None:
    rewrite(path, config={**json.loads((path / "config.json").read_text())["config"], **settings})


def other_weights(path: Path) -> None:
    tensors = load_file(path / "weights.safetensors")
    tensors["weights"][0, 0, 0] += 1
    save_file(tensors, path / "weights.safetensors")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda p: p.rename(p.with_name("elsewhere")), "without config.json"),
    "no weights": (lambda p: (p / "weights.safetensors").unlink(), "without weights.safetensors"),
    "no config": (lambda p: (p / "config.json").unlink(), "without config.json"),
    "other weights": (other_weights, "got another content"),
    "truncated weights": (lambda p: (p / "weights.safetensors").write_bytes(b"123"), "got another content"),
    "truncated config": (lambda p: (p / "config.json").write_text('{"format": 1'), "must describe a saved map"),
    "config of another kind of file": (lambda p: (p / "config.json").write_text("[1, 2]"), "must describe a saved map"),
    "config that is no text": (lambda p: (p / "config.json").write_bytes(b"\xff\xfe"), "must describe a saved map"),
    "newer format": (lambda p: rewrite(p, format=2), "must be of format 1, got 2: update somlib"),
    "another class": (lambda p: rewrite(p, kind="GrowingSOM"), "a SOM, got a GrowingSOM: use GrowingSOM.load"),
    "unknown setting": (lambda p: with_setting(p, warp=9), "warp is no known setting"),
    "wrong setting": (lambda p: with_setting(p, topology="round"), "topology must be"),
    "another size": (lambda p: with_setting(p, x=6), "must keep the shape"),
    "no state": (lambda p: without(p, "state", "runs"), "runs"),
    "no codebook": (lambda p: write_map(p, replace(read_map(p), tensors={"a": torch.ones(1)})), "KeyError.*weights"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_map_is_refused_with_the_reason(damage: str, tmp_path: Path) -> None:
    spoil, message = DAMAGE[damage]
    trained().save(tmp_path / "map")
    spoil(tmp_path / "map")
    with pytest.raises(SavedMapError, match=message) as caught:
        SOM.load(tmp_path / "map")
    assert isinstance(caught.value, SomlibError | ValueError)


def test_a_pickle_in_place_of_the_weights_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trained().save(tmp_path / "map")
    bomb = b"cos\nmkdir\n(V" + str(tmp_path / "boom").encode() + b"\ntR."
    (tmp_path / "map/weights.safetensors").write_bytes(bomb)
    digest = hashlib.sha256(bomb).hexdigest()
    rewrite(tmp_path / "map", weights_sha256=digest)
    with pytest.raises(SavedMapError, match="must be a safetensors file"):
        SOM.load(tmp_path / "map")
    assert not (tmp_path / "boom").exists()
    pickle.loads(bomb)  # it would have gone off
    assert (tmp_path / "boom").exists()


def test_sums_of_incomplete_data_come_back(tmp_path: Path) -> None:
    data = DATA.clone()
    data[::3, 1] = NAN
    som = SOM(4, 4, 3, missing="mask", epochs=2, device="cpu")
    som.fit(data, verbose=False)
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    assert_same(answers(loaded, data), answers(som, data))
    assert_same(
        list(loaded.partial_fit(data, forgetting_factor=1.0)), list(som.partial_fit(data, forgetting_factor=1.0))
    )
    assert_same(loaded.weights, som.weights)
