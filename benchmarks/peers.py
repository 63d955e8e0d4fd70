"""Other libraries, each in an environment of its own, so that no pin of theirs touches ours."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent
PEERS = {
    # name: requirements. torch stands first where it is needed, in the version of constraints.txt.
    "torchsom": ["torch==2.13.0", "torchsom==1.3.1"],
}


def peer_python(name: str) -> Path:
    """The interpreter of a peer's environment, made on first use in `benchmarks/.peers/`."""
    home = ROOT / ".peers" / name
    python = home / "bin" / "python"
    done = home / ".installed"
    if not done.exists():
        print(f"setting up {name} in {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        for requirement in PEERS[name]:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", requirement], check=True)
        done.touch()
    return python


def run_peer(name: str, script: str, *arguments: str) -> None:
    """Run a script of this folder in a peer's environment, one thread."""
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    subprocess.run([str(peer_python(name)), str(ROOT / script), *arguments], check=True, env=environment)
