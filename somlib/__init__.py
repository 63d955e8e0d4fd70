"""Self-organizing maps on PyTorch."""

from importlib import import_module
from typing import TYPE_CHECKING

from somlib.configs import SOMConfig
from somlib.core import SOM, BaseSOM, GrowingSOM, HierarchicalSOM

if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    """Import what draws when it is asked for: Matplotlib takes longer to import than all else but PyTorch."""
    if name in ("SOMVisualizer", "VisualizationConfig"):
        return getattr(import_module("somlib.visualization"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
