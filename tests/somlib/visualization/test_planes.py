from itertools import pairwise, permutations

import numpy as np

from somlib.visualization.lattice import Floats
from somlib.visualization.planes import similarity_order


def two_families() -> Floats:
    """Features 0, 2, 4 follow one pattern, 1, 3, 5 another, 6 is constant."""
    generator = np.random.default_rng(0)
    patterns = generator.standard_normal((2, 200))
    planes = [patterns[i % 2] * (i + 1) + 5 * i + 0.3 * generator.standard_normal(200) for i in range(6)]
    return np.column_stack([*planes, np.full(200, 7.0)])


def test_planes_of_one_family_stand_together_whatever_their_scale() -> None:
    order = similarity_order(two_families())
    assert sorted(order) == list(range(7))
    assert {int(f) % 2 for f in order[:3]} in ({0}, {1})
    assert len({int(f) % 2 for f in order[3:6]}) == 1


def test_a_plane_of_one_value_comes_last() -> None:
    assert similarity_order(two_families())[-1] == 6


def test_the_order_is_as_short_as_any_that_keeps_the_families() -> None:
    planes = two_families()[:, :6]
    distance = 1 - np.asarray(np.corrcoef(planes.T))

    def length(order: tuple[int, ...]) -> float:
        return float(sum(distance[a, b] for a, b in pairwise(order)))

    split = [o for o in permutations(range(6)) if len({i % 2 for i in o[:3]}) == 1]
    assert length(tuple(similarity_order(planes))) <= min(map(length, split)) + 1e-9


def test_the_order_starts_at_the_end_with_the_smaller_index() -> None:
    order = similarity_order(two_families()[:, :6])
    assert order[0] < order[-1]


def test_one_and_two_planes_keep_their_order() -> None:
    planes = two_families()
    assert similarity_order(planes[:, :1]).tolist() == [0]
    assert similarity_order(planes[:, :2]).tolist() == [0, 1]
