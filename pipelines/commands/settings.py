"""What a configuration file can say."""

import json

from rich.console import Console
from rich.table import Table

from pipelines.settings.reference import json_schema, settings

MEANING = 100  # columns of a terminal from which on a table reads better than blocks


def config(section: str | None, schema: bool) -> None:
    """Print every setting of a section, or of all, or the schema of the file.

    Raises:
        ConfigError: There is no such section.
    """
    if schema:
        print(json.dumps(json_schema(), indent=1, ensure_ascii=False))  # noqa: T201 - plain, for a file
        return
    console = Console()
    if not console.is_terminal or console.width < MEANING:
        for each in settings(section or ""):
            given = f" = {each.default}" if each.default else ", must be given"
            console.print(f"{each.name}: {each.type}{given}", markup=False, highlight=False, soft_wrap=True)
            if each.meaning:
                console.print(f"    {each.meaning}", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("setting", "type", "default", "meaning"):
        table.add_column(name, overflow="fold")
    for each in settings(section or ""):
        table.add_row(each.name, each.type, each.default or "(must be given)", each.meaning)
    console.print(table, markup=False)
