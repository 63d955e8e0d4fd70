"""Small maps to draw, and the promise that drawing leaves matplotlib's global state alone."""

from collections.abc import Iterator

import matplotlib
import pytest
import torch
from matplotlib import pyplot

from somlib import SOM
from tests.somlib.visualization.reading import GRIDS, rising_map, samples_on_neurons


@pytest.fixture(autouse=True)
def global_state_untouched() -> Iterator[None]:
    """No test of this folder may open a pyplot figure, change a setting or choose a backend."""
    settings, figures, backend = dict(matplotlib.rcParams), pyplot.get_fignums(), matplotlib.get_backend()
    yield
    assert dict(matplotlib.rcParams) == settings
    assert pyplot.get_fignums() == figures
    assert matplotlib.get_backend() == backend


@pytest.fixture(params=GRIDS, ids=lambda grid: f"{grid[0]}-{'torus' if grid[1] else 'flat'}")
def som(request: pytest.FixtureRequest) -> SOM:
    """A map of 6 x 5 neurons on each of the four grids."""
    return rising_map(*request.param)


@pytest.fixture
def data() -> torch.Tensor:
    """Samples on the neurons (0, 0), twice, (0, 4), (5, 0) and, three times, (3, 2)."""
    return samples_on_neurons()
