r"""Finding the nearest neurons (best matching units) of samples.

Every search estimates first and decides after:

1. A fast estimate ranks all neurons, with a bound on its rounding error. Euclidean distances come from a matrix
   product, |w_k|^2 / 2 - x . w_k, with both sides centered on the codebook, which removes an offset of the data. Cosine
   distances are Euclidean ones among unit vectors. Manhattan and Chebyshev have no product form and use `torch.cdist`.
   Rows with missing values are estimated over their observed features, in float64.
2. Rows whose nearest neurons the estimate does not distinguish (ties, far clusters, samples that lie on a neuron,
   numbers beyond the range of float32) are estimated again in float64. Whatever then is still within rounding of the
   nearest is decided by exact distances, from differences; ties go to the lowest flat index.

So the winner is the true nearest neuron whatever the offset or scale of the data, and neither chunk nor batch can
change it. Work goes in chunks: memory does not grow with the number of samples.

Other first estimates, whose doubtful rows go the way of step 2, so that all find the same winners: FAISS, an index that
is asked for one neuron more than needed (`faiss_search.py`), and on CUDA one kernel of product and minimum
(`fused_search.py`). The exact search itself is in `torch_search.py`.
"""

from collections.abc import Iterator
from typing import Literal, Protocol

from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.faiss_search import IVF_NEURONS, FaissIvfSearch, FaissSearch
from somlib.utils.fused_search import FusedSearch, can_fuse
from somlib.utils.torch_search import CHUNK_ENTRIES, TorchSearch
from somlib.utils.winners import Winners, exact_distances, row_chunks

__all__ = [
    "CHUNK_ENTRIES",
    "Backend",
    "Search",
    "TorchSearch",
    "Winners",
    "exact_distances",
    "make_search",
    "row_chunks",
]

Backend = Literal["auto", "torch", "faiss", "faiss_ivf"]


class Search(Protocol):
    """Finds nearest neurons in one fixed codebook."""

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); ties go to the lowest flat index."""
        ...

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows of the size that this search likes best."""
        ...


def make_search(codebook: Tensor, metric: Metric, backend: Backend = "auto") -> Search:
    """A search over `codebook` (m, d).

    `"auto"` is torch at every size: once both find the true winners, FAISS took 0.9 to 2.3 times as long from 375 to
    6 300 neurons and 4 to 300 features (benchmarks/search.py). On CUDA it stores no scores where it can; see
    `can_fuse`.
    """
    if backend in ("auto", "torch") or metric.distance.faiss is None:
        return FusedSearch(codebook, metric) if can_fuse(codebook, metric) else TorchSearch(codebook, metric)
    approximate = backend == "faiss_ivf" and metric.squared and len(codebook) >= IVF_NEURONS
    return FaissIvfSearch(codebook, metric) if approximate else FaissSearch(codebook, metric)
