"""False alarms of anomaly thresholds that were not calibrated, on rows held out from training."""

import argparse
import warnings

import numpy as np
from cells import Array
from sklearn import datasets

from somlib import SOM

ALPHA = 0.05
SETTINGS = {"default": {}, "fast": {"preset": "fast"}, "faithful": {"preset": "faithful"}}
SIZES = ((8, 6), (15, 12))


def sets() -> dict[str, Array]:
    shipped = {
        name: getattr(datasets, f"load_{name}")().data
        for name in ("iris", "wine", "breast_cancer", "diabetes", "digits")
    }
    made = {
        "gaussian 600 x 5": np.random.default_rng(0).normal(size=(600, 5)),
        "friedman1 1000 x 10": datasets.make_friedman1(1000, random_state=0)[0],
        "blobs 2000 x 20": datasets.make_blobs(2000, 20, centers=6, random_state=1)[0],
        "swiss roll 1500 x 3": datasets.make_swiss_roll(1500, random_state=0)[0],
        "moons 800 x 2": datasets.make_moons(800, noise=0.1, random_state=0)[0],
    }
    return {**shipped, **made}


def false_alarms(data: Array, size: tuple[int, int], seed: int, settings: dict[str, str]) -> float:
    rows = np.random.default_rng(seed).permutation(len(data))
    train, fresh = np.split(data[rows], [len(data) * 3 // 4])
    mean, spread = train.mean(axis=0), train.std(axis=0)
    spread[spread == 0] = 1
    som = SOM(*size, data.shape[1], random_seed=seed, **settings)
    som.fit(((train - mean) / spread).astype("float32"), verbose=False)
    return float(som.is_anomaly(((fresh - mean) / spread).astype("float32"), ALPHA).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    columns = [(name, size) for name in SETTINGS for size in SIZES]
    print("| set | " + " | ".join(f"{name}, {x} x {y}" for name, (x, y) in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name, data in sets().items():
        shares = [
            np.mean([false_alarms(data, size, s, SETTINGS[kind]) for s in range(seeds)]) for kind, size in columns
        ]
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
