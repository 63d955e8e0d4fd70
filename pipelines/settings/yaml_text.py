"""Text files and YAML, with every fault in them as one line that says where it is."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipelines.errors import ConfigError

DEEPEST = 50  # levels of lists and sections; settings have four
LARGEST = 100_000  # values once aliases are written out; a few lines of them can stand for billions


def expanded(path: str) -> Path:
    """A path, from a home folder where it begins with ~ and that is somebody's."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_text(file: str) -> str:
    """What a text file in UTF-8 holds, without a byte order mark.

    Raises:
        ConfigError: No such file, or one that cannot be read.
    """
    path = expanded(file)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in _siblings(path)], n=1)
        hint = f": did you mean {path.with_name(near[0])}?" if near else ""
        raise ConfigError(f"{path}: no such file{hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from None
    except ValueError:  # a zero in the name
        raise ConfigError(f"{str(path)!r}: is no name of a file") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: cannot be read: it is not UTF-8, save it as such") from None


def _siblings(path: Path) -> Iterable[Path]:
    return path.parent.iterdir() if path.parent.is_dir() else ()


def parse_yaml(text: str, origin: str) -> Any:
    """What YAML text says; `origin` opens the line of an error.

    Raises:
        ConfigError: It is not valid, or has keys that are given twice or are no names, or is far too deep or large.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{origin}{place}: not valid YAML: {' '.join(str(error.problem).split())}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{origin}, line {line}: not valid YAML: the character {error.character:#x} is in it"
        ) from None


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for settings: keys are names, each given once; YAML itself silently keeps the last."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[Node, int] = {}

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        is_alias = self.check_event(AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"it is nested more than {DEEPEST} levels deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias and node not in self._sizes:
            raise yaml.MarkedYAMLError(problem="it contains itself", problem_mark=mark)
        self._sizes[node] = 1 + sum(self._sizes[child] for child in _children(node))
        if self._sizes[node] > LARGEST:
            raise yaml.MarkedYAMLError(problem=f"its aliases stand for over {LARGEST:,} values", problem_mark=mark)
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, ScalarNode):
                kind = "a list" if isinstance(key_node, SequenceNode) else "a section"
                raise yaml.MarkedYAMLError(
                    problem=f"a key must be a name, got {kind}", problem_mark=key_node.start_mark
                )
            key = key_node.value
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:  # of 2020-99-99 and its like
            value = node.value if isinstance(node, ScalarNode) else "it"
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(problem=f"{value[:40]!r} is no {kind}", problem_mark=node.start_mark) from error


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []
