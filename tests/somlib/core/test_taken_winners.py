"""What a training found at its end, handed over instead of being searched for once more."""

from collections.abc import Callable

import pytest
import torch

from somlib import SOM
from tests.somlib.core.batches import Batches

ROWS = torch.randn((300, 4), generator=torch.Generator().manual_seed(3))


def fitted(**settings: object) -> SOM:
    som = SOM(5, 4, 4, epochs=2, random_seed=1, **settings)  # type: ignore[arg-type]  # of any kind
    som.fit(ROWS, verbose=False)
    return som


@pytest.mark.parametrize("algorithm", ["batch", "minibatch"])
@pytest.mark.parametrize("settings", [{}, {"distance_function": "manhattan"}, {"topology": "hexagonal"}])
def test_they_are_what_a_search_finds_and_handed_over_once(algorithm: str, settings: dict[str, str]) -> None:
    som = fitted(algorithm=algorithm, **settings)
    taken, searched = som.take_winners(), som.winners(ROWS, distances=True)
    assert taken is not None
    assert torch.equal(taken.index, searched.index)
    torch.testing.assert_close(taken.distance, searched.distance)
    assert som.take_winners() is None


def test_rows_without_a_value_have_none() -> None:
    rows = ROWS.clone()
    rows[7] = torch.nan
    rows[8, 1] = torch.nan
    som = SOM(5, 4, 4, epochs=2, algorithm="batch", missing="mask", random_seed=1)
    som.fit(rows, verbose=False)
    taken, searched = som.take_winners(), som.winners(rows, distances=True)
    assert taken is not None
    assert taken.index[7].item() == -1
    assert torch.equal(taken.index, searched.index)
    torch.testing.assert_close(taken.distance, searched.distance, equal_nan=True)


def turned(som: SOM) -> SOM:
    return som.reoriented(torch.arange(20).flip(0))


def started_anew(som: SOM) -> SOM:
    som.initialize_weights(ROWS)
    return som


def with_other_weights(som: SOM) -> SOM:
    som.load_state_dict({name: value + 1 for name, value in som.state_dict().items()})
    return som


@pytest.mark.parametrize("changed", [turned, started_anew, with_other_weights])
def test_a_map_that_has_changed_has_none(changed: Callable[[SOM], SOM]) -> None:
    assert changed(fitted()).take_winners() is None


def test_a_map_that_has_not_trained_has_none_and_one_of_batches_neither() -> None:
    som = SOM(5, 4, 4, epochs=2, algorithm="batch", random_seed=1)
    assert som.take_winners() is None
    som.fit(Batches(ROWS, 100), verbose=False)
    assert som.take_winners() is None
