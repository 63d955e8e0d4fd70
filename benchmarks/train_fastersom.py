"""Trains fastersom, in its own environment; see trial.py for the arguments. It has rectangular maps only.

`tuned` is the best found for it: the batch map, 10 epochs, radius from a quarter of the shorter side to 0.8 in the last
epoch. It has no PCA start of its own but takes weights, and with one its topographic error is lower: it gets one.
"""

import numpy as np
import trial
from fastersom import SOM

Array = np.ndarray
EPOCHS, LAST_SIGMA = 10, 0.8


def tuned(data: Array, x: int, y: int, topology: str, seed: int) -> Array:
    if topology != "rectangular":
        raise ValueError(f"topology must be rectangular for fastersom, got {topology}")
    first = min(x, y) / 4
    # Its schedule would reach the final radius one step after the last epoch.
    final = first * (LAST_SIGMA / first) ** (EPOCHS / (EPOCHS - 1))
    som = SOM(
        x, y, n_epochs=EPOCHS, sigma_initial=first, sigma_final=final, init=plane(data, x, y), random_state=seed,
        device="cpu",
    )  # fmt: skip
    return som.fit(data).weights_.reshape(x, y, -1)


def plane(data: Array, x: int, y: int) -> Array:
    """Weights (x, y, d) on the plane of the two leading axes, one deviation to each side."""
    mean = data.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(data, rowvar=False))
    spread = axes[:, -2:] * np.sqrt(values[-2:])  # (d, 2), the leading axis last
    rows, columns = np.meshgrid(np.linspace(-1, 1, x), np.linspace(-1, 1, y), indexing="ij")
    return (mean + np.stack([columns, rows], axis=-1) @ spread.T).astype(np.float32)


if __name__ == "__main__":
    trial.main("fastersom", {"tuned": tuned})
