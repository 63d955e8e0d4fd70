"""Work in a second process, while this one goes on with something else: for two cores, where threads take turns.

Python runs in one thread at a time, and what draws figures is Python from end to end, as is most of what fits local
models. A second process has to import all anew, so it is started as soon as a command knows that there will be work.

The process does nothing that cannot be done here as well, and what it has not done, for whatever reason, is done here:
because it could not be started, ran out of memory, was ended by somebody, or because the work itself failed, which then
fails once more where its error can be seen.
"""

import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from pipelines.progress import advance, listening

logger = logging.getLogger(__name__)

# A Ctrl-C reaches the process, too: it ends without a word, and its parent says what there is to say.
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); sys.path[:] = {path!r}; "
    "from pipelines.second_process import work; work({modules!r})"
)
DONE = "done"


Call = tuple[str, tuple[Any, ...]]  # the function, as `module:name`, and its arguments


_prepared: "ContextVar[subprocess.Popen[str] | None]" = ContextVar("second process", default=None)


@contextmanager
def prepared(modules: Sequence[str]) -> Iterator[None]:
    """Let a second process import some modules from now on, for what is submitted inside; without any, there is none.

    It ends with the block, whatever it is doing.
    """
    process = _started(modules) if modules else None
    token = _prepared.set(process)
    try:
        yield
    finally:
        _prepared.reset(token)
        if process is not None:
            process.kill()
            process.communicate()


class SecondProcess:
    """Takes calls of functions, and makes sure that they have been made: by the process that is prepared, or here.

    Args:
        folder: Where the arguments of the calls lie until then; it must be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls: list[Call] = []
        self._process = _prepared.get()

    def submit(self, function: str, *arguments: Any) -> None:
        """Call a function, named as `module:name`, with arguments that can be pickled; what it returns is lost."""
        self._calls.append((function, arguments))
        if self._process is None:
            return
        file = self._folder / f"call-{len(self._calls)}.pickle"
        file.write_bytes(pickle.dumps((function, arguments)))
        try:
            pipe = _pipe(self._process.stdin)
            pipe.write(f"{json.dumps(str(file))}\n")
            pipe.flush()
        except OSError as error:  # it has ended
            logger.debug("the second process takes no work: %s", error)

    def finish(self) -> None:
        """Wait for all calls, and say how far they are; make those here that were not made there.

        Raises:
            Exception: What a function raises.
        """
        calls, self._calls = self._calls, []
        while calls and self._made():
            calls.pop(0)
        for call in calls:
            make(call)

    def _made(self) -> bool:
        """Whether the next call was made there."""
        if self._process is None:
            return False
        go_on = advance()
        for line in _pipe(self._process.stdout):
            said = json.loads(line)
            if said == DONE:
                return True
            go_on(*said)
        logger.debug("the second process ended before its work: exit code %s", self._process.wait())
        return False


def _started(modules: Sequence[str]) -> "subprocess.Popen[str] | None":
    code = START.format(path=sys.path, modules=list(modules))
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # an error of the work is raised here, when it is done again
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
        )
    except OSError as error:
        logger.debug("no second process: %s", error)
        return None


def make(call: Call) -> None:
    """Make a call."""
    (module, _, name), arguments = call[0].partition(":"), call[1]
    getattr(import_module(module), name)(*arguments)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # as asked for
    return pipe


# ---------------------------------------------------------------- in the process


class Reporting:
    """Says how far the work is, for `SecondProcess` to read.

    Args:
        say: Writes a line.
    """

    def __init__(self, say: Callable[[object], None]) -> None:
        self._say = say

    def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
        """As a line."""
        self._say([done, of, doing, result])

    def stage_started(self, stage: str) -> None:
        """Nothing: stages are those of the other process."""

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        """Nothing."""

    def remark(self, text: str) -> None:
        """Nothing: the functions that are called here have nothing to remark."""


def work(modules: Sequence[str]) -> None:
    """Import some modules, then make the calls whose files are named, one a line, until there are no more lines."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a package prints is no answer

    def say(what: object) -> None:
        print(json.dumps(what), file=answers, flush=True)

    for module in modules:
        import_module(module)
    with listening(Reporting(say)):
        for line in sys.stdin:
            # Written by the parent into a folder that only this user can read: nothing of a model, or from elsewhere.
            make(pickle.loads(Path(json.loads(line)).read_bytes()))
            say(DONE)
