"""What each measure says and needs, and what its value is where it is not defined."""

import logging
import math
from dataclasses import dataclass

from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measure:
    """What a user should know of a measure.

    Attributes:
        label: Its name in plain text.
        meaning: One line on what it says and which way is better.
        needs: What it takes for the measure to be defined.
    """

    label: str
    meaning: str
    needs: str


ONE_WINNER = "a sample with a nearest neuron"
TWO_WINNERS = "samples with two nearest neurons, joined by a path"
ENOUGH_SAMPLES = "more samples with a nearest neuron than twice n_neighbors"
DISTINCT_NEURONS = "two neurons at least, and no two at distance 0"
MEASURES: dict[str, Measure] = {
    "quantization_error": Measure(
        "quantization error", "mean distance of a sample to its neuron; lower is finer", ONE_WINNER
    ),
    "topographic_error": Measure(
        "topographic error",
        "share of samples whose two nearest neurons are not neighbors; lower is better",
        TWO_WINNERS,
    ),
    "edge_topographic_error": Measure(
        "topographic error (edges)", "the same, where only cells that share an edge are neighbors", TWO_WINNERS
    ),
    "distortion": Measure(
        "distortion", "what training lowers; compare maps at equal sigma only, lower is better", ONE_WINNER
    ),
    "combined_error": Measure(
        "combined error", "from a sample to its neuron and along the map to the next; lower is better", TWO_WINNERS
    ),
    "trustworthiness": Measure(
        "trustworthiness", "are samples that are close on the map close in the data? 1 is best", ENOUGH_SAMPLES
    ),
    "neighborhood_preservation": Measure(
        "neighborhood preservation",
        "are samples that are close in the data close on the map? 1 is best",
        ENOUGH_SAMPLES,
    ),
    "topographic_product": Measure(
        "topographic product", "below 0 the map has too few dimensions for the data, above 0 too many", DISTINCT_NEURONS
    ),
}


def mean_of(terms: Tensor, measure: str) -> float:
    """The mean of the terms that are not NaN."""
    return defined(float(terms.nanmean()), measure)


def defined(value: float, measure: str) -> float:
    """The value if it is a number, else NaN with the reason in the log."""
    if math.isfinite(value):
        return value
    known = MEASURES[measure]
    logger.info("%s not defined: it needs %s", known.label, known.needs)
    return math.nan
