"""When a model should be fitted anew: what `update` cannot reach stays as it was at the last fit, while rows come.

`update` moves the local models and the intervals. Settings, boosting and the weights of experts are those of the rows
that the last fit knew: half a year of rows says little about the other half. Measured on six series whose seasons come
one after the other, each answered in five parts (`benchmarks/jitl_seasons.py`), a model that is fitted anew when this
module says so errs 5 % less than one that never is, and needs a tenth of its fits.
"""

import math
from dataclasses import dataclass

from somlib.jitl.moments import FloatArray

SHARE = 0.3
WORSE = 1.15  # errors of answers, in those on samples left out, that call for one before that
FEWEST, LEAST_SHARE = 100, 0.05  # answers that show this: a number of them, and a share of the rows of the last fit


@dataclass
class Growth:
    """What has come since the last fit.

    Attributes:
        fitted: Rows that it knew.
        usual: Mean squared error of its answers to samples left out, in its units; None where none were.
        learned: Rows learned since.
        answered: Values answered since then, before their labels were known.
        squares: Sum of their squared errors, in the same units.
    """

    fitted: int
    usual: float | None
    learned: int = 0
    answered: int = 0
    squares: float = 0.0

    def learn(self, rows: int) -> None:
        """Count rows that were learned."""
        self.learned += rows

    def answer(self, errors: FloatArray) -> None:
        """Count answers by their errors (n, o) in the units of the fit."""
        self.answered += errors.size
        self.squares += float((errors**2).sum())

    @property
    def reason(self) -> str:
        """Why it is time to fit anew, in words; empty where it is not."""
        if self.learned >= SHARE * self.fitted:
            return f"{self.learned:,} rows learned since the last fit, which knew {self.fitted:,}"
        enough = max(FEWEST, LEAST_SHARE * self.fitted)
        if min(self.learned, self.answered) < enough or not self.usual:
            return ""
        worse = math.sqrt(self.squares / self.answered / self.usual)
        return f"errors {worse:.2f} times those of the last fit on samples left out" if worse > WORSE else ""
