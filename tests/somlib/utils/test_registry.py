"""Functions of a registry, and that nothing but the registry tells its entries apart by name."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import somlib
from somlib.core.map_builder import MAPS
from somlib.utils.decay import DECAY_FUNCTIONS, SCHEDULES
from somlib.utils.distances import DISTANCE_FUNCTIONS, DISTANCES
from somlib.utils.initialization import INITIALIZATIONS
from somlib.utils.neighborhood import KERNELS, NEIGHBORHOOD_FUNCTIONS
from somlib.utils.registry import Functions

SOURCES = Path(somlib.__file__).parents[1]
REGISTRIES: dict[str, Any] = {
    "distances.py": (DISTANCES, DISTANCE_FUNCTIONS),
    "neighborhood.py": (KERNELS, NEIGHBORHOOD_FUNCTIONS),
    "decay.py": (SCHEDULES, DECAY_FUNCTIONS),
}
# JITL's kinds of neighborhood are a list of its own, with a "gaussian" in it.
OTHER_LISTS = {"jitl"}


@dataclass(frozen=True)
class Entry:
    function: str
    extra: bool = False


def test_functions_are_those_of_the_records_in_their_order() -> None:
    records = {"a": Entry("one", extra=True), "b": Entry("two")}
    functions = Functions(records, Entry)
    assert dict(functions) == {"a": "one", "b": "two"}
    assert (len(functions), list(functions), "c" in functions) == (2, ["a", "b"], False)
    assert repr(functions) == "Functions({'a': 'one', 'b': 'two'})"


def test_what_is_put_in_becomes_a_record_and_what_is_deleted_is_gone() -> None:
    records = {"a": Entry("one", extra=True)}
    functions = Functions(records, Entry)
    functions["b"] = "two"
    functions["a"] = "three"  # another function: nothing of the old record holds for it
    assert records == {"b": Entry("two"), "a": Entry("three", extra=False)}
    functions["c"] = functions["d"] = "one"  # one that it had at the start
    assert records["c"] == records["d"] == Entry("one", extra=True)
    del functions["b"], functions["c"], functions["d"]
    assert list(records) == ["a"]
    with pytest.raises(KeyError, match="c"):
        functions["c"]


@pytest.mark.parametrize("file", REGISTRIES)
def test_the_public_functions_are_a_view_of_the_records(file: str) -> None:
    records, functions = REGISTRIES[file]
    assert {name: record.function for name, record in records.items()} == dict(functions)


def names_told_apart(tree: ast.AST) -> set[str]:
    """Texts that something is compared with, matched to or looked up by."""
    found: set[str] = set()
    for node in ast.walk(tree):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            parts = list(node.keys)
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = list(node.args) if node.func.attr in ("startswith", "endswith", "get") else []
        for part in parts:
            inner = part.elts if isinstance(part, ast.Tuple | ast.List | ast.Set) else [part]
            found |= {e.value for e in inner if isinstance(e, ast.Constant) and isinstance(e.value, str)}
    return found


@pytest.mark.parametrize("file", REGISTRIES)
def test_no_other_file_tells_the_entries_apart_by_name(file: str) -> None:
    names = set(REGISTRIES[file][0])
    for source in [*SOURCES.glob("somlib/**/*.py"), *SOURCES.glob("pipelines/**/*.py")]:
        if source.name == file or OTHER_LISTS & set(source.parts):
            continue
        told_apart = names_told_apart(ast.parse(source.read_text(encoding="utf-8"))) & names
        assert not told_apart, f"{source} asks for {told_apart} by name: ask the record of {file}"


@pytest.mark.parametrize(("registry", "folder"), [(INITIALIZATIONS, "somlib"), (MAPS, "somlib/core")])
def test_starts_and_maps_are_told_apart_by_their_registry_alone(registry: dict[str, object], folder: str) -> None:
    files = SOURCES.glob(f"{folder}/**/*.py")
    found = {file.name: names_told_apart(ast.parse(file.read_text(encoding="utf-8"))) & set(registry) for file in files}
    homes = {"initialization.py", "map_builder.py"}
    assert {name: names for name, names in found.items() if names and name not in homes} == {}


def test_the_search_for_names_finds_them() -> None:
    code = "a == 'x'\nb in ('y', 'z')\n{'v': 1}.get(c)\nd.get('w')\ne.endswith('u')\nf = 't'\ng('s')"
    assert names_told_apart(ast.parse(code)) == {"x", "y", "z", "v", "w", "u"}
