"""A map is saved wherever the file system has a folder for it, whatever the name."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from somlib import SOM, HierarchicalSOM
from somlib.errors import SavedMapError

DATA = np.random.default_rng(0).normal(size=(40, 2))


def has_a_file(name: str) -> bool:
    return name not in (".", "..") and len(os.fsencode(name)) <= 255


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=40).filter(
    has_a_file
)


@cache
def small_map() -> SOM:
    som = SOM(3, 2, epochs=1)
    som.fit(DATA, verbose=False)
    return som


@given(names)
@example(" ")
@example("Anlage Süd [1] %20#?*")
@example("~")
@example("-rf")
@example("x" * 255)
@example("a\nb")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_map_comes_back_from_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    som = small_map()
    for path in (tmp_path / name, str(tmp_path / name / "inner")):
        som.save(path)
        assert sorted(p.name for p in Path(path).iterdir() if p.is_file()) == ["config.json", "weights.safetensors"]
        assert SOM.load(path).weights.equal(som.weights)


def test_a_relative_name_is_one_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a [b]").mkdir()
    monkeypatch.chdir(tmp_path / "a [b]")
    small_map().save("100%")
    assert (tmp_path / "a [b]" / "100%" / "weights.safetensors").is_file()
    assert SOM.load("100%").weights.equal(small_map().weights)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", ""])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for act in (small_map().save, SOM.load):
        with pytest.raises(SavedMapError, match=r"path"):
            act(str(tmp_path / name) if name else "")
    assert list(tmp_path.iterdir()) == []


def test_a_tree_of_maps_comes_back_too(tmp_path: Path) -> None:
    tree = HierarchicalSOM()
    tree.fit(DATA, verbose=False)
    tree.save(tmp_path / "Anlage Süd [1] %20#?")
    again = HierarchicalSOM.load(tmp_path / "Anlage Süd [1] %20#?")
    assert again.root.som.weights.equal(tree.root.som.weights)
