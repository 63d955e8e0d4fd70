"""Every setting of a configuration file, from the models themselves: for a terminal, and as a schema for editors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import ConfigError
from pipelines.settings.config import PipelineConfig

TITLE = "A configuration of som-pipelines"
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: Dotted: `som.sigma`; `data.columns.NAME.kind` for one of each column.
        type: In words, with its bounds: `integer ≥ 1 or null`.
        default: As YAML writes it; empty where it must be given.
        meaning: One line.
    """

    name: str
    type: str
    default: str
    meaning: str


def json_schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for editors that complete and check YAML by one."""
    return PipelineConfig.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
    }


def settings(section: str = "") -> list[Setting]:
    """All settings, or those of a section such as `som`, `data.columns` or of one name such as `som.sigma`.

    Raises:
        ConfigError: There is no such section; the known ones are listed.
    """
    schema = json_schema()
    everything = [*_of_object(schema, schema, "")]
    found = [each for each in everything if not section or f"{each.name}.".startswith(f"{section}.")]
    if not found:
        sections = dict.fromkeys(each.name.partition(".")[0] for each in everything)
        raise ConfigError(f"{section} is no section of a configuration: known are {', '.join(sections)}")
    return found


def _of_object(schema: Mapping[str, Any], root: Mapping[str, Any], prefix: str) -> Iterator[Setting]:
    for name, given in schema["properties"].items():
        field = _resolved(given, root)
        inner = _inner(field, root)
        if inner is not None and inner[1] == "":
            yield from _of_object(inner[0], root, f"{prefix}{name}.")
            continue
        required = name in schema.get("required", ())
        default = "" if required else _written(given.get("default", field.get("default")), field)
        yield Setting(prefix + name, _type(field, root), default, given.get("description", ""))
        if inner is not None:
            yield from _of_object(inner[0], root, f"{prefix}{name}.{inner[1]}")


def _inner(field: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[Mapping[str, Any], str] | None:
    """The section that a field is, or holds several of, and what stands for the name or number of one of them."""
    if "properties" in field:
        return field, ""
    for option in (field, *(_resolved(each, root) for each in field.get("anyOf", ()))):
        for key, place in (("items", "N."), ("additionalProperties", "NAME.")):
            each = option.get(key)
            if isinstance(each, Mapping):
                for choice in (each, *each.get("anyOf", ())):
                    if "properties" in _resolved(choice, root):
                        return _resolved(choice, root), place
    return None


def _resolved(field: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = field.get("$ref")
    return field if reference is None else root["$defs"][reference.rpartition("/")[2]]


def _type(field: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """A type in words, with its bounds."""
    field = _resolved(field, root)
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(each, root) for each in field["anyOf"]))
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    bounds = " and ".join(f"{sign} {field[key]:g}" for key, sign in LIMITS.items() if key in field)
    name = str(field.get("type", "anything"))
    if name == "array":
        items = field.get("prefixItems") or [field.get("items", {})]
        name = f"list of {', '.join(_type(each, root) for each in items)}"
    elif name == "object":
        name = "section" if "properties" in field else "mapping"
    elif name == "string":
        name = {"date-time": "time"}.get(str(field.get("format")), "text")
    return f"{name} {bounds}".strip()


def _written(default: Any, field: Mapping[str, Any]) -> str:
    """A default as YAML writes it."""
    if isinstance(default, bool) or default is None:
        empty = {"array": "[]", "object": "{}"}.get(str(field.get("type")), "null")
        return empty if default is None else str(default).lower()
    if isinstance(default, list | tuple):
        return f"[{', '.join(_written(each, {}) for each in default)}]"
    return f"{default:g}" if isinstance(default, float) else str(default)
