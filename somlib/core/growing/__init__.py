"""Maps that find their own size."""

from somlib.core.growing.growing_config import GrowingSOMConfig
from somlib.core.growing.growing_som import GrowingSOM, GrowthStep

__all__ = ["GrowingSOM", "GrowingSOMConfig", "GrowthStep"]
