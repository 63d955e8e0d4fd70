"""What holds for every test: one thread of computation, so that small tensors do not wait for each other; and an order.

PyTorch takes seconds to import, so it is left to the tests that need it: one of a pure module is done without.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before a library reads it; commands that tests start inherit it

import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

import pytest
from xdist.scheduler import LoadFileScheduling


class BeforeTriton(MetaPathFinder):
    """Lets Triton interpret its kernels where there is no CUDA device; it wants to know before it is imported."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "triton":
            sys.meta_path.remove(self)
            import torch

            if not torch.cuda.is_available():
                os.environ["TRITON_INTERPRET"] = "1"


sys.meta_path.insert(0, BeforeTriton())

# Files whose tests share servers that run, which go away as soon as other tests follow.
LIVE = tuple(
    f"tests/pipelines/operations/test_{name}.py"
    for name in ("automations", "deploying", "events", "orchestration", "servers")
)
# What takes longest comes first, so that no worker is left alone with it at the end.
FIRST = (*LIVE, "tests/pipelines/flows/", "tests/pipelines/test_first_run.py", "tests/somlib/jitl/", "tests/pipelines/")


class FilesOfOneWorker(LoadFileScheduling):
    """The tests of a file run in one worker, in the order of the files; those that share live servers do too."""

    def _split_scope(self, nodeid: str) -> str:
        return "live" if nodeid.startswith(LIVE) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesOfOneWorker:
    config.option.loadscopereorder = False  # it would put files of few tests last, which are the long ones
    return FilesOfOneWorker(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [not item.nodeid.startswith(each) for each in FIRST])


def pytest_collection_finish() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell script. The processes that tests send a Ctrl-C would inherit it, and ignore that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A command that has ended in this process ignores signals, as its processes would from then on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
