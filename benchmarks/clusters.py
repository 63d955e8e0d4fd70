"""Clusters of rows: by maps, and by methods on the rows themselves, on labelled sets (`cluster_sets.py`).

A line a set: mean adjusted Rand index, median number of clusters, the share of seeds in which that number is right, and
median milliseconds beyond the training of the map. Methods choose the number themselves, on the rows by silhouette (GMM
by BIC), or are told it (`--given`). Each seed draws the set anew (real sets: shuffles it) and trains another map.
"""

import argparse
import time
import warnings
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from cells import Array
from cluster_sets import HELD_OUT, REAL, SUITE, TUNING, Labelled, Maker
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture

from somlib import SOM

GROUPS = {"suite": SUITE, "real": REAL, "held-out": HELD_OUT, "tuning": TUNING}
MOST = 12  # clusters that are tried where a method needs to be told how many
SCORED = 2_000  # rows of a silhouette
Fit = Callable[[int], Array]
Method = Callable[[Array, int, int | None], Array]


def drawn(name: str, maker: Maker, seed: int) -> Labelled:
    """A set of that seed, shuffled and standardized."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    rows, labels = maker(rng)
    order, spread = rng.permutation(len(rows)), rows.std(axis=0)
    spread[spread == 0] = 1
    return ((rows - rows.mean(axis=0)) / spread)[order].astype(np.float32), labels[order]


# ---------------------------------------------------------------- on rows


def by_silhouette(rows: Array, seed: int, fit: Fit) -> Array:
    candidates = [fit(k) for k in range(2, MOST + 1)]
    sample = np.random.default_rng(seed).permutation(len(rows))[:SCORED]
    divided = [labels for labels in candidates if len(np.unique(labels[sample])) > 1]  # a sample may miss a small one
    scores = [silhouette_score(rows[sample], labels[sample]) for labels in divided]
    return divided[int(np.argmax(scores))] if divided else candidates[0]


def k_means(rows: Array, seed: int, k: int | None) -> Array:
    def fit(k: int) -> Array:
        return KMeans(k, n_init=5, random_state=seed).fit_predict(rows)

    return fit(k) if k else by_silhouette(rows, seed, fit)


def mixture(rows: Array, seed: int, k: int | None) -> Array:
    models = [
        GaussianMixture(c, n_init=2 if k else 1, reg_covar=1e-4, random_state=seed).fit(rows)
        for c in ([k] if k else range(1, MOST + 1))
    ]
    return min(models, key=lambda model: model.bic(rows)).predict(rows)


def linked(linkage: str) -> Method:
    def method(rows: Array, seed: int, k: int | None) -> Array:
        def fit(k: int) -> Array:
            return AgglomerativeClustering(k, linkage=linkage).fit_predict(rows)

        return fit(k) if k else by_silhouette(rows, seed, fit)

    return method


def hdbscan(rows: Array, seed: int, k: int | None) -> Array:
    return HDBSCAN(min_cluster_size=max(5, len(rows) // 50), copy=True).fit_predict(rows)


# ---------------------------------------------------------------- on a map


def on_map(name: str) -> Callable[[SOM, Array, int | None], Array]:
    def method(som: SOM, rows: Array, k: int | None) -> Array:
        options = {} if name == "hdbscan" else {"n_clusters": k}
        return som.cluster(name, data=rows, **options)["labels"].numpy()

    return method


def consensus(som: SOM, rows: Array, k: int | None) -> Array:
    """As FlowSOM: how often two neurons fall into one cluster of 30 resamples of nine in ten, then average linkage."""
    codebook, rng = som.codebook.numpy().astype(np.float64), np.random.default_rng(0)

    def fit(k: int) -> Array:
        together, drawn_together = np.zeros((2, len(codebook), len(codebook)))
        for _ in range(30):
            kept = np.sort(rng.choice(len(codebook), max(k, int(0.9 * len(codebook))), replace=False))
            labels = AgglomerativeClustering(k, linkage="average").fit_predict(codebook[kept])
            together[np.ix_(kept, kept)] += labels[:, None] == labels
            drawn_together[np.ix_(kept, kept)] += 1
        apart = 1 - together / np.maximum(drawn_together, 1)
        return AgglomerativeClustering(k, metric="precomputed", linkage="average").fit_predict(apart)

    return fit(k) if k else by_silhouette(codebook, 0, fit)


ON_ROWS: dict[str, Method] = {
    "K-Means": k_means,
    "GMM": mixture,
    "Ward": linked("ward"),
    "single": linked("single"),
    "HDBSCAN": hdbscan,
}
ON_MAP = {
    "mixture": on_map("mixture"),
    "connectivity": on_map("connectivity"),
    "kmeans": on_map("kmeans"),
    "ward": on_map("ward"),
    "hdbscan": on_map("hdbscan"),
    "gmm": on_map("gmm"),
    "consensus": consensus,
}
CHOOSE_ALONE = ("HDBSCAN", "hdbscan")


def measured(name: str, maker: Maker, seed: int, methods: Iterable[str], given: bool) -> dict[str, tuple[float, ...]]:
    """Index, number of clusters and seconds of each method, on one set."""
    rows, truth = drawn(name, maker, seed)
    k = len(np.unique(truth[truth >= 0])) if given else None
    som = SOM(num_features=rows.shape[1], topology="hexagonal", preset="balanced", random_seed=seed)
    som.fit(rows, verbose=False)
    winner = som.winners(rows).index[:, 0].numpy()
    found = {}
    for method in methods:
        start = time.perf_counter()
        labels = ON_MAP[method](som, rows, k)[winner] if method in ON_MAP else ON_ROWS[method](rows, seed, k)
        taken = time.perf_counter() - start
        found[method] = (adjusted_rand_score(truth, labels), len(np.unique(labels[labels >= 0])), taken)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="*", default=["suite", "real", "held-out"], choices=GROUPS)
    parser.add_argument("--methods", nargs="*", default=[*ON_MAP, *ON_ROWS], choices=[*ON_MAP, *ON_ROWS])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--given", action="store_true", help="tell the methods the true number of clusters")
    parser.add_argument("--out", type=Path, help="where to write the table")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    methods = [method for method in options.methods if not (options.given and method in CHOOSE_ALONE)]
    lines = ["| set | k | " + " | ".join(methods) + " |", "| --- " * (len(methods) + 2) + "|"]
    print(*lines, sep="\n", flush=True)
    for name, maker in (item for group in options.groups for item in GROUPS[group].items()):
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        runs = [measured(name, maker, seed, methods, options.given) for seed in seeds]
        truth = drawn(name, maker, options.first_seed)[1]
        k = len(np.unique(truth[truth >= 0]))
        cells = []
        for method in methods:
            index, count, taken = np.array([run[method] for run in runs]).T
            right = "" if options.given else f", {int(np.median(count))} ({np.mean(count == k):.0%})"
            cells.append(f"{np.mean(index):.2f}{right}, {1000 * np.median(taken):.0f} ms")
        lines.append(f"| {name} | {k} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
