import os
import subprocess
import sys

import pytest

from pipelines.environment import DEFAULTS, set_defaults


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOM_TEST_SET", "mine")
    monkeypatch.delenv("SOM_TEST_OPEN", raising=False)
    set_defaults({"SOM_TEST_SET": "ours", "SOM_TEST_OPEN": "ours"})
    assert (os.environ["SOM_TEST_SET"], os.environ.pop("SOM_TEST_OPEN")) == ("mine", "ours")


def test_importing_the_package_turns_telemetry_off_unless_the_user_turned_it_on() -> None:
    kept = {name: value for name, value in os.environ.items() if name not in DEFAULTS}
    code = "import os, pipelines; print(os.environ['DO_NOT_TRACK'], os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    for variables, expected in (
        ({}, "1 true"),
        ({"DO_NOT_TRACK": "0", "MLFLOW_DISABLE_TELEMETRY": "false"}, "0 false"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], env=kept | variables, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
