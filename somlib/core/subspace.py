r"""Where short steps look at wide data: its few leading axes.

While a neighborhood is wide, the neurons of a batch map are means over much of the data and lie close to the few axes
along which it varies most. A search among 300 features then finds nearly the winners that one among 32 coordinates on
these axes finds, at several times the cost. So the short steps of a progressive training run in the coordinates

    z = P^T (x - c),    P with orthonormal columns (d, 32), the leading axes of some rows,

and the last ones on the features themselves. Means over winners are linear, so what is known of the rows moves between
the two as it is: sums per winner into the coordinates by P^T, a codebook out of them by P. What it costs in quality is
measured in benchmarks/README.md, on data without any such axes too.

References:
    Halko, Martinsson, Tropp, Finding structure with randomness, SIAM Review 53, 2011, algorithm 4.4 (the axes).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.core.rule import TrainingSet
from somlib.core.streamed import StreamedRows
from somlib.utils.training import WinnerSums
from somlib.utils.winners import row_chunks

AXES = 32
FEWEST_FEATURES = 4 * AXES  # below, the search does not get cheap enough to pay for it
ASKED_ROWS = 1_024  # that the axes come from
POWERS = 3  # products with the covariance; each brings out the leading axes more
ENTRIES = 2**17  # of rows projected at a time: half a megabyte


@dataclass(frozen=True)
class Subspace:
    """Coordinates on a few axes through the center of the data.

    Attributes:
        axes: Orthonormal columns, shape (d, r).
        center: Where they cross, shape (d,).
    """

    axes: Tensor
    center: Tensor

    @classmethod
    def of(cls, rows: TrainingSet | StreamedRows, generator: torch.Generator) -> "Subspace":
        """The leading axes of complete rows, estimated from some of them.

        Args:
            rows: Of more than `AXES` features.
            generator: Chooses the rows, and where the iteration starts; on the CPU.
        """
        n, d = rows.shape
        chosen = torch.randint(n, (min(n, ASKED_ROWS),), generator=generator)
        asked = rows.taken(chosen).data - rows.center
        axes = torch.randn(d, AXES, generator=generator, dtype=asked.dtype).to(asked.device)
        for _ in range(POWERS):
            axes = torch.linalg.qr(asked.T @ (asked @ axes))[0]
        return cls(axes, rows.center)

    def rows(self, rows: TrainingSet) -> TrainingSet:
        """The same rows in the coordinates, around 0."""
        n, d = rows.data.shape
        data = rows.data.new_empty(n, self.axes.shape[1])
        for part in row_chunks(n, max(1, ENTRIES // d)):
            torch.mm(rows.data[part] - self.center, self.axes, out=data[part])
        return TrainingSet(data, rows.weight, torch.zeros_like(data[0]), incomplete=False)

    def coordinates(self, codebook: Tensor) -> Tensor:
        """A codebook (m, d) in the coordinates, shape (m, r)."""
        return (codebook - self.center) @ self.axes

    def sums_in(self, sums: WinnerSums) -> WinnerSums:
        """Sums around the center, in the coordinates."""
        values = torch.cat((sums.total @ self.axes, sums.count), dim=1)
        return WinnerSums(values, torch.zeros_like(self.axes[0]))

    def features(self, codebook: Tensor) -> Tensor:
        """A codebook (m, r) in the features again, shape (m, d)."""
        return torch.addmm(self.center, codebook, self.axes.T)

    def sums_out(self, sums: WinnerSums) -> WinnerSums:
        """Sums in the coordinates, in the features again."""
        return WinnerSums(torch.cat((sums.total @ self.axes.T, sums.count), dim=1), self.center)
