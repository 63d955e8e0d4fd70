"""The least that an epoch of the batch map can take with plain torch: a product, a minimum, and one smoothing.

    python floor.py DATA.npy OUT.json X Y

For all rows, chunk by chunk, `addmm` with the codebook and `min` with its index, into memory that is there already;
then the sums per winner, shape (x, y, d + 1), times a kernel along the rows and along the columns. Adding the samples
up is left out. Seconds by number of threads, one and two, each with the chunk that is fastest there.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CHUNKS = (256, 512, 1_024, 2_048, 4_096, 8_192)
TRIED_ROWS = 32_768  # the chunk is chosen on so many
SECONDS = 0.3  # time spent on a median


def winners(data: Tensor, codebook: Tensor, chunk: int) -> None:
    """The nearest neuron of every row (n, d), in a codebook (m, d)."""
    turned, offset = -codebook.T, 0.5 * (codebook**2).sum(dim=1)
    score, best = data.new_empty(chunk, len(codebook)), data.new_empty(chunk)
    index = torch.empty(chunk, dtype=torch.int64)
    for rows in data.split(chunk):
        b = len(rows)
        torch.addmm(offset, rows, turned, out=score[:b])
        torch.min(score[:b], dim=1, out=(best[:b], index[:b]))


def smooth(sums: Tensor) -> Tensor:
    """Sums (x, y, f) times a kernel along the rows and along the columns."""
    x, y, f = sums.shape
    along_rows = (kernel(x) @ sums.reshape(x, -1)).reshape(x, y, f)
    return kernel(y) @ along_rows


def kernel(side: int, sigma: float = 2.0) -> Tensor:
    places = torch.arange(side, dtype=torch.float32)
    return torch.exp((places[:, None] - places).square() / (-2 * sigma**2))


def seconds(act: Callable[[], object]) -> float:
    """Median time of a call, after one that does not count; of three to thirty."""
    start = time.perf_counter()
    act()
    repeats = int(min(30, max(3, SECONDS / (time.perf_counter() - start))))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def epoch(data: Tensor, x: int, y: int) -> float:
    """Seconds of an epoch on data (n, d)."""
    codebook = data[torch.arange(x * y) % len(data)].clone()
    tried = data[:TRIED_ROWS]
    chunk = min(CHUNKS, key=lambda chunk: seconds(lambda: winners(tried, codebook, chunk)))
    sums = torch.rand(x, y, data.shape[1] + 1)
    return seconds(lambda: winners(data, codebook, chunk)) + seconds(lambda: smooth(sums))


def main() -> None:
    source, out, x, y = sys.argv[1:]
    data = torch.from_numpy(np.load(source))
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found[str(threads)] = epoch(data, int(x), int(y))
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
