"""Answers and updates of precomputed local models against retrieving and fitting for each query.

    python benchmarks/jitl_speed.py

100 000 rows of 16 features on a 25 x 25 map, one thread, medians. The peer is torchsom's `collect_samples` with
scikit-learn's Ridge on what it retrieves, in an environment of its own, on the same map. Peer and somlib are timed in
turns, since the speed of a shared machine changes within seconds. somlib is set to the same model (retrieval mode,
`shrink="nothing"`, one neuron, no clipping), so that answers can be compared; models that blend three neurons and
shrink to the global one, as by default, are timed beside it.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from peers import run_peer

from somlib import SOM
from somlib.jitl import JITLRegressor

ROWS, FEATURES, SIDE, BATCH, UPDATE, PEER_QUERIES, ROUNDS = 100_000, 16, 25, 10_000, 1_000, 150, 5
WIDE = (100, 300)
Array = np.ndarray


def milliseconds(act: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = clock()
        act()
        times.append(clock() - start)
    return 1e3 * float(np.median(times))


def process(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Correlated features, as of a plant, and a curved response; both standardized in float32."""
    latent = rng.normal(size=(n, 4))
    mixing = np.random.default_rng(1).normal(size=(4, FEATURES))
    X = latent @ mixing + 0.5 * rng.normal(size=(n, FEATURES))
    y = np.sin(latent[:, 0]) + latent[:, 1] * latent[:, 2] + 0.1 * rng.normal(size=n)
    return (X / X.std(axis=0)).astype(np.float32), y.astype(np.float32)


def peer_answers(folder: Path, **given: Array) -> dict[str, Array]:
    np.savez(folder / "in.npz", **given)
    run_peer("torchsom", "retrieve_torchsom.py", str(folder / "in.npz"), str(folder / "out.npz"))
    return dict(np.load(folder / "out.npz"))


def same_sets(model: JITLRegressor, queries: Array, peer: dict[str, Array]) -> Array:
    """For which queries both retrieved the same samples."""
    mine = model.index_.retrieve(queries)
    theirs = np.split(peer["found"], np.cumsum(peer["sizes"])[:-1])
    return np.array([np.array_equal(np.sort(mine.of(i).numpy()), np.sort(t)) for i, t in enumerate(theirs)])


def time_blend(som: SOM, rows: tuple[Array, Array], queries: Array, new: tuple[Array, Array]) -> None:
    """The same with boosting beside the local models, as by default; in CPU time, since nothing is timed in turns."""
    start = time.process_time()
    model = JITLRegressor(som=som).fit(*rows)
    print(f"blend, fit: {time.process_time() - start:.1f} CPU s")
    asked = queries.astype(np.float64)
    for what, act, repeats in (
        (f"{BATCH} answers", lambda: model.predict(asked), 9),
        ("one query", lambda: model.predict_one(asked[0]), 500),
        (f"update of {UPDATE} rows", lambda: model.update(*new), 21),
    ):
        print(f"blend, {what}: {milliseconds(act, repeats, time.process_time):.2f} CPU ms")


def fit_wide(features: int) -> None:
    """CPU time of choosing settings and fitting with many features, where systems of all neurons are large."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(4_000, 6))
    X = (np.tanh(latent @ rng.normal(size=(6, features))) + 0.5 * rng.normal(size=(4_000, features))).astype(np.float32)
    y = np.sin(latent[:, 0]) + latent[:, 1] * latent[:, 2] + 0.1 * rng.normal(size=4_000)
    som = SOM(25, 15, features, epochs=5, algorithm="batch", initialization_mode="pca", device="cpu")
    som.fit(X, verbose=False)
    for experts in ("pure", "blend"):
        start = time.process_time()
        JITLRegressor(som=som, experts=experts).fit(X, y, np.arange(4_000))
        print(f"fit of 4000 rows of {features} features, 25 x 15, {experts}: {time.process_time() - start:.1f} CPU s")


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    (X, y), (queries, _), (new, labels) = process(ROWS, rng), process(BATCH, rng), process(UPDATE, rng)
    som = SOM(SIDE, SIDE, FEATURES, epochs=10, algorithm="batch", initialization_mode="pca", device="cpu")
    som.fit(X, verbose=False)
    # In raw units the peer's penalty is alpha; in ours the slopes are per standard deviation, here 1 but for rounding.
    plain = JITLRegressor(
        som=som, neighborhood="bmu_neighborhood_knn", shrink="nothing", ridge=1.0, n_neurons=1, clip=None
    )
    start = time.perf_counter()
    plain.fit(X, y)
    print(f"fit of {ROWS} rows with random folds, map given: {time.perf_counter() - start:.2f} s")
    usual = JITLRegressor(som=som, neighborhood="gaussian", sigma=1.0, ridge=10.0, level=30.0, experts="pure").fit(X, y)

    peer_ms, plain_ms, usual_ms = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            asked = queries[:PEER_QUERIES]
            peer = peer_answers(
                Path(folder), weights=som.weights.numpy(), history=X, outputs=y, queries=asked, alpha=np.array(1.0)
            )
            peer_ms.append(1e3 * float(np.median(peer["seconds"])))
            plain_ms.append(milliseconds(lambda: plain.predict(queries), 15))
            usual_ms.append(milliseconds(lambda: usual.predict(queries), 15))
    one, mine, others = np.median(peer_ms), np.median(plain_ms), np.median(usual_ms)
    print(
        f"torchsom + Ridge: {one:.2f} ms a query, {one * BATCH / 1e3:.1f} s for {BATCH}; rounds {np.round(peer_ms, 2)}"
    )
    times = one * BATCH / mine
    print(f"somlib, same model: {mine:.1f} ms for {BATCH}, {times:.0f} times as fast; rounds {np.round(plain_ms, 1)}")
    print(f"somlib, three neurons, shrunk: {others:.1f} ms, {one * BATCH / others:.0f} times; {np.round(usual_ms, 1)}")

    details = plain.predict(asked, return_details=True)
    # Off the map ours fades to the global model, by design.
    equal = same_sets(plain, asked, peer) & ~details.fallback
    gap = np.abs(details.prediction - peer["answers"])[equal]
    print(f"{equal.sum()} of {len(asked)} queries with equal sets, on the map: largest difference {gap.max():.1e}")

    singles = iter(np.tile(queries, (2, 1)).astype(np.float64))
    print(f"one query: {1e3 * milliseconds(lambda: usual.predict_one(next(singles)), 5_000):.0f} us")
    for name, model in (("same model", plain), ("three neurons, shrunk", usual)):
        took = milliseconds(lambda model=model: model.update(new, labels), 21)  # type: ignore[misc]
        print(f"update of {UPDATE} rows, {name}: {took:.1f} ms")
    forgetting = JITLRegressor(som=som, neighborhood="gaussian", sigma=1.0, ridge=10.0, level=30.0, experts="pure").fit(
        X, y
    )
    cuts = iter(range(1_000, 30_000, 1_000))
    print(f"forget of {UPDATE} rows: {milliseconds(lambda: forgetting.forget(before=next(cuts)), 15):.1f} ms")
    time_blend(som, (X, y), queries, (new, labels))
    for features in WIDE:
        fit_wide(features)


if __name__ == "__main__":
    main()
