"""The objects that keep state: maps and their training."""

from somlib.core.base_som import BaseSOM
from somlib.core.growing import GrowingSOM
from somlib.core.hierarchical import HierarchicalSOM
from somlib.core.som import SOM

__all__ = ["SOM", "BaseSOM", "GrowingSOM", "HierarchicalSOM"]
