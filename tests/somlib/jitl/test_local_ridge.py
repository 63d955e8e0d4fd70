import numpy as np

from somlib.jitl.local_ridge import bounds_of


def test_answers_may_lie_a_tenth_of_the_range_beyond_the_targets() -> None:
    targets = np.array([[0.0, -4.0], [np.nan, np.nan], [10.0, 6.0], [5.0, 0.0]])
    np.testing.assert_allclose(bounds_of(targets), [[-1.0, -5.0], [11.0, 7.0]])


def test_without_a_known_target_there_is_nothing_to_say_but_the_mean() -> None:
    for targets in (np.empty((0, 2)), np.full((3, 2), np.nan)):
        np.testing.assert_array_equal(bounds_of(targets), np.zeros((2, 2)))
