"""The pictures of a run: the only module that saves images."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines.training.analysis import Analysis, TargetMaps, file_stems
from pipelines.training.fitting import TrainedMap
from somlib import SOM
from somlib.utils.maps import distance_map
from somlib.visualization import SOMVisualizer
from somlib.visualization.map_figures import Limits, Wording, value_figure

U_MATRICES = "u_matrices.png"


def draw_figures(trained: TrainedMap, samples: NDArray[np.float32], analysis: Analysis, folder: Path) -> list[Path]:
    """Draw a map and its training into a folder, which is made if need be.

    Args:
        trained: The map and its curves.
        samples: What it was trained on, scaled, shape (n, d).
        analysis: What was found on it.
        folder: Where the files go.

    Returns:
        The files: `training_errors`, `distance_map`, `hit_map`, `component_planes` (in the units of the data; further
        sheets numbered), `cluster_map`, `cluster_profiles`, and for each target that a row has `mean_TARGET` and
        `std_TARGET`.
    """
    draw = SOMVisualizer(trained.som)
    data = torch.from_numpy(samples)
    draw.plot_training_errors(trained.quantization_errors, trained.topographic_errors, trained.sigmas, save_path=folder)
    draw.plot_distance_map(scaling="mean", save_path=folder)
    draw.plot_hit_map(data, save_path=folder)
    SOMVisualizer(in_data_units(trained.som, analysis)).plot_component_planes(save_path=folder)
    draw.plot_cluster_map(analysis.clusters, data, save_path=folder)
    draw.plot_cluster_profiles(analysis.clusters, save_path=folder)
    _draw_targets(draw, analysis.targets, folder)
    return sorted(folder.iterdir())


def _draw_targets(draw: SOMVisualizer, targets: Mapping[str, TargetMaps], folder: Path) -> None:
    for stem, (name, target) in zip(file_stems(targets), targets.items(), strict=True):
        for statistic in ("mean", "std") if target.rows else ():
            draw.plot_metric_map(
                torch.from_numpy(target.values),
                bmus_data_map=dict(target.rows),
                reduction_parameter=statistic,
                target_names=[name],
                save_path=folder,
                fig_name=f"{statistic}_{stem}",
            )


def draw_u_matrices(maps: Mapping[str, SOM], folder: Path) -> Path:
    """Draw the U-matrices of several maps side by side, in one color scale.

    Args:
        maps: By the name that stands above each; in the same units of the features, or the scale means nothing.
        folder: Where the file goes; made if need be.

    Returns:
        The file, `u_matrices.png`.
    """
    values = {
        name: distance_map(som.codebook, som.grid, som.metric, scaling="mean").double().cpu().numpy()[None]
        for name, som in maps.items()
    }
    limits = Limits(0.0, max(float(each.max()) for each in values.values()))
    pictures = []
    with TemporaryDirectory() as drawn:
        for i, (name, som) in enumerate(maps.items()):
            draw = SOMVisualizer(som).maps
            wording = Wording(name, "mean distance to neighbors", f"U-matrix, {som.distance_function} distance")
            figure = value_figure(draw.frame, values[name], wording, draw.config.distance_colors, limits)
            draw.saved(figure, drawn, str(i))
            pictures.append(Image.open(Path(drawn) / f"{i}.png").convert("RGB"))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / U_MATRICES
    _beside(pictures).save(file)
    return file


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in a row, on white."""
    sheet = Image.new("RGB", (sum(each.width for each in pictures), max(each.height for each in pictures)), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet


def in_data_units(som: SOM, analysis: Analysis) -> SOM:
    """A copy of the map whose weights are in the units of the data, so that they can be read off a picture."""
    copy = deepcopy(som)
    copy.weights = torch.from_numpy(analysis.planes).to(som.device)
    return copy
