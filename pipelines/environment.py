"""Environment defaults for Prefect, MLflow and torch, set before any is imported; what the user has set stays.

An environment variable is the one way to reach the temporary server that Prefect starts in a process of its own, and
OpenMP, which reads its own but once.
"""

import os
from collections.abc import Mapping

DEFAULTS: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The temporary server takes 3 s to start, and 10 where it first makes its database: on a busy machine more than
    # the 20 s that Prefect allows.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # With MLflow's own 7 retries a server that is down is found out after four minutes; with 3, after 13 s.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    # Threads of OpenMP that wait by spinning starve each other where other jobs share the cores: on two cores under a
    # load of 9 the shipped map trained in 58 s (15.7 s of CPU), and in 1.1 s (0.4 s) with threads that sleep.
    "OMP_WAIT_POLICY": "PASSIVE",
}

# Only for the command line, which says in its own words what happens.
QUIET: Mapping[str, str] = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # of a locked database it logs a traceback for each try
}

# Only for the server, which answers several requests at once, each of them small: one thread for each is enough.
SERVING: Mapping[str, str] = {"OMP_NUM_THREADS": "1"}


def set_defaults(defaults: Mapping[str, str]) -> None:
    """Set what is not set yet."""
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
