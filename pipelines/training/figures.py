"""The pictures of a run: the only module that saves images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from pipelines.progress import steps
from pipelines.training.analysis import Analysis
from pipelines.training.fitting import TrainedMap
from somlib import SOM
from somlib.utils.maps import distance_map

U_MATRICES = "u_matrices.png"


def draw_figures(trained: TrainedMap, analysis: Analysis, folder: Path) -> list[Path]:
    """Draw a map and its training into a folder, which is made if need be; from what is known of neurons, not of rows.

    Args:
        trained: The map and its curves.
        analysis: What was found on it.
        folder: Where the files go.

    Returns:
        The files: `training_errors`, `distance_map`, `hit_map`, `component_planes` (in the units of the data; further
        sheets numbered), `cluster_map`, `cluster_profiles`, and for each target that a row has `mean_TARGET` and
        `std_TARGET`, of a class `class_TARGET`.
    """
    drawings = dict(_drawings(trained, analysis))
    step = steps(len(drawings))
    for name, draw in drawings.items():
        draw(save_path=folder, fig_name=name)
        step(name)
    return sorted(folder.iterdir())


def _drawings(trained: TrainedMap, analysis: Analysis) -> Iterator[tuple[str, Callable[..., object]]]:
    """The name of each figure, and what draws it."""
    from somlib.visualization import SOMVisualizer  # here: a run that has its figures drawn elsewhere needs none of it

    draw = SOMVisualizer(trained.som)
    in_units = SOMVisualizer(in_data_units(trained.som, analysis))
    errors = (trained.quantization_errors, trained.topographic_errors, trained.sigmas)
    yield "training_errors", partial(draw.plot_training_errors, *errors)
    yield "distance_map", partial(draw.plot_distance_map, scaling="mean")
    yield "hit_map", partial(draw.plot_hit_map, hits=analysis.hits)
    encoding = analysis.scaler.encoding
    cycles = {} if encoding is None else encoding.cycles
    yield "component_planes", partial(in_units.plot_component_planes, ranges=cycles, cyclic=list(cycles))
    yield "cluster_map", partial(draw.plot_cluster_map, analysis.clusters, hits=analysis.hits)
    yield "cluster_profiles", partial(draw.plot_cluster_profiles, analysis.clusters)
    for name, target in analysis.targets.items():
        stem = analysis.stems[name]
        for statistic in ("mean", "std") if target.counts.any() else ():
            words = partial(draw.plot_metric_map, reduction_parameter=statistic, target_names=[name])
            yield f"{statistic}_{stem}", partial(words, statistic=target.maps[statistic])
    for name, classes in analysis.classes.items():
        if classes.counts.any():
            named = partial(draw.plot_classification_map, class_names=classes.names, target_name=name)
            yield f"class_{analysis.stems[name]}", partial(named, statistic=classes.most)


def draw_u_matrices(maps: Mapping[str, SOM], folder: Path) -> Path:
    """Draw the U-matrices of several maps side by side, in one color scale.

    Args:
        maps: By the name that stands above each; in the same units of the features, or the scale means nothing.
        folder: Where the file goes; made if need be.

    Returns:
        The file, `u_matrices.png`.
    """
    from somlib.visualization import SOMVisualizer
    from somlib.visualization.map_figures import Limits, Wording, value_figure

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
    if len(analysis.features) != som.num_features:  # cycles, which are one value again
        settings = {"feature_weights": None, "num_features": len(analysis.features)}
        copy = SOM.from_config(som.config.model_copy(update=settings), num_features=len(analysis.features))
    copy.weights = torch.from_numpy(analysis.planes).to(som.device)
    copy.feature_names = list(analysis.features)
    return copy
