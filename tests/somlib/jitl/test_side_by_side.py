import threading
import time

import pytest
import torch
from threadpoolctl import threadpool_info

from somlib.jitl.side_by_side import cores, side_by_side, step_counter


@pytest.mark.parametrize("jobs", [1, 2, 5, -1])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.01 * (5 - item))  # the last is done first
        return item**2

    assert side_by_side(slow, range(5), jobs) == [0, 1, 4, 9, 16]
    assert side_by_side(slow, [], jobs) == []


def test_two_items_are_worked_at_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=30)  # breaks, unless two wait for each other
    assert side_by_side(lambda item: (both.wait(), item)[1], [3, 4], 2) == [3, 4]


def test_one_job_works_where_it_was_called() -> None:
    assert side_by_side(lambda _: threading.current_thread(), [0, 1], 1) == [threading.current_thread()] * 2


def test_each_of_several_computes_with_one_thread_and_the_caller_keeps_its_own() -> None:
    def openmp(_: int) -> set[int]:
        torch.ones(2) @ torch.ones(2)
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}

    before = [pool["num_threads"] for pool in threadpool_info()]
    assert side_by_side(openmp, [0, 1, 2], 2) == [{1}] * 3
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_an_error_is_raised_and_what_has_not_begun_is_left() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.05)
        if item == 0:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        side_by_side(work, range(50), 2)
    assert len(begun) < 50


def test_steps_are_counted_up_to_their_number() -> None:
    heard = []
    step = step_counter(lambda *event: heard.append(event), 2)
    step("a")
    step("b")
    assert heard == [(1, 2, "a"), (2, 2, "b")]
    step_counter(None, 1)("nobody hears it")


def test_there_is_a_core() -> None:
    assert cores() >= 1
