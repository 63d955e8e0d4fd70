"""What CONTRIBUTING.md and docs/ say of files is true."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]
    named = re.findall(r"`((?:somlib|pipelines|tests|docs|benchmarks)/[\w./-]*\w\.(?:py|md|yaml|toml))`", text)
    assert [str(path) for path in (*links, *(ROOT / name for name in named)) if not path.exists()] == []


def test_the_architecture_names_each_room_and_its_files() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "pipelines"
    rooms = [path.name for path in package.iterdir() if (path / "__init__.py").is_file()]
    alone = [path.stem for path in package.glob("*.py") if not path.stem.startswith("__")]
    assert [name for name in (*(f"{room}/" for room in rooms), *alone) if name not in text] == []
    files = re.findall(r"`([a-z]+/[a-z_]+\.py)`", text)
    assert [name for name in files if not (package / name).exists()] == []


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs" / "adr").glob("0*.md") if page.name not in listed] == []
