"""What somlib must compute, written from its definitions as plain loops in float64.

Slow on purpose, and apart from the code under test: nothing here imports somlib. Neurons are flat indices `i * y + j`,
codebooks `(m, d)` and samples `(n, d)` NumPy arrays, NaN where a value is missing.
"""

import math
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Lattice(NamedTuple):
    """Rows, columns, hexagons or squares, torus or flat."""

    x: int
    y: int
    hexagonal: bool
    pbc: bool

    @property
    def m(self) -> int:
        return self.x * self.y

    @property
    def arguments(self) -> dict[str, Any]:
        """What somlib calls the same grid."""
        return {"x": self.x, "y": self.y, "topology": "hexagonal" if self.hexagonal else "rectangular", "pbc": self.pbc}

    def __str__(self) -> str:
        return f"{'hex' if self.hexagonal else 'rect'}-{'torus' if self.pbc else 'flat'}-{self.x}x{self.y}"


# One of each kind, with an odd and an even number of rows and columns where the kind allows it.
FOUR = (
    Lattice(5, 4, False, False),
    Lattice(5, 4, True, False),
    Lattice(4, 5, False, True),
    Lattice(4, 5, True, True),
)
# Every kind in every small size, maps of one row or column and tori that wrap onto themselves included.
SMALL = tuple(
    Lattice(x, y, hexagonal, pbc)
    for hexagonal in (False, True)
    for pbc in (False, True)
    for x in range(1, 7)
    for y in range(1, 6)
    if not (hexagonal and pbc and x % 2)
)
KERNELS = ("gaussian", "mexican_hat", "bubble", "triangle")


# ---- geometry


def position(lattice: Lattice, neuron: int) -> tuple[float, float]:
    i, j = divmod(neuron, lattice.y)
    return (i * math.sqrt(3) / 2, j + 0.5 * (i % 2)) if lattice.hexagonal else (float(i), float(j))


def images(lattice: Lattice, neuron: int) -> list[tuple[float, float]]:
    """Where a neuron lies: once on a flat map, and in the nine copies of a torus around the map itself."""
    row, column = position(lattice, neuron)
    height = lattice.x * (math.sqrt(3) / 2 if lattice.hexagonal else 1.0)
    shifts = (-1, 0, 1) if lattice.pbc else (0,)
    return [(row + a * height, column + b * lattice.y) for a in shifts for b in shifts]


@cache
def distances(lattice: Lattice) -> Array:
    """Distance on the grid of every pair of neurons, (m, m)."""
    table = np.empty((lattice.m, lattice.m))
    for b in range(lattice.m):
        places = images(lattice, b)
        for a in range(lattice.m):
            table[a, b] = min(math.dist(position(lattice, a), place) for place in places)
    return table


@cache
def neighbors(lattice: Lattice) -> list[set[int]]:
    """Neighbors of every neuron: the block around a square, the hexagons whose centers lie one cell width away."""
    return [{b for b in range(lattice.m) if b != a and _touch(lattice, a, b)} for a in range(lattice.m)]


def _touch(lattice: Lattice, a: int, b: int) -> bool:
    row, column = position(lattice, a)
    if lattice.hexagonal:
        return any(abs(math.dist((row, column), place) - 1) < 1e-9 for place in images(lattice, b))
    return any(max(abs(row - r), abs(column - c)) <= 1 for r, c in images(lattice, b))


@cache
def hops(lattice: Lattice) -> NDArray[np.int64]:
    """Steps from neighbor to neighbor between every pair of neurons, by breadth-first search, (m, m)."""
    table = np.full((lattice.m, lattice.m), -1)
    for start in range(lattice.m):
        table[start, start] = 0
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for there in neighbors(lattice)[here]:
                if table[start, there] < 0:
                    table[start, there] = table[start, here] + 1
                    queue.append(there)
    return table


def within(lattice: Lattice, neuron: int, order: int) -> list[int]:
    """Neurons 1 to `order` hops away, ascending."""
    return [b for b in range(lattice.m) if 1 <= hops(lattice)[neuron, b] <= order]


# ---- neighborhood


def influence(name: str, r: float, s: float) -> float:
    if name == "gaussian":
        return math.exp(-(r**2) / (2 * s**2))
    if name == "mexican_hat":
        return (1 - r**2 / (2 * s**2)) * math.exp(-(r**2) / (2 * s**2))
    if name == "bubble":
        return 1.0 if r <= s + 1e-9 else 0.0
    assert name == "triangle"
    return 1 - r / s if r < s - 1e-9 else 0.0


def kernel_matrix(lattice: Lattice, name: str, sigma: float) -> Array:
    """h(k, j) of every pair of neurons, (m, m)."""
    return np.array([[influence(name, r, sigma) for r in row] for row in distances(lattice)])


# ---- distance to neurons


def feature_distance(sample: Array, neuron: Array, metric: str = "euclidean", factors: Array | None = None) -> float:
    """Distance over the observed features; NaN where there is none."""
    factor = np.ones(len(sample)) if factors is None else factors
    seen = [a for a in range(len(sample)) if not math.isnan(sample[a])]
    if not seen:
        return math.nan
    share = len(sample) / len(seen)
    if metric == "euclidean":
        return math.sqrt(share * sum(factor[a] * (sample[a] - neuron[a]) ** 2 for a in seen))
    if metric == "manhattan":
        return float(share * sum(factor[a] * abs(sample[a] - neuron[a]) for a in seen))
    if metric == "chebyshev":
        return float(max(factor[a] * abs(sample[a] - neuron[a]) for a in seen))
    assert metric == "cosine", f"the definition of {metric!r} as a loop belongs here"
    product = sum(factor[a] * sample[a] * neuron[a] for a in seen)
    length = math.sqrt(sum(factor[a] * sample[a] ** 2 for a in seen))
    length *= math.sqrt(sum(factor[a] * neuron[a] ** 2 for a in seen))
    return 1 - product / length if length else math.nan


def ranked(sample: Array, weights: Array, metric: str = "euclidean", factors: Array | None = None) -> list[int]:
    """Neurons by distance from the sample, ties by index; without those that have no distance."""
    reach = [feature_distance(sample, w, metric, factors) for w in weights]
    return sorted((k for k in range(len(weights)) if not math.isnan(reach[k])), key=lambda k: (reach[k], k))


def errors(
    weights: Array,
    data: Array,
    lattice: Lattice,
    sample_weight: Sequence[float] | None = None,
    metric: str = "euclidean",
    factors: Array | None = None,
) -> tuple[float, float]:
    """Quantization and topographic error of a codebook."""
    share = np.ones(len(data)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    total = away = apart = 0.0
    for sample, s in zip(data, share, strict=True):
        order = ranked(sample, weights, metric, factors)
        if order:
            total += s
            away += s * feature_distance(sample, weights[order[0]], metric, factors)
            apart += s * (order[1] not in neighbors(lattice)[order[0]])
    return away / total, apart / total


# ---- training


def sums_by_winner(
    weights: Array,
    data: Array,
    sample_weight: Sequence[float] | None = None,
    metric: str = "euclidean",
    factors: Array | None = None,
) -> tuple[Array, Array]:
    """S_j and c_j of every neuron and feature, (m, d) each; a missing value counts in neither."""
    sums, counts = np.zeros(weights.shape), np.zeros(weights.shape)
    for i, sample in enumerate(data):
        order = ranked(sample, weights, metric, factors)
        for a in range(len(sample)):
            if order and not math.isnan(sample[a]):
                share = 1.0 if sample_weight is None else sample_weight[i]
                sums[order[0], a] += share * sample[a]
                counts[order[0], a] += share
    return sums, counts


def smoothed_means(weights: Array, sums: Array, counts: Array, kernel: Array) -> Array:
    """w_k = sum_j h(k, j) S_j / sum_j h(k, j) c_j; kept where the denominator is not above 0 and its rounding."""
    after = weights.copy()
    for k in range(len(weights)):
        for a in range(weights.shape[1]):
            denominator = sum(kernel[k, j] * counts[j, a] for j in range(len(weights)))
            if denominator > 1e-12 * sum(abs(kernel[k, j]) * counts[j, a] for j in range(len(weights))):
                after[k, a] = sum(kernel[k, j] * sums[j, a] for j in range(len(weights))) / denominator
    return after


def batch_epoch(
    weights: Array,
    data: Array,
    kernel: Array,
    sample_weight: Sequence[float] | None = None,
    metric: str = "euclidean",
    factors: Array | None = None,
) -> Array:
    """The codebook after one epoch of the batch map, each feature trained by the samples that have it."""
    return smoothed_means(weights, *sums_by_winner(weights, data, sample_weight, metric, factors), kernel)


def minibatch_update(
    weights: Array,
    batch: Array,
    kernel: Array,
    rate: float,
    sample_weight: Sequence[float] | None = None,
    metric: str = "euclidean",
    factors: Array | None = None,
) -> Array:
    """w_k += rate * mean over the batch of h(k, bmu) (x - w_k), each feature by the samples that have it."""
    winner = [order[0] if (order := ranked(sample, weights, metric, factors)) else None for sample in batch]
    after = weights.copy()
    for k in range(len(weights)):
        for a in range(weights.shape[1]):
            pull = size = 0.0
            for i, sample in enumerate(batch):
                j = winner[i]
                if j is not None and not math.isnan(sample[a]):
                    share = 1.0 if sample_weight is None else sample_weight[i]
                    pull += share * kernel[k, j] * (sample[a] - weights[k, a])
                    size += share
            if size:
                after[k, a] += rate * pull / size
    return after


def confined(weights: Array, data: Array) -> Array:
    """Neurons held within the box of the data, widened on each side by its own size (kernels that repel)."""
    low, high = np.nanmin(data, axis=0), np.nanmax(data, axis=0)
    return np.clip(weights, low - (high - low), high + (high - low))


def asymptotic(theta0: float, t: float, T: int) -> float:
    """The default schedule at epoch t of T."""
    return theta0 / (1 + t / (T / 2))
