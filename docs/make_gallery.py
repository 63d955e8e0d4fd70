"""Draws every figure of the library on four data sets, both topologies, flat and as a torus.

    python docs/make_gallery.py [--out build/gallery]

One folder a map: iris, wine, the shipped weather data (its complete rows) and a made set of 40 features. The pictures
that README.md and docs/ show are copied to docs/images/.
"""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.datasets import load_iris, load_wine, make_blobs
from sklearn.preprocessing import StandardScaler

from somlib import SOM, SOMVisualizer
from somlib.utils.topology import neighbors

ROOT = Path(__file__).parent.parent
SHOWN = {
    "weather-hexagonal/component_planes.png": "component_planes.png",
    "weather-hexagonal/distance_map.png": "distance_map.png",
    "weather-hexagonal/metric_map.png": "metric_map.png",
    "weather-hexagonal/cluster_map.png": "cluster_map.png",
    "iris-rectangular/classification_map.png": "classification_map.png",
    "wine-rectangular/distance_map_expanded.png": "distance_map_expanded.png",
    "wine-hexagonal-torus/cluster_profiles.png": "cluster_profiles.png",
    "weather-hexagonal/retrieval.png": "retrieval.png",
}


@dataclass(frozen=True)
class Example:
    """A data set with a map that suits it."""

    name: str
    data: Any
    target: Any
    features: list[str]
    size: tuple[int, int]


def examples() -> Iterator[Example]:
    """The four data sets, unscaled."""
    for name, bunch in (("iris", load_iris()), ("wine", load_wine())):
        yield Example(name, bunch.data, bunch.target, list(bunch.feature_names), (12, 8))
    weather = pl.read_parquet(ROOT / "data" / "weather", hive_partitioning=False).drop("time", "day").drop_nulls()
    features = [name for name in weather.columns if not name.endswith("_JFK")]
    yield Example("weather", weather.select(features).to_numpy(), weather["humid_JFK"].to_numpy(), features, (25, 15))
    blobs, label = make_blobs(3_000, n_features=40, centers=6, cluster_std=6.0, random_state=0)
    yield Example("forty", blobs, label, [f"sensor {i:02d}" for i in range(1, 41)], (20, 14))


def draw(example: Example, topology: str, pbc: bool, out: Path) -> None:
    """All figures of one map into one folder."""
    scaler = StandardScaler()
    data = scaler.fit_transform(example.data).astype(np.float32)
    som = SOM(*example.size, data.shape[1], topology=topology, pbc=pbc, algorithm="batch", initialization_mode="pca",
              epochs=20, sigma_decay_function="sig_geometric_decay_to_one")  # fmt: skip
    errors = som.fit(data, verbose=False)
    visualizer = SOMVisualizer(som)
    results = [som.cluster(method) for method in ("kmeans", "gmm", "ward")]
    visualizer.plot_all(
        *errors, data, target=example.target, component_names=example.features, cluster_results=results, save_path=out
    )
    draw_retrieval(visualizer, som, data, out)


def draw_retrieval(visualizer: SOMVisualizer, som: SOM, data: Any, out: Path) -> None:
    """What just-in-time learning would retrieve for the first sample, with a fallback."""
    threshold = len(data) // 20
    found = som.collect_samples_batch(data[:1], data, som.build_map("bmus_data", data), threshold)
    places = som.identify_bmus(data[found.of(0)])  # in the order in which the neurons were visited
    visited = list(dict.fromkeys((places[:, 0] * som.y + places[:, 1]).tolist()))
    query = visited[0]
    around = set(neighbors(som.grid, query, som.neighborhood_order).tolist())
    fallback = [neuron for neuron in visited[1:] if neuron not in around]
    visualizer.plot_retrieval(query, around, fallback, save_path=out, fig_name="retrieval")


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gallery")
    out = parser.parse_args().out
    for example in examples():
        for topology in ("rectangular", "hexagonal"):
            for pbc in (False, True):
                if topology == "hexagonal" and pbc and example.size[0] % 2:
                    example = Example(**{**vars(example), "size": (example.size[0] + 1, example.size[1])})
                folder = out / f"{example.name}-{topology}{'-torus' if pbc else ''}"
                draw(example, topology, pbc, folder)
                print(f"{folder}: {len(list(folder.iterdir()))} figures", flush=True)
    for source, name in SHOWN.items():
        shutil.copy(out / source, ROOT / "docs" / "images" / name)


if __name__ == "__main__":
    main()
