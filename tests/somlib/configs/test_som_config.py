"""Settings: bounds, names, files, and the constructors and registries that they belong to."""

import inspect
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from somlib import SOM, SOMConfig
from somlib.configs import som_config
from somlib.errors import ArgumentError
from somlib.utils.decay import DECAY_FUNCTIONS
from somlib.utils.distances import DISTANCE_FUNCTIONS
from somlib.utils.grid import TOPOLOGIES
from somlib.utils.initialization import INITIALIZATIONS
from somlib.utils.neighborhood import KERNELS, NEIGHBORHOOD_FUNCTIONS

FULL: dict[str, Any] = {
    "x": 6,
    "y": 7,
    "num_features": 3,
    "epochs": 11,
    "batch_size": 32,
    "sigma": 0.1 + 0.2,  # 0.30000000000000004: no short decimal
    "learning_rate": 1e-17 / 3,
    "neighborhood_order": 2,
    "topology": "hexagonal",
    "pbc": True,
    "algorithm": "batch",
    "lr_decay_function": "lr_linear_decay_to_zero",
    "sigma_decay_function": "sig_geometric_decay_to_one",
    "neighborhood_function": "mexican_hat",
    "distance_function": "chebyshev",
    "initialization_mode": "pca",
    "search_backend": "torch",
    "device": "cpu",
    "random_seed": 2**63 - 1,
    "missing": "mask",
    "feature_weights": (1 / 3, 1e-300, 12345678901234567.0),
    "deterministic": True,
    "steps_per_epoch": 5,
    "final_sigma": 1.1 - 0.2,
}
COUNTS = ("x", "y", "num_features", "epochs", "batch_size", "neighborhood_order", "steps_per_epoch")
NAMES = {
    name: tuple(schema.get("enum") or schema["anyOf"][0]["enum"])
    for name, schema in SOMConfig.model_json_schema()["properties"].items()
    if "enum" in str(schema)
}


def with_size(**values: Any) -> dict[str, Any]:
    return {"x": 2, "y": 2, "num_features": 3, **values}


# ---- defaults and names


def test_the_constructor_has_the_arguments_and_defaults_of_the_config_in_its_order_newer_ones_last() -> None:
    parameters = list(inspect.signature(SOM.__init__).parameters.values())[1:]
    assert {p.name: p.default for p in parameters} == {**SOMConfig().model_dump(), "preset": None}
    newer = ["steps_per_epoch", "final_sigma", "preset"]  # after all others: the place of an argument never changes
    assert [p.name for p in parameters] == [name for name in SOMConfig.model_fields if name not in newer] + newer


def test_defaults_are_those_that_the_documentation_promises() -> None:
    promised = {
        "epochs": 10,
        "learning_rate": 0.5,
        "neighborhood_order": 1,
        "topology": "rectangular",
        "pbc": False,
        "algorithm": "minibatch",
        "lr_decay_function": "asymptotic_decay",
        "sigma_decay_function": "asymptotic_decay",
        "neighborhood_function": "gaussian",
        "distance_function": "euclidean",
        "initialization_mode": "random",
        "search_backend": "auto",
        "device": None,
        "random_seed": 42,
        "missing": "error",
        "feature_weights": None,
        "steps_per_epoch": None,
        "final_sigma": 1.0,
    }
    assert {name: getattr(SOMConfig(), name) for name in promised} == promised


def test_the_settings_that_are_names_say_so() -> None:
    assert set(NAMES) == {
        "topology", "algorithm", "lr_decay_function", "sigma_decay_function", "neighborhood_function",
        "distance_function", "initialization_mode", "search_backend", "missing",
    }  # fmt: skip


def test_every_list_of_names_is_that_of_the_registry_it_selects_from() -> None:
    rates, radii = set(NAMES["lr_decay_function"]), set(NAMES["sigma_decay_function"])
    assert get_args(som_config.Topology) == NAMES["topology"] == TOPOLOGIES
    assert rates | radii == set(DECAY_FUNCTIONS)
    assert rates & radii == {"asymptotic_decay"}
    assert set(NAMES["neighborhood_function"]) == set(NEIGHBORHOOD_FUNCTIONS) == set(KERNELS)
    assert set(NAMES["distance_function"]) == set(DISTANCE_FUNCTIONS)
    assert set(NAMES["initialization_mode"]) == set(INITIALIZATIONS)


@pytest.mark.parametrize("value", [3, None, ["euclidean"], b"euclidean"])
def test_a_name_that_is_no_text_is_refused_with_the_known_ones(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"distance_function must be 'euclidean', 'manhattan', 'cosine'.* or '"):
        SOM(**with_size(distance_function=value))


def test_every_field_is_described() -> None:
    assert all(field.description for field in SOMConfig.model_fields.values())


@pytest.mark.parametrize(("field", "names"), NAMES.items())
def test_every_known_name_makes_a_map_and_an_unknown_one_lists_them(field: str, names: tuple[str, ...]) -> None:
    for name in names:
        assert getattr(SOM(**with_size(**{field: name})), field) == name
    with pytest.raises(ValueError) as caught:
        SOM(**with_size(**{field: "unheard_of"}))
    message = str(caught.value)
    assert message.startswith(field)
    assert "'unheard_of'" in message
    assert all(repr(name) in message for name in names)


# ---- presets


@pytest.mark.parametrize("name", som_config.PRESETS)
def test_a_preset_stands_for_its_settings_in_config_and_constructor(name: str) -> None:
    settings = som_config.PRESETS[name]
    written_out = SOMConfig(**with_size(**settings))
    assert SOMConfig(**with_size(preset=name)) == written_out
    assert SOM(**with_size(preset=name)).config == written_out
    assert all(value != getattr(SOMConfig(), field) for field, value in settings.items())  # else it would say nothing


@pytest.mark.parametrize("geometry", [{"topology": "hexagonal"}, {"pbc": True}, {"topology": "hexagonal", "pbc": True}])
@pytest.mark.parametrize("name", som_config.PRESETS)
def test_a_preset_follows_the_geometry_in_config_and_constructor(name: str, geometry: dict[str, Any]) -> None:
    written_out = SOMConfig(**with_size(**geometry, **som_config.preset_settings(name, **geometry)))
    assert SOMConfig(**with_size(preset=name, **geometry)) == written_out
    assert SOM(**with_size(preset=name, **geometry)).config == written_out


@pytest.mark.parametrize("pbc", [False, True], ids=["flat", "torus"])
@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_no_preset_is_worse_in_both_errors_than_one_that_takes_less_time(topology: str, pbc: bool) -> None:
    """On five clear clusters; there a wide last radius raises both errors of flat hexagonal maps."""
    rng = np.random.default_rng(0)
    data = (4 * rng.normal(size=(5, 1, 10)) + rng.normal(size=(5, 300, 10))).reshape(-1, 10).astype(np.float32)
    errors = {}
    for name in ("fast", "balanced", "faithful"):
        maps = [SOM(16, 12, 10, topology=topology, pbc=pbc, preset=name, random_seed=seed) for seed in range(3)]
        errors[name] = np.mean([[curve[-1] for curve in som.fit(data, verbose=False)] for som in maps], axis=0)
    assert (errors["balanced"] < errors["fast"]).any()
    assert (errors["faithful"] < errors["balanced"]).any()
    if (topology, pbc) == ("rectangular", False):
        assert errors["faithful"][1] < min(errors["fast"][1], errors["balanced"][1])


@pytest.mark.parametrize("name", som_config.PRESETS)
def test_settings_beside_a_preset_come_first(name: str) -> None:
    for config in (SOMConfig(preset=name, epochs=7), SOM(**with_size(preset=name, epochs=7)).config):
        assert config.epochs == 7
        assert config.algorithm == som_config.PRESETS[name]["algorithm"]


def test_no_preset_is_the_defaults_and_an_unknown_one_lists_them() -> None:
    assert SOMConfig(preset=None) == SOMConfig()
    with pytest.raises(ArgumentError, match="preset must be one of fast, balanced, faithful, got 'fastest'"):
        SOM(**with_size(preset="fastest"))


# ---- bounds


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, False, "two", float("nan"), float("inf")])
def test_a_count_is_a_whole_number_of_at_least_1(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        SOMConfig(**with_size(**{field: value}))
    with pytest.raises(ArgumentError, match=rf"^{field} .*got {value!r}"):
        SOM(**with_size(**{field: value}))


@pytest.mark.parametrize("field", ["sigma", "final_sigma", "learning_rate"])
@pytest.mark.parametrize("value", [0, -0.5, float("nan"), float("inf"), True, "wide"])
def test_radii_and_learning_rate_are_finite_and_above_0(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        SOMConfig(**with_size(**{field: value}))
    with pytest.raises(ArgumentError, match=rf"^{field} .*got {value!r}"):
        SOM(**with_size(**{field: value}))


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, True])
def test_a_seed_is_a_whole_number_that_a_generator_takes(seed: object) -> None:
    with pytest.raises(ArgumentError, match=r"^random_seed "):
        SOM(**with_size(random_seed=seed))


@pytest.mark.parametrize("values", [{"x": 3}, {"y": 3}])
def test_one_side_alone_is_no_size(values: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"x and y must both be given or both be left out, got [xy]=3 without"):
        SOM(**values)


def test_a_hexagonal_torus_needs_an_even_number_of_rows() -> None:
    with pytest.raises(ArgumentError, match="even number of rows, got x=5"):
        SOM(5, 4, 3, topology="hexagonal", pbc=True)
    assert SOM(4, 5, 3, topology="hexagonal", pbc=True).x == 4


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], "must have 3 values, one a feature, got 2"),
        ([1.0, -1.0, 1.0], "must be finite and not negative, got -1.0"),
        ([1.0, float("nan"), 1.0], "feature_weights"),
        ([1.0, float("inf"), 1.0], "feature_weights"),
        ([0.0, 0.0, 0.0], "must not all be 0"),
        ([[1.0, 1.0, 1.0]], "feature_weights"),
        ("abc", "feature_weights"),
        (2.0, "feature_weights"),
    ],
)
def test_feature_weights_are_finite_not_negative_and_one_a_feature(weights: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SOM(2, 2, 3, feature_weights=weights)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "weights", [[1, 0, 2.5], (1, 0, 2.5), np.array([1, 0, 2.5], dtype=np.float32), torch.tensor([1, 0, 2.5])]
)
def test_feature_weights_come_as_list_array_or_tensor(weights: Any) -> None:
    assert SOM(2, 2, 3, feature_weights=weights).config.feature_weights == (1.0, 0.0, 2.5)


def test_a_refused_constructor_names_argument_expectation_and_value_of_every_problem_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        SOM(0, 4, 3, sigma=-1.0, topology="round")
    first, second, third = str(caught.value).split("; ")
    assert first == "x must be greater than or equal to 1, got 0"
    assert second == "sigma must be greater than 0, got -1.0"
    assert third == "topology must be 'rectangular' or 'hexagonal', got 'round'"


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="sgima"):
        SOMConfig(sgima=1.0)  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(ArgumentError, match=r"^sgima is no known setting, got 1.0"):
        SOMConfig.checked({"sgima": 1.0})


def test_a_config_cannot_be_changed() -> None:
    config = SOMConfig(**FULL)
    with pytest.raises(ValidationError, match="frozen"):
        config.sigma = 2.0  # type: ignore[misc]  # wrong on purpose
    assert config.sigma == FULL["sigma"]


# ---- files


@pytest.mark.parametrize("kind", ["yaml", "json"])
@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "full"])
def test_text_and_file_give_back_exactly_the_config(kind: str, values: dict[str, Any], tmp_path: Path) -> None:
    config, path = SOMConfig(**values), tmp_path / f"config.{kind}"
    write, read = getattr(config, f"to_{kind}"), getattr(SOMConfig, f"from_{kind}")
    assert write(path) == write() == path.read_text(encoding="utf-8")
    for source in (write(), path, str(path)):
        assert read(source) == config
        assert read(source).model_dump() == config.model_dump()


def test_the_text_is_plain_yaml_and_json_in_the_order_of_the_fields() -> None:
    config = SOMConfig(**FULL)
    assert list(yaml.safe_load(config.to_yaml())) == list(json.loads(config.to_json())) == list(SOMConfig.model_fields)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("x: 4\ny: 3\n", "yaml"), ("{x: 4, y: 3}", "yaml"), ('{"x": 4, "y": 3}', "json"), (' {"x": 4,\n"y": 3}', "json")],
)
def test_a_text_of_one_line_or_many_is_told_from_a_path(text: str, kind: str) -> None:
    assert getattr(SOMConfig, f"from_{kind}")(text) == SOMConfig(x=4, y=3)


@pytest.mark.parametrize("kind", ["yaml", "json"])
@pytest.mark.parametrize("source", ["no/such/file", "", "a" * 5000, Path("no/such/file"), Path("a: b")])
def test_a_path_that_is_no_file_is_refused(kind: str, source: str | Path) -> None:
    with pytest.raises(ArgumentError, match="source must be the path of a file, or the text of a config, got"):
        getattr(SOMConfig, f"from_{kind}")(source)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("yaml", "- 1\n- 2\n", "source must be a YAML mapping of settings, got list"),
        ("yaml", "x: [\n", "source must be YAML, got text that does not parse"),
        ("yaml", "!!python/object/apply:os.getcwd []\n", "source must be YAML"),
        ("json", "{", "source must be JSON, got text that does not parse"),
        ("json", "\n[1]", "source must be a JSON mapping of settings, got list"),
    ],
)
def test_text_that_is_no_mapping_is_refused_and_runs_no_code(kind: str, text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        getattr(SOMConfig, f"from_{kind}")(text)


@pytest.mark.parametrize("text", ["x: 0\ny: 3\n", "unknown: 1\n", "1: 2\n", "sigma: .nan\n"])
def test_a_file_with_a_value_that_is_not_allowed_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="SOMConfig"):
        SOMConfig.from_yaml(text)


def test_a_map_from_a_config_has_all_of_its_settings() -> None:
    config = SOMConfig(**FULL)
    som = SOM.from_config(config)
    assert som.config == config
    assert som.device == torch.device("cpu")
    assert {name: getattr(som, name) for name in FULL if name != "device"} == {
        name: value for name, value in FULL.items() if name != "device"
    }


@pytest.mark.parametrize(
    ("device", "cure"),
    [("gpu", "write cuda$"), ("CPU", "write cpu$"), ("warp", "write cpu, cuda or cuda:1$"), ("cuda:x", "write cpu, ")],
)
def test_what_is_no_device_is_refused_with_what_to_write(device: str, cure: str) -> None:
    with pytest.raises(ValidationError, match="device"):
        SOMConfig(device=device)
    with pytest.raises(ArgumentError, match=f"^device must be one that torch can use here, got '{device}': {cure}"):
        SOM(2, 2, device=device)
    assert SOMConfig(device="cuda:1").device == "cuda:1"  # it may be there on the machine that trains
