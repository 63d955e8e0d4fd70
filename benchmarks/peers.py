"""Other libraries, each in an environment of its own, so that no pin of theirs touches ours."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent
Array = np.ndarray
PEERS = {
    # name: what pip is given, in this order. torch stands first where it is needed, in the version of constraints.txt.
    "torchsom": ["torch==2.13.0", "torchsom==1.3.1"],
    "minisom": ["numpy", "minisom==2.3.6"],
    "xpysom": ["numpy", "xpysom==1.0.7"],
    # Declares Python 3.12; runs as it is on 3.11. Without its dependencies, so that only this one pin is overruled.
    "fastersom": ["torch==2.13.0", "numpy tqdm", "--no-deps --ignore-requires-python fastersom==0.6.0"],
}
LOADER_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class PeerError(RuntimeError):
    """A library that could not be installed, or whose script failed; the message ends with what it said last."""


@dataclass(frozen=True)
class Trained:
    """What one training in a process of its own gave.

    Attributes:
        weights: Codebook, shape (x, y, d).
        wall: Seconds of initialization and training.
        cpu: CPU seconds of the same, of all threads.
        first: Seconds of the warm-up on tiny data before it: late imports and compilation.
        memory: Peak above what the process held before, in MB; NaN where the system does not tell.
        version: Of the library.
    """

    weights: Array
    wall: float
    cpu: float
    first: float
    memory: float
    version: str


def peer_python(name: str) -> Path:
    """The interpreter of a peer's environment, made on first use in `benchmarks/.peers/`; for somlib this one."""
    if name == "somlib":
        return Path(sys.executable)
    home = ROOT / ".peers" / name
    python = home / "bin" / "python"
    done = home / ".installed"
    if not done.exists():
        print(f"setting up {name} in {home}", file=sys.stderr)
        _call([sys.executable, "-m", "venv", "--clear", str(home)], f"{name} got no environment")
        for arguments in PEERS[name]:
            command = [str(python), "-m", "pip", "install", "--quiet", *arguments.split()]
            _call(command, f"{name} could not be installed")
        done.touch()
    return python


def run_peer(name: str, script: str, *arguments: str, threads: int = 1) -> None:
    """Run a script of this folder in a peer's environment.

    Raises:
        PeerError: The environment cannot be made, or the script fails.
    """
    environment = {"PATH": "/usr/bin:/bin", **dict.fromkeys(LOADER_THREADS, str(threads))}
    command = [str(peer_python(name)), str(ROOT / script), *arguments]
    _call(command, f"{script} {arguments[0]!r} failed", environment)


def train_peer(
    name: str, setting: str, source: Path, x: int, y: int, topology: str, seed: int, threads: int = 1
) -> Trained:
    """One training by `train_<name>.py` on the rows in `source` (.npy); see `trial.py`.

    Raises:
        PeerError: As `run_peer`, or the weights are not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "trained.npz"
        place = (str(x), str(y), topology, str(seed))
        run_peer(name, f"train_{name}.py", setting, str(source), str(out), *place, threads=threads)
        with np.load(out) as found:
            numbers = {key: float(found[key]) for key in ("wall", "cpu", "first", "memory")}
            trained = Trained(found["weights"], version=str(found["version"]), **numbers)
    if not np.isfinite(trained.weights).all():
        raise PeerError(f"train_{name}.py {setting!r} gave weights that are not finite")
    return trained


def _call(command: list[str], failure: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise PeerError(f"{failure} (exit {done.returncode}): {said[-1] if said else 'it said nothing'}")
