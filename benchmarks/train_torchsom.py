"""Trains torchsom, in its own environment; see trial.py for the arguments.

`paper` is its paper's configuration: full batch, 100 epochs, radius 1.75, rate 0.95. `tuned` is the best found for it:
mini-batches of 128, 10 epochs, radius a fifth of the shorter side, rate 5. Both start from its PCA.
"""

import numpy as np
import torch
import trial
from torchsom.core import SOM

Array = np.ndarray


def paper(data: Array, x: int, y: int, topology: str, seed: int) -> Array:
    return trained(data, x, y, topology, seed, epochs=100, batch_size=len(data), sigma=1.75, learning_rate=0.95)


def tuned(data: Array, x: int, y: int, topology: str, seed: int) -> Array:
    sigma = max(1.0, min(x, y) / 5)
    return trained(data, x, y, topology, seed, epochs=10, batch_size=128, sigma=sigma, learning_rate=5.0)


def trained(data: Array, x: int, y: int, topology: str, seed: int, **arguments: float) -> Array:
    rows = torch.from_numpy(data)
    som = SOM(x, y, data.shape[1], topology=topology, initialization_mode="pca", random_seed=seed, **arguments)
    som.initialize_weights(rows, "pca")
    som.fit(rows, verbose=False)
    return som.weights.detach().numpy()


if __name__ == "__main__":
    trial.main("torchsom", {"paper": paper, "tuned": tuned})
