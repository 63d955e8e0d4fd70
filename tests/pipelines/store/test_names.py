import ast
from pathlib import Path

from pipelines.store import names

SOURCES = Path(names.__file__).parents[1]
VALUES = {value for name, value in vars(names).items() if name.isupper()}
TAGS = {value for name, value in vars(names).items() if name.endswith("_TAG")}


def test_no_two_names_have_one_value() -> None:
    assert len(VALUES) == len([name for name in vars(names) if name.isupper()])


def test_no_other_module_writes_a_tag_by_hand() -> None:
    by_hand = {
        f"{file.relative_to(SOURCES)}:{node.lineno}: {node.value}"
        for file in SOURCES.rglob("*.py")
        if file != Path(names.__file__)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in TAGS
    }
    assert by_hand == set()
