"""Where a row fell, for the page's search: the neuron of every row in two bytes, its time in four."""

from typing import Any

import numpy as np
import polars as pl

from pipelines.report.encoding import base64_of
from somlib.utils.grid import Grid

NONE = 65_535  # in place of a neuron


def row_numbers(rows: pl.DataFrame | None, grid: Grid) -> dict[str, Any] | None:
    """What `report.js` finds rows by; JSON-ready.

    Args:
        rows: See `pipelines.report.facts.row_table`; None where they were not kept.
        grid: The grid of the map.

    Returns:
        `count`; `step`, by how much the numbers of the rows rise from one to the next; `neurons`, uint16, and
        `heldout`, one bit a row, both in base64; and with dates or times `first` (whole seconds since 1970 as the
        clocks of the column's zone show them), `seconds` after it (uint32, in base64) and `zone`. None where there is
        nothing to find, or the map has too many neurons for two bytes.
    """
    if rows is None or not len(rows) or grid.m > NONE:
        return None
    neurons = rows["row"].to_numpy().astype(np.int64) * grid.y + rows["col"].to_numpy()
    numbers: dict[str, Any] = {
        "count": len(rows),
        "step": int(rows["sample"][1]) if len(rows) > 1 else 1,
        "neurons": base64_of(np.where(neurons < 0, NONE, neurons), "<u2"),
        "heldout": base64_of(np.packbits(rows["heldout"].to_numpy(), bitorder="little"), "u1"),
    }
    return numbers | (_times(rows["time"]) if "time" in rows.columns else {})


def _times(time: pl.Series) -> dict[str, Any]:
    """Times to the second, as the clocks of the column's zone show them; nothing for plain numbers."""
    zone = ""
    if not isinstance(time.dtype, pl.Date | pl.Datetime):
        return {}
    if isinstance(time.dtype, pl.Datetime) and time.dtype.time_zone:
        zone = time.dtype.time_zone
        time = time.dt.replace_time_zone(None)
    seconds = time.cast(pl.Datetime("us")).dt.epoch("s").to_numpy()
    first = int(seconds.min())
    if int(seconds.max()) - first > 2**32 - 1:
        return {}
    return {"first": first, "seconds": base64_of(seconds - first, "<u4"), "zone": zone}
