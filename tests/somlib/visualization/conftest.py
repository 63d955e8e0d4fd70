"""Small maps to draw, and the promise that drawing leaves matplotlib's global state alone."""

from collections.abc import Iterator

import matplotlib
import pytest
import torch
from matplotlib import pyplot

from somlib import SOM
from tests.somlib.visualization.reading import GRIDS


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
    """A map of 6 x 5 neurons and 3 features on each of the four grids, the features rising along row and column."""
    topology, pbc = request.param
    som = SOM(6, 5, 3, topology=topology, pbc=pbc)
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    som.weights = torch.stack((rows, columns, rows + columns), dim=-1)
    return som


@pytest.fixture
def data() -> torch.Tensor:
    """Samples on the neurons (0, 0), twice, (0, 4), (5, 0) and, three times, (3, 2)."""
    places = torch.tensor([(0, 0), (0, 0), (0, 4), (5, 0), (3, 2), (3, 2), (3, 2)], dtype=torch.float32)
    return torch.column_stack((places, places.sum(dim=1)))
