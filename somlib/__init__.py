"""Self-organizing maps on PyTorch."""

from somlib.configs import SOMConfig
from somlib.core import SOM, BaseSOM

__all__ = ["SOM", "BaseSOM", "SOMConfig"]
