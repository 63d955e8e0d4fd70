"""Trains MiniSom, in its own environment; see trial.py for the arguments.

`tuned` is the best found for it: PCA start, 10 epochs of its batch training with full steps, radius from a fifth of the
shorter side to a third of that. Training sample by sample took as long and was worse in both errors. Its hexagons shift
by the second axis, so that it gets the map transposed.
"""

import numpy as np
import trial
from minisom import MiniSom

Array = np.ndarray


def tuned(data: Array, x: int, y: int, topology: str, seed: int) -> Array:
    transposed = topology == "hexagonal"
    sides = (y, x) if transposed else (x, y)
    som = MiniSom(
        *sides, data.shape[1], sigma=min(x, y) / 5, sigma_decay_function="asymptotic_decay", decay_function=full_step,
        topology=topology, random_seed=seed,
    )  # fmt: skip
    som.pca_weights_init(data)
    som.train_batch_offline(data, 10)
    weights = som.get_weights()
    return weights.transpose(1, 0, 2) if transposed else weights


def full_step(rate: float, t: int, epochs: int) -> float:
    """Its batch training mixes old weights and new by this share."""
    return 1.0


if __name__ == "__main__":
    trial.main("minisom", {"tuned": tuned})
