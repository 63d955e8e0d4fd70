"""Work in several threads, each of which computes with one."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from numbers import Integral
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from somlib.errors import ArgumentError
from somlib.utils.cores import cores

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Sequence[T], jobs: int) -> list[R]:
    """What `work` makes of each item, `jobs` at a time; -1 takes as many as there are cores.

    With one job the work is done here, by as many threads as it takes itself. With more, each item gets one thread, and
    none of OpenMP beside it: number of threads and order of the work change no result. The first error is raised, once
    what had begun by then is done.
    """
    jobs = min(cores() if jobs == -1 else jobs, len(items))
    if jobs <= 1:
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(jobs, "side-by-side", initializer=_alone)
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)


def step_counter(on_step: Callable[[int, int, str], None] | None, of: int) -> Callable[[str], None]:
    """Calls `on_step` with the numbers of steps done and of all steps, and the name of the last; from any thread."""
    numbers = count(1)

    def step(name: str) -> None:
        number = next(numbers)
        if on_step is not None:
            on_step(number, of, name)

    return step


def require_jobs(jobs: Any) -> None:
    """Refuse what is no number of jobs.

    Raises:
        ArgumentError: Neither a whole number of at least 1, nor -1, nor None.
    """
    if jobs is not None and not (isinstance(jobs, Integral) and (int(jobs) >= 1 or int(jobs) == -1)):
        raise ArgumentError(f"n_jobs must be a whole number of at least 1, -1 or None, got {jobs!r}")


def _alone() -> None:
    """Let what this thread computes stay in it: OpenMP keeps the number of its threads for each thread apart."""
    threadpool_limits(1, user_api="openmp")
