"""What the numbers of a map mean, in words; every threshold is here, and the page repeats them.

Closeness (quantization error, QE). The QE alone has no meaning: it grows with the number of features and depends on
their scaling. It is compared to what a map of a single neuron at the mean of all rows would have, QE_1:

    explained = 1 - QE / QE_1        0: no better than the mean, 1: every row lies on its neuron

Order (topographic error, TE): the share of rows whose two nearest neurons do not touch on the map.

The words are rules of thumb: a map of many features or few neurons is coarse by nature, and rightly so.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.report.content import ReportContent
from pipelines.wording import agreeing, counted, some
from somlib.utils.clustering import CLUSTERING_METHODS
from somlib.utils.precision import tidied
from somlib.visualization.cluster_figures import NOISE
from somlib.visualization.sheet import short_number

# Each the least share explained, and its word.
CLOSENESS: tuple[tuple[float, str], ...] = ((0.8, "very close"), (0.6, "close"), (0.4, "rough"), (-math.inf, "coarse"))
# Each the largest TE, and its word.
ORDER: tuple[tuple[float, str], ...] = (
    (0.05, "very well ordered"),
    (0.10, "well ordered"),
    (0.20, "ordered, with some folds"),
    (math.inf, "folded in many places"),
)
# Each the largest QE of held-out rows relative to that of training rows, and its word.
HELDOUT: tuple[tuple[float, str], ...] = ((1.10, "as well"), (1.25, "somewhat worse"), (math.inf, "much worse"))
# Each the least silhouette, and its word; Kaufman and Rousseeuw, Finding Groups in Data, Wiley 1990, ch. 2.
SEPARATION: tuple[tuple[float, str], ...] = (
    (0.70, "clearly apart"),
    (0.50, "reasonably apart"),
    (0.25, "weakly apart"),
    (-math.inf, "hardly apart"),
)
MANY_EMPTY = 0.25  # share of neurons
MANY_MISSING = 0.20  # share of training rows that lack a feature's value
STILL_FALLING = 0.02  # by which the QE fell in the last epoch
ENOUGH_ROWS = 50  # `min_buffer_threshold` of `SOM.collect_samples`, by default


@dataclass(frozen=True)
class Remark:
    """Something that a reader should know.

    Attributes:
        serious: Whether it puts the map in doubt; otherwise it only explains.
        text: One or two sentences.
    """

    serious: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """One answer to the question how good the map is.

    Attributes:
        question: What it answers.
        value: The number.
        word: The number in a word or two.
        text: What it means, in one or two sentences.
    """

    question: str
    value: str
    word: str
    text: str


def number(value: float, digits: int = 3) -> str:
    """A number of `digits` significant digits, or a dash where there is none."""
    return short_number(value, digits) if math.isfinite(value) else "–"


def percent(share: float, digits: int = 0) -> str:
    """A share in percent; never 0 % or 100 % where it is not."""
    if not math.isfinite(share):
        return "–"
    least = 10.0 ** -(digits + 2)
    if 0 < share < least / 2:
        return f"under {100 * least:.{digits}f} %"
    if 1 - least / 2 < share < 1:
        return f"over {100 - 100 * least:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def explained(content: ReportContent) -> float:
    """Share of the distances that the map explains, 1 - QE / QE_1; NaN where it is not defined."""
    alone = content.facts.one_neuron_error
    return tidied(1 - content.metric("train_qe") / alone, 1.0) if alone > 0 else math.nan


def verdicts(content: ReportContent) -> Iterator[Verdict]:
    """How good the map is: how close to single rows, how well ordered, on new rows, and in how many parts."""
    yield _closeness(content)
    yield _order(content)
    if content.facts.rows["heldout"]:
        yield _generality(content)
    yield _parts(content)


def _closeness(content: ReportContent) -> Verdict:
    qe, alone, share = content.metric("train_qe"), content.facts.one_neuron_error, explained(content)
    question = "How close is it to single rows?"
    if not math.isfinite(share):
        text = f"Quantization error {number(qe)}. There is no distance to the mean of all rows to compare it to."
        return Verdict(question, number(qe), "not comparable", text)
    text = (
        f"A row lies {number(qe)} from its neuron on average (quantization error), {number(alone)} from the mean of "
        f"all rows: the map explains {percent(share)} of the distance."
    )
    return Verdict(question, percent(share), _at_least(share, CLOSENESS), text)


def _order(content: ReportContent) -> Verdict:
    te = content.metric("train_te")
    question = "Are neighbors on the map alike?"
    if not math.isfinite(te):
        text = "Topographic error not defined: a row has no two nearest neurons here."
        return Verdict(question, "–", "not defined", text)
    text = "Of every row the two nearest neurons touch on the map (topographic error 0)."
    if te > 0:
        text = (
            f"Of {percent(te, 1)} of the rows the two nearest neurons do not touch on the map (topographic error): "
            "there the map is folded or torn."
        )
    return Verdict(question, percent(1 - te, 1), _at_most(te, ORDER), text)


def heldout_ratio(content: ReportContent) -> float:
    """QE of held-out rows relative to that of training rows; NaN where it is not defined."""
    trained, heldout = content.metric("train_qe"), content.metric("heldout_qe")
    return heldout / trained if trained > 0 else math.nan


def _generality(content: ReportContent) -> Verdict:
    ratio = heldout_ratio(content)
    question = "Does it hold for new rows?"
    rows = f"{content.facts.rows['heldout']:,} rows that it was not trained on"
    if not math.isfinite(ratio):
        return Verdict(question, "–", "not defined", f"The error of the {rows} is not defined.")
    more = f"{percent(ratio - 1)} farther from" if ratio >= 1 else f"{percent(1 - ratio)} closer to"
    text = (
        f"The {rows} lie {more} their neurons than training rows do (QE {number(content.metric('heldout_qe'))}, "
        f"TE {percent(content.metric('heldout_te'), 1)})."
    )
    return Verdict(question, f"{100 * (ratio - 1):+.0f} %".replace("-", "−"), _at_most(ratio, HELDOUT), text)


def _parts(content: ReportContent) -> Verdict:
    count, silhouette = _cluster_count(content), content.metric("cluster/silhouette_score")
    question = "Does it fall into groups?"
    if count == 0:
        return Verdict(question, "0", "no groups", f"{clustering_name(content)} found no group of neurons.")
    if count == 1:
        return Verdict(question, "1", "one group", _one_group(content))
    if not math.isfinite(silhouette):
        return Verdict(question, str(count), "not scored", f"{count} clusters; their silhouette is not defined.")
    text = (
        f"{count} clusters of neurons by {clustering_name(content)}; silhouette {silhouette:.2f}, a mean over the "
        "neurons (1: far apart, 0: touching)."
    )
    return Verdict(question, str(count), _at_least(silhouette, SEPARATION), text)


def _one_group(content: ReportContent) -> str:
    """Why there is one cluster, and what to read instead."""
    if content.facts.n_clusters == 1:
        return "All neurons are in one cluster, as was asked for."
    return (
        f"{clustering_name(content)} found one group: the rows form one continuous map. Read features and targets over "
        "the map rather than clusters."
    )


CHOICES = {
    "kmeans": "the number is that of the largest silhouette, or 1 where the density of rows has no valley",
    "ward": "the number is that of the largest silhouette, or 1 where the density of rows has no valley",
    "gmm": "the number is that of the largest silhouette",
    "hdbscan": "the number is that of the dense regions that stay longest as the density rises",
    "connectivity": "two dense regions count as two where the valley between them is deeper than chance makes one",
    "mixture": (
        "Gaussians are merged unless rows show a valley between them that is deeper than chance makes one, or hardly "
        "any row could belong to either"
    ),
}


def choice_of_number(content: ReportContent) -> str:
    """How the number of clusters came about; empty where that is not known."""
    if content.facts.n_clusters is not None:
        return f"Their number was asked for: {content.facts.n_clusters}."
    choice = CHOICES.get(content.facts.clustering)
    return "" if choice is None else f"How many: {choice}."


PROVEN = ("connectivity", "mixture")  # what they part has a valley between, whatever its shape does to silhouettes
UNSTABLE = 0.6  # below, a cluster is not to be trusted (Hennig 2007)


def _unstable(content: ReportContent) -> list[int]:
    """The clusters that other rows of the same kind hardly show again."""
    found = {k: stability(content, k) for k in range(1, int(content.labels.max(initial=0)) + 1)}
    return [k for k, value in found.items() if value < UNSTABLE]


def stability(content: ReportContent, cluster: int) -> float:
    """The share of a cluster that other rows of the same kind show again; NaN where it was not measured."""
    return content.metric(f"cluster/stability/{cluster}")


def size_of(content: ReportContent, cluster: int) -> str:
    """Neurons and rows of a cluster, and its stability where that is known."""
    members = content.labels == cluster
    rows, value = int(content.hits[members].sum()), stability(content, cluster)
    share = percent(rows / max(content.hits.sum(), 1))
    size = f"{counted(int(members.sum()), 'neuron')}, {counted(rows, 'training row')} ({share})"
    return f"{size}, stability {value:.2f}" if math.isfinite(value) else size


def clustering_name(content: ReportContent) -> str:
    """How neurons were clustered, as people call it."""
    known = CLUSTERING_METHODS.get(content.facts.clustering)
    return content.facts.clustering if known is None else known.title


def _cluster_count(content: ReportContent) -> int:
    return len(np.unique(content.labels[content.labels != NOISE]))


# ---------------------------------------------------------------- warnings


def remarks(content: ReportContent) -> list[Remark]:
    """What puts the map in doubt, then what only explains it."""
    found = [*_about_rows(content), *_about_columns(content), *_about_map(content), *_about_clusters(content)]
    return sorted(found, key=lambda remark: not remark.serious)


def _about_rows(content: ReportContent) -> Iterator[Remark]:
    rows, found = content.facts.rows, content.facts.remarks
    yield from (Remark(False, f"{text[:1].upper()}{text[1:]}.") for text in found)
    if rows["left_out"] and not any("left out" in text for text in found):
        yield Remark(False, f"{rows['left_out']:,} of {rows['found']:,} rows were left out.")
    ratio = heldout_ratio(content)
    if ratio > HELDOUT[1][0]:
        yield Remark(
            True,
            f"Held-out rows lie {percent(ratio - 1)} farther from the map than training rows: it has learned these "
            "rows by heart, or the others are different. Try a smaller map or more rows.",
        )


def _about_columns(content: ReportContent) -> Iterator[Remark]:
    trained = content.facts.rows["train"]
    sparse = {n: c.missing / trained for n, c in content.facts.features.items() if c.missing > MANY_MISSING * trained}
    if sparse:
        worst = some([f"{name} ({percent(share)})" for name, share in sorted(sparse.items(), key=lambda i: -i[1])])
        yield Remark(
            True, f"Features that many training rows lack: {worst}. The map knows them from the other rows only."
        )
    for name, column in content.facts.targets.items():
        if column.missing == trained:
            yield Remark(True, f"No training row has a value of the target {name}: its maps are empty.")
        elif column.missing and not any(f"target {name} is missing" in text for text in content.facts.remarks):
            yield Remark(
                False,
                f"{column.missing:,} of {counted(trained, 'training row')} {agreeing(column.missing, 'lacks', 'lack')} "
                f"the target {name}.",
            )


def _about_map(content: ReportContent) -> Iterator[Remark]:
    empty, m = int((content.hits == 0).sum()), len(content.hits)
    if empty:
        many = empty > MANY_EMPTY * m
        advice = " A smaller map would say the same." if many else ""
        yield Remark(
            many,
            f"{counted(empty, 'neuron')} of {m} ({percent(empty / m)}) {'is' if empty == 1 else 'are'} empty: no "
            f"training row fell there.{advice}",
        )
    te = content.metric("train_te")
    if te > ORDER[-2][0]:
        yield Remark(
            True,
            f"The map is folded: {percent(te)} of the rows have their two nearest neurons apart. Do not read distances "
            "off it; a longer training, a larger starting radius or a PCA start may unfold it.",
        )
    qe = [value for value in content.quantization_errors if math.isfinite(value)]
    fall = (qe[-2] - qe[-1]) / qe[-2] if len(qe) > 1 and qe[-2] > 0 else 0.0
    if fall > STILL_FALLING:
        yield Remark(
            False,
            f"The quantization error still fell by {percent(fall, 1)} in the last epoch. With a radius that shrinks to "
            "the end this is usual; more epochs may still help.",
        )


def _about_clusters(content: ReportContent) -> Iterator[Remark]:
    count, noise = _cluster_count(content), float((content.labels == NOISE).mean())
    if count == 0:
        yield Remark(True, "No clusters: all neurons are noise to the clustering, so there are no profiles.")
    elif noise:
        yield Remark(noise > 0.5, f"{percent(noise)} of the neurons are in no cluster (noise).")
    if count == 1:
        yield Remark(False, "There is one cluster, so nothing to compare it with: its profile has no differences.")
    if unstable := _unstable(content):
        yield Remark(
            True,
            f"Not stable: {some([f'cluster {k} ({stability(content, k):.2f})' for k in unstable])}. Clustered again on "
            f"rows drawn anew, less than {UNSTABLE} of such a cluster comes back: do not rely on its border.",
        )
    silhouette = content.metric("cluster/silhouette_score")
    if count > 1 and not math.isfinite(silhouette):
        yield Remark(False, "How well the clusters stand apart is not defined here: too few neurons or clusters.")
    elif silhouette < SEPARATION[2][0] and content.facts.clustering not in PROVEN:
        yield Remark(
            False,
            f"The clusters are hardly apart (silhouette {silhouette:.2f}): take them as regions of one continuous map, "
            "not as separate kinds.",
        )


def reach_in_words(reach: np.ndarray[tuple[int], np.dtype[np.float64]], order: int) -> str:
    """What a query finds around its neuron, by the rows (m,) of each neuron and its neighbors."""
    enough, median = float((reach >= ENOUGH_ROWS).mean()), number(float(np.median(reach)))
    steps = "its direct neighbors" if order == 1 else f"its neighbors up to {order} steps away"
    head = f"A query is answered by the rows of its neuron and of {steps}."
    if enough == 1:
        return f"{head} Everywhere on this map these are at least {ENOUGH_ROWS} rows, {median} in the median."
    return (
        f"{head} For {percent(enough)} of the neurons these are at least {ENOUGH_ROWS} rows ({median} in the median); "
        f"elsewhere rows of the next most similar neurons are added until there are {ENOUGH_ROWS}."
    )


def _at_least(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    return next(word for least, word in steps if value >= least)


def _at_most(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    return next(word for most, word in steps if value <= most)
