"""Does a plain `SOM(25, 15, d).fit(X)` give a good map? Default settings against torchsom in its paper's configuration.

    python benchmarks/defaults.py [--seeds 5]

Four sets shipped with scikit-learn, standardized; rectangular and hexagonal; one judge for both (evaluator.py).
Prints a Markdown table: mean over the seeds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from evaluator import judge
from peers import train_peer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler

from somlib import SOM

SETS = {"iris": load_iris, "wine": load_wine, "digits": load_digits, "breast cancer": load_breast_cancer}
X, Y = 25, 15


def ours(data: np.ndarray, topology: str, seed: int) -> np.ndarray:
    som = SOM(X, Y, data.shape[1], topology=topology, random_seed=seed)
    som.fit(data, verbose=False)
    return som.weights.numpy()


def theirs(data: np.ndarray, topology: str, seed: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "data.npy"
        np.save(source, data)
        return train_peer("torchsom", "paper", source, X, Y, topology, seed).weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print("| set | topology | QE somlib | QE torchsom | ratio | TE % somlib | TE % torchsom |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, load in SETS.items():
        data = StandardScaler().fit_transform(load().data).astype(np.float32)
        for topology in ("rectangular", "hexagonal"):
            mine = np.mean([judge(ours(data, topology, seed), data, topology) for seed in seeds], axis=0)
            peer = np.mean([judge(theirs(data, topology, seed), data, topology) for seed in seeds], axis=0)
            print(
                f"| {name} | {topology} | {mine[0]:.3f} | {peer[0]:.3f} | {mine[0] / peer[0]:.3f} "
                f"| {100 * mine[1]:.2f} | {100 * peer[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
