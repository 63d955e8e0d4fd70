"""Maps with hexagonal cells."""

import numpy as np

from somlib.utils.grid import Topology
from somlib.visualization.base_visualizer import BaseVisualizer
from somlib.visualization.lattice import Floats


class HexagonalVisualizer(BaseVisualizer):
    """Figures of a hexagonal map; see `BaseVisualizer`, which draws them."""

    topology: Topology = "hexagonal"

    @property
    def outline(self) -> Floats:
        """A regular hexagon of width 1 that stands on a corner."""
        angles = np.arange(6) * np.pi / 3
        return np.asarray(np.stack((np.cos(angles), np.sin(angles)), axis=1) / np.sqrt(3))
