"""Which search backend is the faster, and does it find the same winners?

    python benchmarks/search.py

One thread; rows, neurons and features as listed; data and codebook of independent normal numbers. Prints a Markdown
table: milliseconds of CPU of one call (median of seven, the backends in turn), and the share of equal winners.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import faiss
import torch

from somlib.utils.distances import Metric
from somlib.utils.search import make_search

CASES = [
    # rows, features, neurons, winners
    (4_000, 16, 375, 1),
    (16_000, 4, 375, 1),
    (16_000, 16, 375, 1),
    (16_000, 300, 375, 1),
    (4_000, 16, 2_500, 1),
    (16_000, 4, 2_500, 1),
    (16_000, 8, 2_500, 1),
    (16_000, 16, 2_500, 1),
    (16_000, 16, 2_500, 2),
    (16_000, 32, 2_500, 1),
    (16_000, 32, 2_500, 2),
    (16_000, 64, 2_500, 1),
    (16_000, 128, 2_500, 1),
    (16_000, 32, 1_000, 1),
    (16_000, 64, 6_300, 1),
    (16_000, 16, 6_300, 1),
    (65_536, 16, 6_300, 1),
    (16_000, 16, 40_000, 1),
]
RUNS = 7


def milliseconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    print("| rows | features | neurons | winners | torch ms | faiss ms | faiss_ivf ms | faiss / torch | equal (ivf) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for n, d, m, k in CASES:
        generator = torch.Generator().manual_seed(1)
        data, codebook = torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)
        searches = {name: make_search(codebook, Metric("euclidean"), name) for name in ("torch", "faiss", "faiss_ivf")}
        found = {name: search.nearest(data, k, distances=False).index[:, 0] for name, search in searches.items()}
        times: dict[str, list[float]] = {name: [] for name in searches}
        for _ in range(RUNS):
            for name, search in searches.items():
                times[name].append(milliseconds(partial(search.nearest, data, k, distances=False)))
        t = {name: statistics.median(values) for name, values in times.items()}
        same = {name: float((index == found["torch"]).double().mean()) for name, index in found.items()}
        print(
            f"| {n:,} | {d} | {m:,} | {k} | {t['torch']:.1f} | {t['faiss']:.1f} | {t['faiss_ivf']:.1f} "
            f"| {t['faiss'] / t['torch']:.2f} | {same['faiss']:.4f} ({same['faiss_ivf']:.4f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
