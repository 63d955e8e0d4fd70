"""The kernel against sorted scores in float64: on the device where there is one, else in Triton's interpreter.

The interpreter multiplies in plain float32 whatever precision is asked for: what 3xTF32 rounds is tested beside its
bound, in `test_fused_search.py`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from somlib.utils import fused_search
from somlib.utils.fused_search import NEURONS, ROWS, WARPS, features_at_once, ranked

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INFINITY = float("inf")
SIZES = [  # rows, neurons, features
    (1, 1, 1),
    (5, 2, 1),
    (ROWS + 1, NEURONS + 1, 3),
    (ROWS, 2 * NEURONS, 16),
    (70, 3 * NEURONS - 1, 33),
    (40, 50, 65),
    (20, 70, 300),
]


def whole(high: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed)).float()


def on_device(points: Tensor, neurons: Tensor, half_squares: Tensor, k: int) -> tuple[Tensor, Tensor]:
    value, index = ranked(points.to(DEVICE), neurons.to(DEVICE), half_squares.to(DEVICE), k)
    return value.cpu(), index.cpu()


def assert_ranked(points: Tensor, neurons: Tensor, half_squares: Tensor, k: int) -> None:
    """Whole numbers, which no arithmetic rounds, rank as a stable sort ranks them."""
    scores = half_squares.double() - points.double() @ neurons.double().T
    expected = torch.nn.functional.pad(scores, (0, k + 1), value=INFINITY).sort(dim=1, stable=True)
    value, index = on_device(points, neurons, half_squares, k)
    assert torch.equal(value.double(), expected.values[:, : k + 1])
    exists = torch.isfinite(value[:, :k])
    assert torch.equal(index[exists], expected.indices[:, :k][exists])


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_scores_rank_as_a_stable_sort_ranks_them_ties_and_duplicates_included(n: int, m: int, d: int, k: int) -> None:
    neurons = whole(4, m, d, seed=1)
    neurons[m // 2 :] = neurons[: m - m // 2].clone()
    assert_ranked(whole(4, n, d), neurons, neurons.square().sum(dim=1) / 2, k)


@pytest.mark.parametrize("k", [1, 2])
def test_the_padding_of_tiles_never_wins(k: int) -> None:
    points, neurons = -1 - whole(3, 9, 3), 50 + whole(3, 5, 3, seed=1)  # a neuron of zeros would be the nearest by far
    assert_ranked(points, neurons, neurons.square().sum(dim=1) / 2, k)


@pytest.mark.parametrize("k", [1, 2])
def test_neurons_of_infinite_score_rank_nowhere(k: int) -> None:
    half_squares = torch.full((40,), INFINITY)
    assert bool(torch.isinf(on_device(whole(3, 5, 2), whole(3, 40, 2), half_squares, k)[0]).all())
    half_squares[37] = 1.0
    value, index = on_device(whole(3, 5, 2), torch.zeros(40, 2), half_squares, k)
    assert index[:, 0].tolist() == [37] * 5
    assert value[:, 0].tolist() == [1.0] * 5
    assert bool(torch.isinf(value[:, 1:]).all())


def test_a_row_of_nan_leaves_the_others_alone() -> None:
    points, neurons = whole(4, 6, 3), whole(4, 40, 3, seed=1)
    half_squares = neurons.square().sum(dim=1) / 2
    expected = on_device(points, neurons, half_squares, 2)
    points[2] = float("nan")
    found = on_device(points, neurons, half_squares, 2)
    assert bool(torch.isinf(found[0][2]).all())
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[[0, 1, 3, 4, 5]], other[[0, 1, 3, 4, 5]])


COMPILE = """
import re, subprocess, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fused_kernel import rank_neurons  # as a file of its own, which spares the import of all else

rows, neurons, warps, folder = (*map(int, sys.argv[1:4]), sys.argv[4])
for capability, d, features in ((80, 60, 64), (90, 300, 32)):
    types = dict.fromkeys(("points", "neurons", "half_squares", "value"), "*fp32")
    types |= {"index": "*i64", "n": "i32", "m": "i32"}
    constants = {"D": d, "WINNERS": 2, "ROWS": rows, "NEURONS": neurons, "FEATURES": features}
    source = ASTSource(
        fn=rank_neurons,
        signature=types | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        attrs={(place,): [["tt.divisibility", 16]] for place in range(5)},
    )
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    assert re.search(r"mma[a-z0-9_.]*tf32", kernel.asm["ptx"]), "no tensor core"
    with open(f"{folder}/kernel.cubin", "wb") as file:
        file.write(kernel.asm["cubin"])
    tool = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    assert re.search(r"STACK:0 .* LOCAL:0", usage), usage
"""


def test_the_kernel_compiles_for_tensor_cores_and_spills_no_register(tmp_path: Path) -> None:
    assert (features_at_once(60), features_at_once(300)) == (64, 32)
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    folder = str(Path(fused_search.__file__).parent)
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE, str(ROWS), str(NEURONS), str(WARPS), str(tmp_path)],
        env=plain | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
