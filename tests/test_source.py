"""What every source file keeps to: its length, the arguments of its functions, its words."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("somlib", "pipelines") for path in (ROOT / package).rglob("*.py"))
LINES, ARGUMENTS = 400, 6


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


def crowded(text: str) -> Iterator[str]:
    """Functions with more than six arguments and no comment beside them that says why."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            named = [each for each in arguments if each.arg not in ("self", "cls")]
            signature = "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1])
            if len(named) > ARGUMENTS and not re.search(r"#\s*\w", signature):
                yield node.name


def test_crowded_finds_what_it_looks_for() -> None:
    seven = "def f(a, b, c, d, e, f, *, g): {}\n    return a\n"
    assert list(crowded(seven.format(""))) == ["f"]
    assert list(crowded(seven.format(" # a reason"))) == []
    assert list(crowded("class A:\n    def f(self, a, b, c, d, e, f): ...\n")) == []


def test_functions_of_pipelines_take_at_most_six_arguments_or_say_why() -> None:
    sources = {
        name_of(path): path.read_text(encoding="utf-8") for path in SOURCES if path.is_relative_to(ROOT / "pipelines")
    }
    found = {name: names for name, text in sources.items() if (names := list(crowded(text)))}
    assert found == {}


def prose(text: str) -> str:
    """The comments and the text constants of a source file, on one line."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # from 3.12 on
    return " ".join(" ".join(token.string.split()) for token in tokens if token.type in kinds)


def test_prose_says_plainly_what_it_means() -> None:
    private = re.compile(r"\b(so many|likewise|came to|told|contest|contender|yardstick)\b", re.IGNORECASE)
    found = {name_of(path): private.findall(prose(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {name: words for name, words in found.items() if words} == {}
