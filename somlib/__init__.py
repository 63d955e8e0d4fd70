"""Self-organizing maps on PyTorch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "SOM": "core",
    "BaseSOM": "core",
    "GrowingSOM": "core",
    "HierarchicalSOM": "core",
    "SOMConfig": "configs",
    "SOMVisualizer": "visualization",
    "VisualizationConfig": "visualization",
}
_PACKAGES = ("configs", "core", "errors", "estimators", "jitl", "utils", "visualization")


def __getattr__(name: str) -> object:
    """Import what is asked for: settings need no PyTorch, and maps no Matplotlib; each takes a second to import."""
    if name in _HOMES:
        return getattr(import_module(f"somlib.{_HOMES[name]}"), name)
    if name in _PACKAGES:
        return import_module(f"somlib.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
