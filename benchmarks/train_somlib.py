"""Trains somlib; see trial.py for the arguments.

`PRESETS` are settings to choose from in use; every other library is compared with each. `LIKE_TORCHSOM` is the rule,
the schedules and the start of torchsom's two configurations, so that only the work done differs; a batch of torchsom's
that is left over at the end of an epoch is smaller, ours are of equal size. `COST` is for cost.py, and
`short STEPS RADIUS`, a batch map of one epoch of so many short steps to that last radius, for match.py.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import trial

from somlib import SOM

Array = np.ndarray
Arguments = Callable[[int, float], dict[str, Any]]  # rows, shorter side -> arguments of SOM

PRESETS: dict[str, Arguments] = {
    "fast": lambda n, side: {"preset": "fast"},
    "balanced": lambda n, side: {"preset": "balanced"},
    "faithful": lambda n, side: {"preset": "faithful"},
}
LIKE_TORCHSOM: dict[str, Arguments] = {
    "as torchsom paper": lambda n, side: {"epochs": 100, "batch_size": n, "sigma": 1.75, "learning_rate": 0.95},
    "as torchsom tuned": lambda n, side: {
        "epochs": 10, "batch_size": 128, "sigma": max(1.0, side / 5), "learning_rate": 5.0,
    },
}  # fmt: skip
COST: dict[str, Arguments] = {
    "batch map, 3 epochs": lambda n, side: {"algorithm": "batch", "epochs": 3},
    "mini-batches, 1 epoch": lambda n, side: {"epochs": 1},
    "one batch, 1 epoch": lambda n, side: {"epochs": 1, "batch_size": n},
}


def trained(arguments: Arguments, torchsom_start: bool) -> trial.Train:
    """The training with these arguments, from the start that they say or from torchsom's."""

    def train(data: Array, x: int, y: int, topology: str, seed: int) -> Array:
        chosen = arguments(len(data), min(x, y))
        som = SOM(x, y, data.shape[1], topology=topology, random_seed=seed, device="cpu", **chosen)
        if torchsom_start:
            som.initialize_from(plane(torch.from_numpy(data), x, y))
        som.fit(data, verbose=False)
        return som.weights.numpy()

    return train


def plane(data: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """torchsom's PCA start, (x, y, d): both axes spread alike, with the deviation of all values of the data."""
    centered = data - data.mean(dim=0)
    axes = torch.linalg.svd(centered.T @ centered).Vh[:2]  # (2, d)
    places = torch.cartesian_prod(torch.linspace(-1, 1, x), torch.linspace(-1, 1, y))  # (m, 2)
    flat = places @ axes
    return (data.mean(dim=0) + flat * (data.std() / flat.std())).reshape(x, y, -1)


def short(steps: int, last: float) -> Arguments:
    """A batch map of so many short steps that ends at that radius."""
    return lambda n, side: {"preset": "fast", "steps_per_epoch": steps, "final_sigma": last}


if __name__ == "__main__":
    settings = {name: trained(arguments, False) for name, arguments in (PRESETS | COST).items()}
    settings |= {name: trained(arguments, True) for name, arguments in LIKE_TORCHSOM.items()}
    name, *numbers = sys.argv[1].split()
    if name == "short":
        settings[sys.argv[1]] = trained(short(int(numbers[0]), float(numbers[1])), False)
    trial.main("som-pipelines", settings)
