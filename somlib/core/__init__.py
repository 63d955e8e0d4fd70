"""The objects that keep state: maps and their training."""

from somlib.core.base_som import BaseSOM
from somlib.core.som import SOM

__all__ = ["SOM", "BaseSOM"]
