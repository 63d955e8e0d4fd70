"""One judge for every library: quantization and topographic error of a codebook in float64.

Independent of somlib on purpose. For hexagonal maps the judge takes the better of the two conventions (odd or even rows
shifted), so that a library is not charged for its choice.
"""

import numpy as np

Array = np.ndarray


def judge(weights: Array, data: Array, topology: str, chunk: int = 512) -> tuple[float, float]:
    """Quantization error and topographic error (share) of weights (x, y, d) on data (n, d)."""
    y = weights.shape[1]
    center = weights.mean(axis=(0, 1), dtype=np.float64)
    flat = weights.reshape(-1, weights.shape[2]) - center
    first, second, total = [], [], 0.0
    for start in range(0, len(data), chunk):
        rows = data[start : start + chunk] - center
        a, b = nearest_two(rows, flat)
        total += np.linalg.norm(rows - flat[a], axis=1).sum()
        first.append(a)
        second.append(b)
    a, b = np.concatenate(first), np.concatenate(second)
    parities = (0,) if topology == "rectangular" else (0, 1)
    te = min(float(np.mean(hops(a, b, y, topology, parity) > 1)) for parity in parities)
    return total / len(data), te


def nearest_two(rows: Array, flat: Array) -> tuple[Array, Array]:
    """The nearest and the second nearest of neurons (m, d) for each row (b, d), all in float64 and centered."""
    every = np.arange(len(rows))
    score = 0.5 * (flat**2).sum(axis=1) - rows @ flat.T  # (b, m), half of the squared distance, less that of the row
    first = score.argmin(axis=1)
    score[every, first] = np.inf
    return first, score.argmin(axis=1)


def hops(a: Array, b: Array, y: int, topology: str, shifted: int = 1) -> Array:
    """Steps between cells: Chebyshev on squares, cube coordinates on hexagons with rows of parity `shifted` moved."""
    rows, columns = np.divmod(a, y), np.divmod(b, y)
    dr = rows[0] - columns[0]
    if topology == "rectangular":
        return np.maximum(np.abs(dr), np.abs(rows[1] - columns[1]))
    q_a = rows[1] - (rows[0] - (rows[0] % 2 == shifted)) // 2
    q_b = columns[1] - (columns[0] - (columns[0] % 2 == shifted)) // 2
    dq = q_a - q_b
    return np.maximum.reduce([np.abs(dq), np.abs(dr), np.abs(dq + dr)])
