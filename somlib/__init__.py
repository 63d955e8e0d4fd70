"""Self-organizing maps on PyTorch."""

from somlib.configs import SOMConfig
from somlib.core import SOM, BaseSOM, GrowingSOM, HierarchicalSOM
from somlib.visualization import SOMVisualizer, VisualizationConfig

__all__ = [
    "SOM",
    "BaseSOM",
    "GrowingSOM",
    "HierarchicalSOM",
    "SOMConfig",
    "SOMVisualizer",
    "VisualizationConfig",
]
