"""What a training of a large set takes on a CUDA device, and what bounds it.

    python benchmarks/cuda.py

480 000 rows of 34 features (six hidden ones, mixed, and noise), batch maps of 30 x 30 and 100 x 100, 10 epochs. Prints
the card; of each map the seconds of a fit (median of three after one that compiles), the peak of device memory beyond
the data, milliseconds of one search by the fused kernel and by plain torch, and the share of rows that the kernel left
open; then a profile of one fit: how long the device was busy, how many kernels were launched at what cost for the host,
how often the host waited for the device, and the kernels that took longest.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from somlib import SOM
from somlib.utils.distances import Metric
from somlib.utils.fused_search import FusedSearch
from somlib.utils.search import TorchSearch, make_search

ROWS, FEATURES, HIDDEN, EPOCHS = 480_000, 34, 6, 10
SIDES = (30, 100)
RUNS = 3
SHOWN = 12  # kernels of the profile


def samples() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, HIDDEN, generator=generator)
    mixed = hidden @ torch.randn(HIDDEN, FEATURES, generator=generator)
    return (mixed + 0.3 * torch.randn(ROWS, FEATURES, generator=generator)).cuda()


def seconds(call: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def fit(data: Tensor, side: int) -> SOM:
    som = SOM(side, side, FEATURES, algorithm="batch", epochs=EPOCHS, random_seed=0, device="cuda")
    som.initialize_weights(data)
    som.fit(data, verbose=False)
    return som


def measure_fit(data: Tensor, side: int) -> SOM:
    som = fit(data, side)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    taken = statistics.median(seconds(partial(fit, data, side)) for _ in range(RUNS))
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    print(f"{side} x {side}: {taken:.3f} s for {EPOCHS} epochs, {peak:.0f} MiB beyond the data", flush=True)
    return som


def measure_search(data: Tensor, som: SOM) -> None:
    codebook, metric = som.weights.detach().flatten(0, 1), Metric("euclidean")
    plain = TorchSearch(codebook, metric)
    taken = {"plain torch": plain}
    search = make_search(codebook, metric)
    if isinstance(search, FusedSearch):
        taken = {"fused": search, **taken}
        print(f"  left open by the kernel: {100 * share_left_open(search, data):.2f} % of the rows")
    for name, each in taken.items():
        call = partial(each.nearest, data, distances=False)
        call()
        print(f"  search, {name}: {1000 * statistics.median(seconds(call) for _ in range(RUNS)):.2f} ms", flush=True)


def share_left_open(search: FusedSearch, data: Tensor) -> float:
    """The share of rows that go to the exact search."""
    rows = 0
    exact = search._exact.nearest

    def counted(data: Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal rows
        rows += len(data)
        return exact(data, *args, **kwargs)

    search._exact.nearest = counted  # type: ignore[method-assign]
    search.nearest(data, distances=False)
    del search._exact.nearest
    return rows / len(data)


def show_profile(data: Tensor, side: int) -> None:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        taken = seconds(partial(fit, data, side))
    events = profiled.key_averages()
    busy = sum(event.self_device_time_total for event in events) / 1e6
    print(f"profile of {side} x {side}: {taken:.3f} s with the profiler, device busy {busy:.3f} s")
    for name, what in (("LaunchKernel", "launches"), ("Synchronize", "waits of the host"), ("Memcpy", "copies")):
        found = [event for event in events if event.key.startswith("cu") and name in event.key]
        count, host = sum(event.count for event in found), sum(event.self_cpu_time_total for event in found)
        print(f"  {what}: {count:,}, {host / 1000:.2f} ms of the host")
    print(events.table(sort_by="self_device_time_total", row_limit=SHOWN, max_name_column_width=60))


def main() -> None:
    if not torch.cuda.is_available():
        print("benchmarks/cuda.py needs a CUDA device, and PyTorch finds none here: nothing was measured.")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    data = samples()
    for side in SIDES:
        measure_search(data, measure_fit(data, side))
        show_profile(data, side)


if __name__ == "__main__":
    main()
