"""Which files a path names, by their exact names, in the order in which they are read.

A path that exists is that file or folder, whatever marks are in its name; only one that does not exist is read as a
pattern. A folder holds its data files at any depth, also behind links; each is read once, under its own name before
that of a link to it. Object stores are listed by the same rules. What is passed over is counted, so that nothing is
left out without a word.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from pathlib import Path, PurePath, PurePosixPath

from pipelines.data.remote import DataFile, Store, is_address, local_path, store_of
from pipelines.errors import DatasetError
from pipelines.settings.yaml_text import expanded
from pipelines.wording import counted, some

SUFFIXES = (".parquet", ".parq", ".pq")
SUMMARIES = ("_metadata", "_common_metadata")  # of Spark, Hive and Dask: footers of other files, no rows
MAGIC = b"PAR1"
_NAMED = "*.parquet, *.parq or *.pq"

Wanted = Callable[[tuple[str, ...]], bool]
"""Whether the names of folders, and of a file, below a root are wanted."""


@dataclass(frozen=True)
class Found:
    """The files of a path.

    Attributes:
        files: In the order in which they are read.
        root: The folder that a dataset lies in: names of folders below it may be partitions.
        notes: What was passed over, a line each.
    """

    files: tuple[DataFile, ...]
    root: PurePath
    notes: tuple[str, ...] = ()


def data_files(path: str) -> Found:
    """The files of a path, sorted, so that the same dataset is read in the same order everywhere.

    Raises:
        DatasetError: There is none, or a folder or link cannot be followed.
    """
    path = local_path(path)
    if "\0" in path:
        raise DatasetError(f"data.path must be the name of a file or folder, got {path!r}")
    if is_address(path):
        try:
            return _of_store(store_of(path), path)
        except OSError as error:
            raise DatasetError(f"data.path: {path} cannot be read: {error}") from error
    try:
        return _found(path)
    except OSError as error:  # such as a name that is too long, or a folder on the way that cannot be entered
        raise DatasetError(f"data.path: {path} cannot be read: {error.strerror}") from error


def _found(path: str) -> Found:
    root = expanded(path)
    if root.is_dir():
        return _of_folder(root)
    if root.is_file():
        if root.name in SUMMARIES:
            raise DatasetError(
                f"data.path: {path} is a summary of the files beside it: give their folder, {root.parent}"
            )
        return Found((root,), root.parent)
    if root.exists():
        raise DatasetError(f"data.path must be a file, folder or pattern, got a device or pipe: {path}")
    if is_pattern(path):
        return _of_pattern(root)
    if root.is_symlink():
        raise DatasetError(f"data.path: {path} is a link to {root.readlink()}, which does not exist")
    raise DatasetError(f"data.path: no such file or folder: {path}{_near_path(root)}")


def _of_store(store: Store, address: str) -> Found:
    """The files of an address: one, or those of a folder or pattern."""
    path = PurePosixPath(store.path)
    if store.is_file(store.path):
        return Found((store.file(store.path),), path.parent)
    if store.kind == "https":
        raise DatasetError(f"data.path: {address} must be the address of one file, there is none")
    root, matching = path, [PurePosixPath(each) for each in store.listed(store.path)]
    if matching:
        named = [each for each in matching if _is_named_as_data(each)]
    elif is_pattern(store.path):
        plain = next(i for i, part in enumerate(path.parts) if is_pattern(part))
        root, pattern = PurePosixPath(*path.parts[:plain]), path.parts[plain:]
        listed = [PurePosixPath(each) for each in store.listed(str(root))]
        named = matching = [each for each in listed if matches(each.relative_to(root).parts, pattern)]
    else:
        raise DatasetError(f"data.path: no such file or folder: {address}")
    hidden = [each for each in named if _is_hidden(each.relative_to(root).parts)]
    files = tuple(store.file(str(each)) for each in sorted({*named} - {*hidden}))
    others = [each for each in matching if each not in named]
    if not files:
        raise DatasetError(f"data.path: no file named {_NAMED} in {address}")
    return Found(files, root, tuple(_notes(root, 0, hidden, others)))


def is_pattern(text: str) -> bool:
    """Whether a text has marks of a pattern in it."""
    return any(mark in text for mark in "*?[")


# ---------------------------------------------------------------- a folder


def _of_folder(root: Path) -> Found:
    walk = _Walk(root)
    data, hidden, others = [], [], []
    for parts in walk.files():
        file = root.joinpath(*parts)
        if _is_hidden(parts):
            hidden += [file] if _is_named_as_data(file) else []
        elif _is_named_as_data(file) or (not file.suffix and _opens_as_parquet(file)):
            data.append(file)
        else:
            others.append(file)
    if walk.problems:
        raise DatasetError(*walk.problems)
    files, links = _each_once(data)
    if not files:
        beside = f", only {some([file.name for file in others])}" if others else ""
        raise DatasetError(f"data.path: no file named {_NAMED} in the folder {root}{beside}")
    return Found(files, root, (*walk.notes(), *_notes(root, links, hidden, others)))


def _is_named_as_data(file: PurePath) -> bool:
    return file.suffix.lower() in SUFFIXES


def _is_hidden(parts: Sequence[str]) -> bool:
    """Whether files of that place are hidden or of a writer at work; `_day=3` is a partition all the same."""
    return any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in parts)


def _opens_as_parquet(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _each_once(files: Sequence[Path]) -> tuple[tuple[Path, ...], int]:
    """The files sorted, each once however many links lead to it, and how many links were left out."""
    real = {file: os.path.realpath(file) for file in files}
    kept: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: (str(file.absolute()) != real[file], file)):
        kept.setdefault(real[file], file)
    return tuple(sorted(kept.values())), len(files) - len(kept)


def _notes(root: PurePath, links: int, hidden: Sequence[PurePath], others: Sequence[PurePath]) -> Iterator[str]:
    if links:
        yield f"{counted(links, 'link')} to files that are read under their own names: each file is read once"
    for files, reason in (
        (hidden, "hidden or of a writer at work, by names with . or _ in front"),
        (others, f"named otherwise than {_NAMED}"),
    ):
        if files:
            names = some([str(file.relative_to(root)) for file in files])
            yield f"{counted(len(files), 'file')} in {root} not read, {reason}: {names}"


class _Walk:
    """Files below a folder, with what cannot be followed.

    Folders come before links to folders, and each is entered once: so a file has the name of its own place, not that
    of a link, and no loop of links is without end.
    """

    def __init__(self, root: Path, leads: Wanted = lambda parts: True) -> None:
        self.problems: list[str] = []
        self._root = root
        self._leads = leads
        self._entered: set[str] = set()
        self._links: list[tuple[str, ...]] = []
        self._again: list[str] = []
        self._broken: list[str] = []

    def files(self) -> Iterator[tuple[str, ...]]:
        """Names from the root on."""
        around = {os.path.realpath(self._root), *map(str, Path(os.path.realpath(self._root)).parents)}
        yield from self._below(())
        while self._links:
            link = self._links.pop(0)
            real = os.path.realpath(self._root.joinpath(*link))
            if real in self._entered or real in around:
                self._again.append(str(Path(*link)))
            else:
                yield from self._below(link)

    def notes(self) -> Iterator[str]:
        """A line for each kind of link that leads nowhere."""
        if self._again:
            what = "to a folder that is read already, or lies around the data"
            yield f"{counted(len(self._again), 'link')} in {self._root} not followed, {what}: {some(self._again)}"
        if self._broken:
            what = "to what does not exist"
            yield f"{counted(len(self._broken), 'link')} in {self._root} not followed, {what}: {some(self._broken)}"

    def _below(self, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        folder = self._root.joinpath(*names)
        self._entered.add(os.path.realpath(folder))
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            if not _is_hidden(names):
                self.problems.append(f"data.path: the folder {folder} cannot be read: {error.strerror}")
            return
        for entry in entries:
            parts = (*names, entry.name)
            if entry.is_dir():
                if entry.is_symlink():
                    self._links += [parts] if self._leads(parts) else []
                elif self._leads(parts) and os.path.realpath(entry) not in self._entered:
                    yield from self._below(parts)
            elif entry.is_file():
                yield parts
            elif entry.is_symlink() and self._leads(parts):
                self._add_broken(entry, parts)

    def _add_broken(self, link: Path, parts: tuple[str, ...]) -> None:
        if _is_named_as_data(link) and not _is_hidden(parts):
            self.problems.append(f"data.path: {link} is a link to {link.readlink()}, which does not exist")
        else:
            self._broken.append(str(Path(*parts)))


# ---------------------------------------------------------------- a pattern


def _of_pattern(path: Path) -> Found:
    """Files that match, whatever their ending; those hidden or of a writer at work only where the pattern says so."""
    plain = next(i for i, part in enumerate(path.parts) if is_pattern(part) and not Path(*path.parts[: i + 1]).exists())
    root, pattern = Path(*path.parts[:plain]), path.parts[plain:]
    walk = _Walk(root, lambda parts: matches(parts, pattern, leads=True))
    matching = [parts for parts in walk.files() if matches(parts, pattern)] if root.is_dir() else []
    if walk.problems:
        raise DatasetError(*walk.problems)
    passed_over = [parts for parts in matching if _is_hidden(parts)] if not _is_hidden(pattern) else []
    files, links = _each_once([root.joinpath(*parts) for parts in sorted({*matching} - {*passed_over})])
    hidden = [file for parts in passed_over if _is_named_as_data(file := root.joinpath(*parts))]
    if not files:
        folders = (
            f": folders match, their files would match {path / '**' / '*'}" if _folders_match(root, pattern) else ""
        )
        raise DatasetError(f"data.path: no file matches {path}{folders}")
    return Found(files, root, (*walk.notes(), *_notes(root, links, hidden, ())))


def _folders_match(root: Path, pattern: Sequence[str]) -> bool:
    return "**" not in pattern and root.is_dir() and any(file.is_dir() for file in root.glob(str(Path(*pattern))))


def matches(parts: Sequence[str], pattern: Sequence[str], leads: bool = False) -> bool:
    """Whether names match a pattern of names, in which ** stands for any number of folders.

    Args:
        parts: Of folders, the last of a file.
        pattern: For them.
        leads: Whether it is enough that something below the names could match.
    """
    if not parts:
        return leads or all(part == "**" for part in pattern)
    if not pattern:
        return False
    if pattern[0] == "**":
        return matches(parts, pattern[1:], leads) or matches(parts[1:], pattern, leads)
    named = parts[0] == pattern[0] or _pattern(pattern[0]).match(parts[0]) is not None
    return named and matches(parts[1:], pattern[1:], leads)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """A pattern for a name; one that asks for no hidden files finds none."""
    return re.compile(("" if text.startswith(".") else r"(?!\.)") + translate(text))


def _near_path(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f": did you mean {path.with_name(near[0])}?" if near else ""
