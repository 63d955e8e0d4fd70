from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.settings.config import load_config, read_settings
from pipelines.settings.yaml_text import expanded, parse_yaml, read_text

ALIASES = "\n".join(["a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]"] + [
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]" for before, name in zip("abcdefg", "bcdefgh", strict=True)
])  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("name: x\n? [a]\n: 1\n", "line 2, column 3", "a key must be a name, got a list"),
        ("name: x\n? {a: 1}\n: 1\n", "line 2, column 3", "a key must be a name, got a section"),
        ("a: " + "[" * 500, "line 1, column 53", "it is nested more than 50 levels deep"),
        ("\n".join(" " * i + "a:" for i in range(2000)), "line 50, column 50", "it is nested more than 50 levels deep"),
        (ALIASES, "line 5, column 4", "its aliases stand for over 100,000 values"),
        ("a: &a [*a]", "line 1, column 8", "it contains itself"),
        ("som:\n  x: 1\n  x: 2\n", "line 3, column 3", "x is given twice"),
        ("som:\n\tx: 1\n", "line 2, column 1", "found character '\\t' that cannot start any token"),
        ("name: x\nstart: 2020-99-99\n", "line 2, column 8", "'2020-99-99' is no timestamp"),
        ("name: !!timestamp abc\n", "line 1, column 7", "'abc' is no timestamp"),
        ("name: !!int abc\n", "line 1, column 7", "'abc' is no int"),
        ("x: " + "9" * 5000, "line 1, column 4", f"'{'9' * 40}' is no int"),
        ("a: 1\nb: \0\n", "line 2", "the character 0x0 is in it"),
        ("name: x\n---\nname: y\n", "line 2, column 1", "but found another document"),
    ],
)
def test_every_fault_of_yaml_is_one_line_with_its_place(tmp_path: Path, text: str, place: str, reason: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert list(caught.value.problems) == [f"{file}, {place}: not valid YAML: {reason}"]


def test_an_override_is_yaml_too(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("name: x")
    with pytest.raises(ConfigError, match=r"^--set som.x=\? \[a\], line 1, column 3: not valid YAML: a key must be"):
        read_settings(file, ["som.x=? [a]"])


def test_aliases_and_merges_of_ordinary_size_are_read() -> None:
    text = "base: &base {x: 1, y: [2]}\nsom:\n  <<: *base\n  z: *base\n"
    assert parse_yaml(text, "") == {"base": {"x": 1, "y": [2]}, "som": {"x": 1, "y": [2], "z": {"x": 1, "y": [2]}}}


@pytest.mark.parametrize(
    ("content", "line"),
    [("a: 1\nb: größe".encode("latin-1"), 2), ("name: x".encode("utf-16"), 1), (bytes(range(256)), 2)],
)
def test_a_file_that_is_not_utf8_is_named_with_the_line(tmp_path: Path, content: bytes, line: int) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_text(str(file))
    assert list(caught.value.problems) == [f"{file}, line {line}: cannot be read: it is not UTF-8, save it as such"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfname: x")
    assert read_settings(tmp_path / "c.yaml") == {"name": "x"}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("/", "/: cannot be read: Is a directory"),
        ("/" + "x" * 300, f"/{'x' * 300}: cannot be read: File name too long"),
        ("a\0b", "'a\\x00b': is no name of a file"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x: no such file"),
    ],
)
def test_what_is_no_file_is_told_in_one_line(file: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert list(caught.value.problems) == [reason]


def test_a_home_folder_is_that_of_somebody_or_a_plain_name() -> None:
    assert expanded("~/x") == Path.home() / "x"
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
