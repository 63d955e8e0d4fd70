from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.data.scaling import fit_scaler
from pipelines.settings.sections import AnalysisConfig
from pipelines.training.analysis import analyze
from pipelines.training.figures import draw_figures, draw_u_matrices, in_data_units
from pipelines.training.fitting import train_som
from somlib import SOM, SOMConfig

RAW = np.random.default_rng(0).normal(size=(60, 3)) * (1.0, 50.0, 0.1) + (0.0, 1000.0, 5.0)
SCALER = fit_scaler(RAW, ("a", "b", "c"), "standard")
SAMPLES = SCALER.transform(RAW)


def test_every_figure_of_a_run_is_a_png_in_the_folder(tmp_path: Path) -> None:
    trained = train_som(SAMPLES, SOMConfig(x=3, y=3, epochs=3, topology="hexagonal"), SCALER.features)
    targets = {"y/z": RAW[:, 0], "gaps": np.where(RAW[:, 0] > 0, np.nan, RAW[:, 1])}
    found = analyze(trained.som, SAMPLES, targets, SCALER, AnalysisConfig(n_clusters=2))
    files = draw_figures(trained, found, tmp_path / "figures")
    assert [file.name for file in files] == [
        "cluster_map.png",
        "cluster_profiles.png",
        "component_planes.png",
        "distance_map.png",
        "hit_map.png",
        "mean_gaps.png",
        "mean_y_z.png",
        "std_gaps.png",
        "std_y_z.png",
        "training_errors.png",
    ]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_component_planes_are_drawn_from_a_copy_in_the_units_of_the_data() -> None:
    trained = train_som(SAMPLES, SOMConfig(x=3, y=3, epochs=1), SCALER.features)
    before = trained.som.weights.clone()
    found = analyze(trained.som, SAMPLES, {}, SCALER, AnalysisConfig(n_clusters=2))
    copy = in_data_units(trained.som, found)
    np.testing.assert_allclose(copy.weights.numpy(), before.double().numpy() * RAW.std(0) + RAW.mean(0), rtol=1e-6)
    torch.testing.assert_close(trained.som.weights, before, rtol=0, atol=0)


def test_u_matrices_of_any_size_stand_side_by_side_in_one_scale(tmp_path: Path) -> None:
    def drawn(maps: Mapping[str, SOM], name: str) -> Image.Image:
        return Image.open(draw_u_matrices(maps, tmp_path / name)).convert("RGB")

    flat, steep = (train_som(SAMPLES, SOMConfig(x=x, y=3, epochs=1), SCALER.features).som for x in (3, 5))
    alone = [drawn({"one": flat}, "a"), drawn({"two": steep}, "b")]
    both = drawn({"one": flat, "two": steep}, "both")
    assert both.size == (sum(each.width for each in alone), max(each.height for each in alone))
    flat.weights = flat.weights * 0.1
    faint = drawn({"one": flat, "two": steep}, "faint")
    half = (0, 0, alone[0].width, alone[0].height)
    assert np.asarray(faint.crop(half)).mean() < np.asarray(both.crop(half)).mean()  # small distances are dark
