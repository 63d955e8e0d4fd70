"""Settings, checked when they are made."""

from somlib.configs.som_config import SOMConfig

__all__ = ["SOMConfig"]
