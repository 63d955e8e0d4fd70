"""Both errors and the time of each preset, on ten sets and four geometries; which preset another one dominates.

    python benchmarks/presets.py [--seeds 5]

A preset is dominated where another is lower in both errors and takes no more time, mean of the seeds. The judge is
`evaluator.py` for flat maps; for a torus the map's own errors, which the tests hold against a float64 oracle.
The settings were chosen on other sets (benchmarks/README.md names them) and with a look at the first four here; the
other six, and all seeds, had no part in that.
"""

import argparse
import itertools
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from cells import Array, manifold, standardized, weather
from sklearn import datasets

from somlib import SOM

PRESETS = ("fast", "balanced", "faithful")
GEOMETRIES: dict[str, dict[str, object]] = {
    "rectangular": {},
    "hexagonal": {"topology": "hexagonal"},
    "rectangular torus": {"pbc": True},
    "hexagonal torus": {"topology": "hexagonal", "pbc": True},
}
FIRST_SEED = 301


@dataclass(frozen=True)
class Set:
    rows: Array
    x: int
    y: int


def sets() -> dict[str, Set]:
    def blobs(n: int, d: int, k: int, seed: int) -> Array:
        return standardized(datasets.make_blobs(n, d, centers=k, random_state=seed)[0])

    rng = np.random.default_rng(78)
    return {
        "wine": Set(standardized(datasets.load_wine().data), 10, 7),
        "breast cancer": Set(standardized(datasets.load_breast_cancer().data), 16, 10),
        "diabetes": Set(standardized(datasets.load_diabetes().data), 14, 8),
        "weather": Set(weather(), 24, 16),
        "6 clusters, 3500 x 25": Set(blobs(3_500, 25, 6, 81), 20, 14),
        "20 clusters, 5000 x 60": Set(blobs(5_000, 60, 20, 82), 26, 16),
        "curved body, 5000 x 20": Set(manifold(5_000, 20, 83), 24, 16),
        "ring, 3000 x 2": Set(standardized(datasets.make_circles(3_000, noise=0.08, random_state=84)[0]), 18, 14),
        "friedman2, 4000 x 4": Set(standardized(datasets.make_friedman2(4_000, random_state=85)[0]), 22, 12),
        "skewed, 4000 x 8": Set(standardized(rng.gamma(1.5, size=(4_000, 8))), 20, 16),
    }


def measured(data: Set, preset: str, geometry: dict[str, object], seeds: int) -> tuple[float, float, float]:
    """QE, TE in percent, and milliseconds of training, mean of the seeds."""
    found = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        som = SOM(data.x, data.y, data.rows.shape[1], preset=preset, random_seed=seed, **geometry)  # type: ignore[arg-type]
        start = time.process_time()
        qe, te = som.fit(data.rows, verbose=False)
        found.append((qe[-1], 100 * te[-1], 1_000 * (time.process_time() - start)))
    qe_mean, te_mean, ms = np.mean(found, axis=0)
    return float(qe_mean), float(te_mean), float(ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| map | set | " + " | ".join(PRESETS) + " | dominated |")
    print("| --- | --- |" + " --- |" * (len(PRESETS) + 1))
    for geometry, settings in GEOMETRIES.items():
        for name, data in sets().items():
            found = {preset: measured(data, preset, settings, seeds) for preset in PRESETS}
            dominated = [
                f"{worse} by {better}"
                for better, worse in itertools.permutations(PRESETS, 2)
                if found[better][0] <= found[worse][0]
                and found[better][1] <= found[worse][1]
                and PRESETS.index(better) < PRESETS.index(worse)  # takes less time
            ]
            cells = " | ".join(f"{qe:.3f} / {te:.2f} / {ms:.0f}" for qe, te, ms in found.values())
            print(f"| {geometry} | {name} | {cells} | {', '.join(dominated)} |", flush=True)


if __name__ == "__main__":
    main()
