"""Threads that share the rows of a pass, for work that is made of many small calls.

PyTorch spreads a call over threads by itself, which pays for a large one. A training makes thousands of calls of some
ten microseconds, and waking a thread for each costs more than it saves: with `OMP_WAIT_POLICY=PASSIVE`, which shared
machines want, it made short trainings three times as slow on two threads as on one. So while a training runs, each
call stays on its own thread, and as many threads as PyTorch was given take parts of the rows of a large pass, from the
copy of a chunk to its sums.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")

LEAST_WORK = 2**26  # of a part, in products: about a millisecond; handing it over takes a tenth of that


class Workers:
    """The threads of one training.

    Args:
        device: Where it runs; other devices than the CPU are served by the calling thread.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = _threads_given() if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.count - 1, "som-worker") if self.count > 1 else None

    def close(self) -> None:
        """Let the threads end."""
        if self._pool is not None:
            self._pool.shutdown()

    def parts(self, n: int, work: int) -> list[slice]:
        """Slices of `n` rows that each make so much work, one a thread, as long as each has enough to do."""
        count = max(1, min(self.count, n * work // LEAST_WORK))
        return [slice(a, b) for a, b in pairwise(n * i // count for i in range(count + 1))]

    def map(self, act: Callable[[int, Part], Result], parts: Sequence[Part]) -> list[Result]:
        """The results of `act(i, part)` for each part, the first of them by the calling thread; in their order."""
        if self._pool is None or len(parts) == 1:
            return [act(i, part) for i, part in enumerate(parts)]
        others = [self._pool.submit(act, i, part) for i, part in enumerate(parts) if i]
        return [act(0, parts[0]), *(other.result() for other in others)]

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep each call of PyTorch on its own thread within."""
        if self.count > 1:
            _keep_to_one_thread()
        try:
            yield
        finally:
            if self.count > 1:
                _give_back_threads()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let PyTorch spread its calls again within, for large ones; only inside of `working`."""
        if self.count > 1:
            _give_back_threads()
        try:
            yield
        finally:
            if self.count > 1:
                _keep_to_one_thread()


# PyTorch has one number of threads for the process. Trainings side by side must not take each other's 1 for it.
_lock = threading.Lock()
_working = 0
_given = 1


def _threads_given() -> int:
    with _lock:
        return _given if _working else torch.get_num_threads()


def _keep_to_one_thread() -> None:
    global _working, _given
    with _lock:
        if not _working:
            _given = torch.get_num_threads()
        _working += 1
        torch.set_num_threads(1)


def _give_back_threads() -> None:
    global _working
    with _lock:
        _working -= 1
        torch.set_num_threads(_given)
