"""Maps with square cells."""

import numpy as np

from somlib.utils.grid import Topology
from somlib.visualization.base_visualizer import BaseVisualizer
from somlib.visualization.lattice import Floats

# A square of side 1.
SQUARE: Floats = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)])


class RectangularVisualizer(BaseVisualizer):
    """Figures of a rectangular map; see `BaseVisualizer`, which draws them."""

    topology: Topology = "rectangular"
    outline: Floats = SQUARE
