"""The four neighborhood functions, against their formulas."""

import math

import pytest
import torch

from somlib.configs.som_config import SOMConfig
from somlib.utils.grid import Grid
from somlib.utils.neighborhood import KERNELS as BY_NAME
from somlib.utils.neighborhood import NEIGHBORHOOD_FUNCTIONS, bubble, gaussian, influence, mexican_hat, triangle
from tests.somlib import oracle
from tests.somlib.oracle import KERNELS

RADII = [0.0, 0.25, 0.5, 1.0, math.sqrt(2), math.sqrt(3), 2.0, 2.5, 3.0, 7.0, 40.0]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.7, 6.0])
@pytest.mark.parametrize("name", KERNELS)
def test_influence_matches_its_formula(name: str, sigma: float) -> None:
    squared = torch.tensor([r * r for r in RADII], dtype=torch.float64)
    expected = torch.tensor([oracle.influence(name, r, sigma) for r in RADII], dtype=torch.float64)
    torch.testing.assert_close(NEIGHBORHOOD_FUNCTIONS[name](squared, sigma), expected, rtol=1e-12, atol=1e-15)


def test_influence_by_numbers_worked_by_hand() -> None:
    four = torch.tensor([4.0], dtype=torch.float64)  # r = 2
    assert float(gaussian(four, 2.0)) == pytest.approx(0.6065306597)  # exp(-1/2)
    assert float(mexican_hat(four, 1.0)) == pytest.approx(-0.1353352832)  # (1 - 2) exp(-2), its lowest value
    assert float(triangle(four, 8.0)) == 0.75
    assert float(bubble(four, 2.0)) == 1.0
    assert float(bubble(four, 1.99)) == 0.0


@pytest.mark.parametrize("name", KERNELS)
def test_influence_is_one_at_the_winner(name: str) -> None:
    assert float(NEIGHBORHOOD_FUNCTIONS[name](torch.zeros(1), 0.7)) == 1.0


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_mexican_hat_changes_sign_at_root_two_sigma(sigma: float) -> None:
    turn = 2 * sigma**2
    squared = torch.tensor([0.99 * turn, turn, 1.01 * turn], dtype=torch.float64)
    inside, on, outside = mexican_hat(squared, sigma).tolist()
    assert inside > 0
    assert on == pytest.approx(0, abs=1e-15)
    assert outside < 0


def test_mexican_hat_attracts_as_much_as_it_repels_over_the_plane() -> None:
    r = torch.linspace(0, 12, 120_001, dtype=torch.float64)
    ring = mexican_hat(r.square(), 1.0) * 2 * math.pi * r
    assert float(torch.trapezoid(ring, r)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sigma", [1, 2, 3])
def test_bubble_includes_hexagons_at_exactly_sigma(sigma: int) -> None:
    """Whole distances run along six directions; four of them pass through the irrational row height."""
    grid = Grid(9, 9, "hexagonal")
    inside = bubble(grid.squared_distances_from(40), float(sigma)) > 0
    assert inside.tolist() == [r <= sigma + 1e-9 for r in oracle.distances(oracle.Lattice(9, 9, True, False))[40]]
    assert int(inside.sum()) == {1: 7, 2: 19, 3: 37}[sigma]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", range(-3, 4))
def test_what_is_influence_does_not_hang_on_the_last_bits_of_sigma(bits: int, dtype: torch.dtype) -> None:
    """At whole quarters, which is what squared distances on a grid are; a hat is 0 at r^2 = 2 sigma^2."""
    for quarters in range(1, 400):
        squared = torch.tensor([quarters / 4], dtype=dtype)
        sigma = math.sqrt(quarters / 4) * (1 + bits * 2.0**-52)
        assert float(influence(bubble, squared, sigma)) == 1
        assert float(influence(triangle, squared, sigma)) == 0
        assert float(influence(mexican_hat, squared, sigma / math.sqrt(2))) == 0


def test_a_function_of_a_user_has_no_influence_below_rounding_either() -> None:
    def cone(squared: torch.Tensor, sigma: float) -> torch.Tensor:
        return (1 - squared.sqrt() / sigma).clamp_min(0)

    crumbs = [float(cone(torch.tensor([k / 4]).double(), math.sqrt(k / 4) * (1 + 2.0**-52))) for k in range(1, 50)]
    assert any(crumbs)  # 1e-16
    for k in range(1, 50):
        assert float(influence(cone, torch.tensor([k / 4]).double(), math.sqrt(k / 4) * (1 + 2.0**-52))) == 0


def test_a_gaussian_ends_where_float64_would_not_feel_it() -> None:
    squared = torch.tensor([7.4, 7.5], dtype=torch.float64).square()
    near, far = influence(gaussian, squared, 1.0).tolist()
    assert near == pytest.approx(math.exp(-27.38))
    assert far == 0
    assert float(gaussian(squared[1:], 1.0)) > 0  # the function itself is the formula


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_influence_keeps_shape_and_dtype_and_leaves_its_argument(name: str, dtype: torch.dtype) -> None:
    squared = torch.arange(6, dtype=dtype).reshape(2, 3)
    influence = NEIGHBORHOOD_FUNCTIONS[name](squared, 1.5)
    assert (influence.shape, influence.dtype) == (squared.shape, dtype)
    assert squared.flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_every_configurable_name_has_its_function_and_kernel() -> None:
    named = SOMConfig.model_json_schema()["properties"]["neighborhood_function"]["enum"]
    assert list(NEIGHBORHOOD_FUNCTIONS) == list(BY_NAME) == named
    assert all(BY_NAME[name].function is NEIGHBORHOOD_FUNCTIONS[name] for name in named)


@pytest.mark.parametrize("name", [name for name in KERNELS if BY_NAME[name].factors])
def test_factors_of_rows_and_columns_multiply_to_the_influence(name: str) -> None:
    kernel, sigma = BY_NAME[name], 1.3
    rows, columns = torch.arange(12, dtype=torch.float64)[:, None], torch.arange(9, dtype=torch.float64)
    product = sum((row(rows, sigma) * column(columns, sigma) for row, column in kernel.factors), torch.zeros(()))
    torch.testing.assert_close(product, kernel.function(rows + columns, sigma), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_state_their_reach_and_their_sign_truly(name: str) -> None:
    kernel, sigma = BY_NAME[name], 2.0
    r = torch.linspace(0, 20, 2_001, dtype=torch.float64)
    influence = kernel.function(r.square(), sigma)
    assert bool((influence < 0).any()) == kernel.signed
    if kernel.reach is not None:
        assert bool((influence[r > kernel.reach * sigma + 1e-6] == 0).all())
