"""Maps below the neurons of maps."""

from somlib.core.hierarchical.hierarchical_config import HierarchicalSOMConfig
from somlib.core.hierarchical.hierarchical_som import HierarchicalSOM
from somlib.core.hierarchical.tree import Leaf, MapNode

__all__ = ["HierarchicalSOM", "HierarchicalSOMConfig", "Leaf", "MapNode"]
