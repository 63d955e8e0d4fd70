"""There is no Docker where the tests run; whether the files fit each other and the code can be checked without."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from pipelines.cli import DEFAULT_POOL, app

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (FOLDER / ".env.example").read_text()
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def default(command: str, option: str) -> Any:
    """What an option of `som` is by default."""
    (found,) = (each for each in get_command(app).commands[command].params if each.name == option)  # type: ignore[attr-defined]
    return found.default


def urls(service: str) -> list[re.Match[str]]:
    """The addresses of other services in the environment of one."""
    pattern = r"^[\w+]+://(?:som:\$\{POSTGRES_PASSWORD\}@)?(?P<host>\w+):(?P<port>\d+)(?:/(?P<path>\w+))?$"
    found = (re.match(pattern, str(value)) for value in SERVICES[service].get("environment", {}).values())
    return [match for match in found if match]


@pytest.mark.parametrize(("service", "option"), [("prefect", "prefect_port"), ("mlflow", "mlflow_port")])
def test_servers_listen_where_som_up_starts_them_and_on_this_machine_alone(service: str, option: str) -> None:
    port = default("up", option)
    assert SERVICES[service]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert any(str(port) == part or part == f"--port={port}" for part in SERVICES[service]["command"])
    assert f"localhost:{port}" in " ".join(SERVICES[service]["healthcheck"]["test"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_waits_for_every_other_that_it_is_told_to_use(service: str) -> None:
    used = {match["host"] for match in urls(service)}
    assert used == set(SERVICES[service].get("depends_on", {}))
    for other in used:
        assert SERVICES[service]["depends_on"][other] == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


def test_the_worker_uses_both_servers_and_the_pool_that_deployments_go_to() -> None:
    ports = {match["host"]: int(match["port"]) for match in urls("worker")}
    assert ports == {"prefect": default("up", "prefect_port"), "mlflow": default("up", "mlflow_port")}
    command = SERVICES["worker"]["command"]
    assert command[command.index("--pool") + 1] == DEFAULT_POOL


def test_each_server_has_a_database_that_is_made() -> None:
    made = re.findall(r"^CREATE DATABASE (\w+);$", (FOLDER / "databases.sql").read_text(), re.MULTILINE)
    used = [match["path"] for service in SERVICES for match in urls(service) if match["host"] == "postgres"]
    assert sorted(used) == sorted(made) == ["mlflow", "prefect"]


def test_the_driver_of_the_databases_is_installed_in_the_image() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "'.[postgres]'" in DOCKERFILE
    assert extras["postgres"][0].startswith("psycopg[binary]")
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in pinned} >= {"psycopg", "psycopg-binary", "asyncpg", "torch"}


def test_every_variable_is_in_the_example_and_no_secret_has_a_value() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"^(?:# )?([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    for secret in ("POSTGRES_PASSWORD", "SOM_NOTIFY_URL"):
        assert re.search(rf"^{secret}=$", EXAMPLE, re.MULTILINE)
        assert not re.search(rf"\$\{{{secret}:-[^}}]", text)
    assert "${POSTGRES_PASSWORD:?" in text


def test_volumes_are_declared_and_belong_to_the_user_of_the_image() -> None:
    mounted = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    named = {source: target for source, target, *_ in mounted if re.fullmatch(r"\w+", source)}
    assert set(named) == set(COMPOSE["volumes"])
    for target in {named["artifacts"], named["state"]}:
        assert re.search(rf"mkdir -p .*{re.escape(target)}\b", DOCKERFILE)
    assert DOCKERFILE.index("USER som") > DOCKERFILE.index("chown -R som:som /som /artifacts")


def test_the_image_copies_what_exists_and_what_is_not_ignored() -> None:
    copied = [path for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for path in line.split()[:-1]]
    allowed = re.findall(r"^!(.+)$", (FOLDER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(allowed)
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_the_image_has_a_python_that_the_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (version,) = re.findall(r"^FROM python:([\d.]+)-slim$", DOCKERFILE, re.MULTILINE)
    assert project["requires-python"] == f">={version}"
