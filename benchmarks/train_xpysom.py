"""Trains XPySom on NumPy, in its own environment; see trial.py for the arguments.

`tuned` is the best found for it: PCA start, 10 epochs of the batch map, radius from a quarter of the shorter side to
0.8 in the last epoch. Its hexagons shift by the second axis, so that it gets the map transposed.
"""

import numpy as np
import trial
from xpysom import XPySom

Array = np.ndarray
EPOCHS, LAST_SIGMA = 10, 0.8


def tuned(data: Array, x: int, y: int, topology: str, seed: int) -> Array:
    first = min(x, y) / 4
    # Its schedule would reach the final radius one step after the last epoch.
    final = first * (LAST_SIGMA / first) ** (EPOCHS / (EPOCHS - 1))
    transposed = topology == "hexagonal"
    sides = (y, x) if transposed else (x, y)
    som = XPySom(
        *sides, data.shape[1], sigma=first, sigmaN=final, std_coeff=1, decay_function="exponential",
        topology=topology, random_seed=seed, xp=np,
    )  # fmt: skip
    som.pca_weights_init(data)
    som.train(data, EPOCHS)
    weights = np.asarray(som.get_weights())
    return weights.transpose(1, 0, 2) if transposed else weights


if __name__ == "__main__":
    trial.main("xpysom", {"tuned": tuned})
