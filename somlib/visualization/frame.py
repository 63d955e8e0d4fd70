"""What all figures of one map share: its grid, its cells, and the settings."""

from dataclasses import dataclass

from somlib.utils.grid import Grid
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.lattice import Floats, Lattice
from somlib.visualization.panel import MapPanel
from somlib.visualization.sheet import MapSheet


@dataclass(frozen=True, eq=False)
class MapFrame:
    """A map to draw on.

    Attributes:
        grid: Where its neurons are.
        outline: Corners of a cell around its center, (row, column) in cell widths, in order, shape (c, 2).
        config: How figures look.
    """

    grid: Grid
    outline: Floats
    config: VisualizationConfig

    @property
    def lattice(self) -> Lattice:
        """The cells, in flat order."""
        return Lattice.of(self.grid, self.outline)

    def sheet(self, count: int = 1, lattice: Lattice | None = None, *, bars: bool = True) -> MapSheet:
        """A figure with panels for `count` maps, with rows and columns numbered where there is room."""
        sheet = MapSheet.of(count, self.lattice if lattice is None else lattice, self.config, bars=bars)
        if sheet.numbered:
            for panel in sheet.panels:
                panel.number(self.grid, labels=sheet.single)
        return sheet

    def single(self, lattice: Lattice | None = None, *, bars: bool = True) -> tuple[MapSheet, MapPanel]:
        """A figure for one map, and its panel."""
        sheet = self.sheet(1, lattice, bars=bars)
        return sheet, sheet.panels[0]

    def subtitle(self, *notes: str) -> str:
        """The notes, then size and kind of the map."""
        kind = f"{self.grid.x} × {self.grid.y} {self.grid.topology}"
        kind += " torus (dashed: opposite edges join)" if self.grid.pbc else ""
        return "  ·  ".join([*(note for note in notes if note), kind])
