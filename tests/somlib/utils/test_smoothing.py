"""Smoothing over the grid, against the product with the dense matrix of the kernel that it never builds."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from somlib.utils.grid import Grid
from somlib.utils.neighborhood import KERNELS as BY_NAME
from somlib.utils.smoothing import Smoother
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, KERNELS, SMALL, Lattice

CPU = torch.device("cpu")
SIGMAS = [
    0.4,
    1.0,
    math.sqrt(2),
    math.sqrt(3),
    2.0,
    3.5,
    30.0,
]  # whole and irrational distances, less and more than all
MEMORY = """
import re, pathlib, torch
from somlib import SOM
from somlib.utils.neighborhood import KERNELS
from somlib.utils.smoothing import Smoother

def status(field):
    return 1024 * int(re.search(field + r":\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
before = status("VmRSS")
for topology in ("rectangular", "hexagonal"):
    for name, kernel in KERNELS.items():
        som = SOM(200, 200, 16, topology=topology, pbc=True, neighborhood_function=name, device="cpu")
        Smoother(som.grid, som.weights.device, som.weights.dtype).smooth(som.codebook, kernel, 3.0)
print(status("VmHWM") - before)
"""


def values_on(lattice: Lattice) -> np.ndarray:
    return np.random.default_rng(lattice.m).normal(size=(lattice.m, 3))


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("name", KERNELS)
def test_smoothing_is_the_product_with_the_matrix_of_the_kernel(name: str, sigma: float) -> None:
    for lattice in (*SMALL, Lattice(9, 7, False, True), Lattice(8, 9, True, True), Lattice(9, 8, True, False)):
        values = values_on(lattice)
        smoother = Smoother(Grid(**lattice.arguments), CPU, torch.float64)
        smoothed = smoother.smooth(torch.from_numpy(values), BY_NAME[name], sigma)
        expected = oracle.kernel_matrix(lattice, name, sigma) @ values
        np.testing.assert_allclose(smoothed.numpy(), expected, rtol=0, atol=1e-10, err_msg=str(lattice))


@pytest.mark.parametrize("lattice", FOUR, ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_smoothing_in_float32_differs_by_rounding_only(name: str, lattice: Lattice) -> None:
    smoother = Smoother(Grid(**lattice.arguments), CPU, torch.float32)
    for sigma in SIGMAS:
        values = values_on(lattice)
        smoothed = smoother.smooth(torch.from_numpy(values).float(), BY_NAME[name], sigma)
        kernel = oracle.kernel_matrix(lattice, name, sigma)
        assert smoothed.dtype == torch.float32
        assert np.all(np.abs(smoothed.numpy() - kernel @ values) <= 2e-6 * (np.abs(kernel) @ np.abs(values)) + 1e-30)


@pytest.mark.parametrize("hexagonal", [False, True])
@pytest.mark.parametrize("name", [name for name, kernel in BY_NAME.items() if kernel.factors])
def test_no_factor_of_a_kernel_nor_product_of_two_is_a_denormal_number(name: str, hexagonal: bool) -> None:
    tiny = torch.finfo(torch.float32).tiny
    lattice = Lattice(40, 40, hexagonal, False)
    smoother = Smoother(Grid(**lattice.arguments), CPU, torch.float32)
    values = torch.zeros(lattice.m, 1)
    values[0] = 1
    below = False
    for sigma in np.geomspace(0.05, 40, 60):
        smoothed = smoother.smooth(values, BY_NAME[name], float(sigma))
        for factor in (factor for factors in smoother._kept.values() for factor in factors):
            assert bool((factor[factor != 0].square() >= tiny).all())
        if name == "gaussian":  # influence on every neuron, one product of two factors each
            assert bool((smoothed[smoothed != 0] >= tiny).all())
        exact = torch.exp(-(torch.arange(40.0, dtype=torch.float64) ** 2) / (2 * sigma**2)).float()
        below |= bool(((exact > 0) & (exact < tiny)).any())
    assert below  # there were some to be removed


@pytest.mark.parametrize("name", KERNELS)
def test_one_smoother_serves_every_sigma_and_leaves_its_values(name: str) -> None:
    smoother = Smoother(Grid(4, 5, "hexagonal", pbc=True), CPU, torch.float64)
    values = torch.from_numpy(values_on(Lattice(4, 5, True, True)))
    before = values.clone()
    wide = smoother.smooth(values, BY_NAME[name], 4.0)
    narrow = smoother.smooth(values, BY_NAME[name], 0.9)
    assert torch.equal(values, before)
    assert not torch.allclose(wide, narrow)
    assert torch.equal(smoother.smooth(values, BY_NAME[name], 4.0), wide)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from Linux's /proc")
def test_a_large_map_is_built_and_smoothed_without_a_matrix_of_all_pairs() -> None:
    """200 x 200 neurons: 6.4 GB in float32 for all pairs; the codebook takes 2.6 MB."""
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 200e6
