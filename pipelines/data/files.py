"""Which files a path names, in the order in which they are read."""

import difflib
from pathlib import Path

from pipelines.errors import DatasetError

SUFFIXES = (".parquet", ".pq")


def data_files(path: str) -> tuple[Path, ...]:
    """The files of a path, sorted, so that the same dataset is read in the same order everywhere."""
    if "://" in path:
        raise DatasetError(f"data.path must be a local file, folder or pattern, got {path}")
    root = Path(path).expanduser()
    if root.is_file():
        return (root,)
    if root.is_dir():
        files = sorted(file for file in root.rglob("*") if _is_data_file(file, root))
        if not files:
            raise DatasetError(
                f"data.path: no file named {' or '.join('*' + s for s in SUFFIXES)} in the folder {path}"
            )
        return tuple(files)
    if is_pattern(path):
        anchor = Path(root.anchor) if root.is_absolute() else Path()
        pattern = str(root.relative_to(root.anchor)) if root.is_absolute() else str(root)
        files = sorted(file for file in anchor.glob(pattern) if file.is_file())
        if not files:
            raise DatasetError(f"data.path: no file matches {path}")
        return tuple(files)
    raise DatasetError(f"data.path: no such file or folder: {path}{_near_path(root)}")


def is_pattern(text: str) -> bool:
    """Whether a text has marks of a pattern in it."""
    return any(mark in text for mark in "*?[")


def _is_data_file(file: Path, root: Path) -> bool:
    """Whether a file in a folder is one of its data files: by suffix, and nothing hidden or of a writer at work."""
    parts = file.relative_to(root).parts
    return file.suffix in SUFFIXES and file.is_file() and not any(part.startswith((".", "_")) for part in parts)


def _near_path(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f": did you mean {path.with_name(near[0])}?" if near else ""
