"""Figures of maps: `SOMVisualizer` draws all of them."""

from somlib.visualization.base import SOMVisualizer
from somlib.visualization.base_visualizer import BaseVisualizer
from somlib.visualization.clustering import ClusteringVisualizer
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.hexagonal import HexagonalVisualizer
from somlib.visualization.rectangular import RectangularVisualizer

__all__ = [
    "BaseVisualizer",
    "ClusteringVisualizer",
    "HexagonalVisualizer",
    "RectangularVisualizer",
    "SOMVisualizer",
    "VisualizationConfig",
]
