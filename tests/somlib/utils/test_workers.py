"""Threads of a training: who does what, and what is left of them."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from somlib import SOM
from somlib.utils import workers as module
from somlib.utils.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch has two threads, and any work is worth sharing."""
    monkeypatch.setattr(module, "LEAST_WORK", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def data(n: int = 700, d: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(4).normal(size=(n, d)))


@pytest.mark.parametrize("n", [1, 2, 3, 1_000])
def test_parts_follow_one_another_and_hold_every_row(n: int) -> None:
    workers = Workers(CPU)
    parts = workers.parts(n, 1)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(n))
    assert len(parts) == min(n, 2)
    workers.close()


def test_little_work_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_WORK", 100)
    workers = Workers(CPU)
    assert len(workers.parts(19, 10)) == 1
    assert len(workers.parts(20, 10)) == 2
    workers.close()


def test_results_come_in_the_order_of_the_parts_from_two_threads() -> None:
    workers = Workers(CPU)
    together = threading.Barrier(2, timeout=20)

    def act(i: int, part: str) -> tuple[int, str, int]:
        together.wait()  # passes only if both run at once
        return i, part, threading.get_ident()

    (i, a, here), (j, b, there) = workers.map(act, ["a", "b"])
    assert (i, a, j, b) == (0, "a", 1, "b")
    assert here == threading.get_ident() != there
    workers.close()


def test_an_error_in_another_thread_comes_back() -> None:
    workers = Workers(CPU)

    def act(i: int, part: int) -> int:
        return part // (1 - i)

    with pytest.raises(ZeroDivisionError):
        workers.map(act, [1, 1])
    workers.close()


def test_calls_stay_on_one_thread_while_a_training_works_and_not_in_between() -> None:
    workers = Workers(CPU)
    with workers.working():
        assert torch.get_num_threads() == 1
        with workers.resting():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
        beside = Workers(CPU)  # a second training does not take the 1 of the first for all there is
        assert beside.count == 2
        with beside.working():
            pass
        beside.close()
    assert torch.get_num_threads() == 2
    workers.close()


@pytest.mark.parametrize("algorithm", ["batch", "minibatch"])
@pytest.mark.parametrize("gaps", [False, True])
def test_two_threads_train_the_map_that_one_trains(algorithm: str, gaps: bool) -> None:
    samples = data()
    if gaps:
        samples[::7, 2] = torch.nan
    trained, seen = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        som = SOM(6, 5, 5, algorithm=algorithm, epochs=3, random_seed=1, device="cpu", missing="mask")
        errors = som.fit(samples, verbose=False, on_epoch=lambda _: seen.append(torch.get_num_threads()))
        trained.append((som.weights, torch.tensor(errors)))
        assert torch.get_num_threads() == threads
    assert seen == [1] * 3 + [2] * 3
    assert not any(thread.name.startswith("som-worker") for thread in threading.enumerate())
    (one, errors_of_one), (two, errors_of_two) = trained
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(errors_of_one, errors_of_two, rtol=1e-9, atol=1e-9)


def test_a_training_that_fails_gives_the_threads_back() -> None:
    def fail(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SOM(4, 4, 5, device="cpu").fit(data(), verbose=False, on_epoch=fail)
    assert torch.get_num_threads() == 2
    assert not any(thread.name.startswith("som-worker") for thread in threading.enumerate())
