r"""How strongly a winner pulls the neurons around it, by their distance `r` on the grid.

    gaussian      exp(-r^2 / (2 s^2))
    mexican_hat   (1 - r^2 / (2 s^2)) exp(-r^2 / (2 s^2))      the 2-D Ricker wavelet, peak 1, negative beyond sqrt(2) s
    bubble        1 if r <= s else 0
    triangle      max(0, 1 - r / s)

All take the squared distance, which is what a grid gives exactly, and compute elementwise on whatever device and
dtype it has. A kernel is one record of `KERNELS`; a function that is put into `NEIGHBORHOOD_FUNCTIONS` makes a record
of its own.

What is influence is decided here alone, by `influence`: what a function gives, but none below `FAINTEST`. At r = s the
last bit of sigma says whether a triangle is 0 or 1e-16, and at the zero of the hat it does the same; under the batch
rule, which divides by influence, a neuron with no other would jump to a mean or stay where it is. A radius is compared
with a distance beyond the rounding of both (`BOUNDARY`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.utils.registry import Functions

NeighborhoodFn = Callable[[Tensor, float], Tensor]

# Of the influence 1 of a winner on itself: far above the rounding of float64, and far below what any mean would feel.
# A Gaussian ends there at 7.4 sigma. A product of two such factors is a normal number in float32, too: denormal ones
# are ten times as slow on a CPU, and soon rounded away.
FAINTEST = 2.0**-40
BOUNDARY = 1e-9  # share of a squared radius by which a squared distance may miss it


def influence(function: NeighborhoodFn, squared_distance: Tensor, sigma: float) -> Tensor:
    """What a neighborhood function, or a factor of one, gives, computed in float64; none where it is below rounding.

    Args:
        function: Of `NEIGHBORHOOD_FUNCTIONS`, of `Kernel.factors`, or a user's.
        squared_distance: r^2 on the grid, any shape, in squared cell widths.
        sigma: Radius in cell widths, > 0.

    Returns:
        Influence, shape and dtype of `squared_distance`: 0, or of a size above `FAINTEST`.
    """
    values = function(squared_distance.double(), sigma)
    return torch.nn.functional.hardshrink(values, FAINTEST).to(squared_distance.dtype)


def gaussian(squared_distance: Tensor, sigma: float) -> Tensor:
    """Influence exp(-r^2 / (2 sigma^2)) of a winner on neurons at the given grid distances.

    Args:
        squared_distance: r^2 on the grid, any shape, in squared cell widths.
        sigma: Radius in cell widths, > 0.

    Returns:
        Influence in [0, 1], shape of `squared_distance`: 1 at the winner, 0.61 at one sigma.

    References:
        Kohonen, Self-Organizing Maps, 3rd ed., Springer 2001, ch. 3.
    """
    return torch.exp(-squared_distance / (2 * sigma**2))


def mexican_hat(squared_distance: Tensor, sigma: float) -> Tensor:
    """Influence (1 - r^2 / (2 sigma^2)) exp(-r^2 / (2 sigma^2)): attraction near the winner, repulsion around.

    Args:
        squared_distance: r^2 on the grid, any shape, in squared cell widths.
        sigma: Radius in cell widths, > 0. The sign changes at sqrt(2) sigma.

    Returns:
        Influence in [-exp(-2), 1], shape of `squared_distance`; its integral over the plane is 0.

    References:
        Marr and Hildreth, Theory of edge detection, Proc. R. Soc. B 207, 1980 (the Laplacian of a Gaussian).
    """
    scaled = squared_distance / (2 * sigma**2)
    return (1 - scaled) * torch.exp(-scaled)


def bubble(squared_distance: Tensor, sigma: float) -> Tensor:
    """Influence 1 up to the radius and 0 beyond.

    Args:
        squared_distance: r^2 on the grid, any shape, in squared cell widths.
        sigma: Radius in cell widths, > 0; a neuron at exactly sigma is inside.

    Returns:
        0 or 1, shape and dtype of `squared_distance`.
    """
    return (squared_distance.double() <= sigma**2 * (1 + BOUNDARY)).to(squared_distance.dtype)


def triangle(squared_distance: Tensor, sigma: float) -> Tensor:
    """Influence max(0, 1 - r / sigma), falling in a straight line.

    Args:
        squared_distance: r^2 on the grid, any shape, in squared cell widths.
        sigma: Radius in cell widths, > 0, at which the influence reaches 0.

    Returns:
        Influence in [0, 1], shape of `squared_distance`.
    """
    inside = squared_distance.double() < sigma**2 * (1 - BOUNDARY)
    return torch.where(inside, 1 - squared_distance.sqrt() / sigma, 0)


@dataclass(frozen=True)
class Kernel:
    """A neighborhood function with what the smoothing may use of its form.

    Attributes:
        function: Influence by squared grid distance and sigma.
        factors: Where the influence is a sum of products of a row part and a column part, the list of
            (row function, column function) pairs, each by squared distance along its axis and sigma.
        reach: Distance beyond which the influence is 0, in sigmas; None where it never is.
        signed: Whether the influence can be negative.
    """

    function: NeighborhoodFn
    factors: tuple[tuple[NeighborhoodFn, NeighborhoodFn], ...] = ()
    reach: float | None = None
    signed: bool = False


def _gaussian_moment(squared_distance: Tensor, sigma: float) -> Tensor:
    scaled = squared_distance / (2 * sigma**2)
    return -scaled * torch.exp(-scaled)


KERNELS: dict[str, Kernel] = {
    "gaussian": Kernel(gaussian, factors=((gaussian, gaussian),)),
    # (1 - a - b) e^-a e^-b = e^-a (1 - b) e^-b + (-a e^-a) e^-b, with a and b the row and the column part
    "mexican_hat": Kernel(mexican_hat, factors=((gaussian, mexican_hat), (_gaussian_moment, gaussian)), signed=True),
    "bubble": Kernel(bubble, reach=1.0),
    "triangle": Kernel(triangle, reach=1.0),
}


def kernel_of(function: NeighborhoodFn) -> Kernel:
    """The record of a function of which nothing else is known: it reaches everywhere, and may be negative."""
    return Kernel(function, signed=True)


NEIGHBORHOOD_FUNCTIONS: Functions[NeighborhoodFn] = Functions(KERNELS, kernel_of)
