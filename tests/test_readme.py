"""What README.md shows works."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines.settings.config import PipelineConfig
from somlib.core.map_builder import MAPS
from somlib.utils.clustering import CLUSTERING_METHODS
from somlib.utils.decay import DECAY_FUNCTIONS
from somlib.utils.distances import DISTANCE_FUNCTIONS
from somlib.utils.neighborhood import NEIGHBORHOOD_FUNCTIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks("python")[0], names)
    assert "trustworthiness" in capsys.readouterr().out
    assert (tmp_path / "figures" / "component_planes.png").is_file()


def test_the_config_of_five_lines_is_one() -> None:
    (text,) = blocks("yaml")
    assert len(text.strip().splitlines()) == 5
    config = PipelineConfig.model_validate(yaml.safe_load(text))
    assert config.som.topology == "hexagonal"


@pytest.mark.parametrize(
    "registry", [DISTANCE_FUNCTIONS, NEIGHBORHOOD_FUNCTIONS, DECAY_FUNCTIONS, MAPS, CLUSTERING_METHODS]
)
def test_every_registered_name_is_told(registry: dict[str, object]) -> None:
    assert [name for name in registry if f"`{name}`" not in README] == []


def test_every_file_that_it_points_to_exists() -> None:
    named = re.findall(r"\]\((?!https?:)([^)#]+)\)", README) + re.findall(
        r"`((?:data|docs|benchmarks)/[\w.]+\.md)`", README
    )
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
