"""Maps with hexagonal cells."""

import numpy as np

from somlib.utils.grid import Topology
from somlib.visualization.base_visualizer import BaseVisualizer
from somlib.visualization.lattice import Floats

# A regular hexagon of width 1 that stands on a corner.
HEXAGON: Floats = np.array([(np.cos(turn), np.sin(turn)) for turn in np.arange(6) * np.pi / 3]) / np.sqrt(3)


class HexagonalVisualizer(BaseVisualizer):
    """Figures of a hexagonal map; see `BaseVisualizer`, which draws them."""

    topology: Topology = "hexagonal"
    outline: Floats = HEXAGON
