"""The Triton kernel of `fused_search.py`: product and minimum in one, so that no score leaves the chip.

A program takes a tile of rows and walks over the neurons, tile by tile. Column `lane` of every tile shares one running
ranking: the smallest scores met in that lane, and in which tiles. The lanes are compared once, after the last tile, so
the walk needs neither a reduction nor an exchange between threads. What is kept is one score more than winners asked
for: the runner-up, which says how certain the winners are.

Import this module only where Triton is installed.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n", "m"])  # type: ignore[untyped-decorator]  # Triton does not type it
def rank_neurons(  # type: ignore[no-untyped-def]  # the arguments are Triton's own values, not Python's
    points,
    neurons,
    half_squares,
    value,
    index,
    n,
    m,
    D: tl.constexpr,
    WINNERS: tl.constexpr,
    ROWS: tl.constexpr,
    NEURONS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Write the `WINNERS` + 1 smallest half_squares[j] - points[i] . neurons[j] of each row, and whose the first are.

    Equal scores rank by index. A score of NaN or infinity is passed over; where too few remain, the value is infinite
    and the index is of no use.

    Args:
        points: Rows, float32, contiguous, shape (n, D).
        neurons: Float32, contiguous, shape (m, D), fewer than 2^31 entries.
        half_squares: Shape (m,).
        value: Receives scores, ascending, float32, shape (n, WINNERS + 1).
        index: Receives flat indices, int64, shape (n, WINNERS).
        n: Number of rows.
        m: Number of neurons.
        D: Number of features.
        WINNERS: 1 or 2.
        ROWS: Rows of a tile,
        NEURONS: its neurons, and
        FEATURES: features multiplied at a time; powers of 2, at least 16.
    """
    infinity = float("inf")
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, NEURONS)
    feature = tl.arange(0, FEATURES)
    best = tl.full((ROWS, NEURONS), infinity, tl.float32)
    second, third = best, best
    best_start = tl.zeros((ROWS, NEURONS), tl.int32)
    second_start = best_start
    for start in range(0, m, NEURONS):
        neuron = start + lane
        product = tl.zeros((ROWS, NEURONS), tl.float32)
        for at in range(0, D, FEATURES):
            there = at + feature
            x = tl.load(
                points + row[:, None] * D + there[None, :], (row[:, None] < n) & (there[None, :] < D), other=0.0
            )
            w = tl.load(
                neurons + neuron[None, :] * D + there[:, None], (neuron[None, :] < m) & (there[:, None] < D), other=0.0
            )
            product += tl.dot(x, w, input_precision="tf32x3")
        score = tl.load(half_squares + neuron, neuron < m, other=infinity)[None, :] - product
        score = tl.where(score == score, score, infinity)  # NaN never wins
        if WINNERS == 2:
            third = tl.minimum(third, tl.maximum(second, score))
            second_start = tl.where(score < second, start, second_start)
            second_start = tl.where(score < best, best_start, second_start)
        second = tl.minimum(second, tl.maximum(best, score))
        best_start = tl.where(score < best, start, best_start)
        best = tl.minimum(best, score)
    inside = row < n
    for rank in tl.static_range(WINNERS + 1):
        smallest = tl.min(best, axis=1)
        tl.store(value + row * (WINNERS + 1) + rank, smallest, inside)
        if rank < WINNERS:
            place = best_start + lane[None, :]
            first = tl.min(tl.where(best == smallest[:, None], place, 2**31 - 1), axis=1)
            tl.store(index + row * WINNERS + rank, first.to(tl.int64), inside)
            taken = place == first[:, None]  # its lane goes on with what it has kept
            best = tl.where(taken, second, best)
            best_start = tl.where(taken, second_start, best_start)
            second = tl.where(taken, third, second)
