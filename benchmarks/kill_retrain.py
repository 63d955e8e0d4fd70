"""Kill a retraining at every place of its way, run it again, and compare what it has come to.

    python -m benchmarks.kill_retrain

For each place a store in which version 1 serves is copied, `retrain_flow` runs in a process that sends itself SIGKILL
there (`tests/pipelines/flows/kills.py` has the places), and runs again in a new process. What the store holds then is
held against that after a run which nobody has killed: the versions, the champion and its model to the byte, both
aliases, the verdict, the runs that are still open, checkpoints that were left behind.
"""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.pipelines.flows.conftest import KNOWN, changed_rows, old_rows, opened
from tests.pipelines.flows.kills import PLACES, ends

NOWHERE = ""
NEWEST = {"mode": "sliding", "length": "300h"}


def state() -> dict[str, Any]:
    from mlflow import MlflowClient

    from pipelines.store import registry

    client, champion = MlflowClient(), registry.champion("demo")
    assert champion is not None
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    return {
        "versions": len(registry.versions("demo")),
        "champion": champion.version,
        "model": champion.tags["som.model_sha256"],
        "before it": champion.tags["som.previous_champion"],
        "challenger": registry.holding("demo", "challenger").version,
        "verdict": champion.tags["som.verdict"],
        "its run": client.get_run(str(champion.run_id)).info.status,
        "open runs": sum(each.info.status == "RUNNING" for each in runs),
        "checkpoints": Path(".som").exists(),
    }


def outcome(place: str, first: Path, locks: Path) -> dict[str, Any]:
    """The state after a retraining that was killed at a place and run again."""
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), first, locks) as shop:
        config = shop.config(changed_rows(), window=NEWEST, tracking={"uri": shop.uri})
        file = Path(folder) / "demo.yaml"
        file.write_text(config.to_yaml())
        if place != NOWHERE:
            assert ends("retrain_flow", [(file, place)]) == [-signal.SIGKILL], f"not killed at {place}"
        assert ends("retrain_flow", [(file, NOWHERE)]) == [0], f"failed after a kill at {place}"
        return state()


def main() -> None:
    from pipelines.flows import retrain_flow
    from pipelines.operations.engine import flow_engine
    from pipelines.store.connection import connect

    with tempfile.TemporaryDirectory() as folder, flow_engine() as wait:
        wait()
        locks = Path(folder)
        os.environ["XDG_STATE_HOME"] = str(locks)
        empty, champion = locks / "empty.db", locks / "champion"
        champion.mkdir()
        connect(f"sqlite:///{empty}")
        with opened(champion, empty, locks) as shop:
            retrain_flow(shop.config(old_rows()[:KNOWN], tracking={"uri": shop.uri}))
        whole = outcome(NOWHERE, champion / "mlflow.db", locks)
        print("not killed:", ", ".join(f"{name} {value}" for name, value in whole.items()), flush=True)
        print("\n| killed | run again | seconds |\n| --- | --- | --- |")
        for place in PLACES:
            start = time.perf_counter()
            found = outcome(place, champion / "mlflow.db", locks)
            differences = [f"{name} {found[name]}, not {whole[name]}" for name in whole if found[name] != whole[name]]
            seconds = time.perf_counter() - start
            print(f"| {place} | {'; '.join(differences) or 'the same'} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
