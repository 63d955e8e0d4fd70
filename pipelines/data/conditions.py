"""The row filter of a configuration, `data.where`: SQL about one row at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl
from polars.exceptions import ColumnNotFoundError

from pipelines.data.faults import polars_errors
from pipelines.errors import DatasetError


@dataclass(frozen=True)
class Condition:
    """A filter.

    Attributes:
        text: As configured.
        expression: For a frame whose columns have names that polars takes as names.
        columns: That it is about: the name of each in the expression, by its own.
    """

    text: str
    expression: pl.Expr
    columns: Mapping[str, str]

    def kept(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows for which it holds.

        Raises:
            DatasetError: It cannot be evaluated on columns of these types.
        """
        about = pl.DataFrame([rows.get_column(name).alias(alias) for name, alias in self.columns.items()])
        with polars_errors("data.where", self.text):
            if not self.columns:  # such as 1 = 0
                return rows if pl.select(self.expression).item() is True else rows.clear()
            kept = about.select(self.expression.alias("kept")).get_column("kept")
        if kept.dtype != pl.Boolean:
            raise DatasetError(
                f"data.where: {self.text}: must be true or false for each row, such as month <= 6, got {kept.dtype}"
            )
        return rows.filter(kept)


def parsed(text: str, known: Iterable[str]) -> Condition:
    """A filter.

    Args:
        text: In SQL.
        known: All columns there are.

    Raises:
        DatasetError: It is no SQL, or asks for more than the row at hand.
    """
    aliases = {name: f"column {i}" for i, name in enumerate(known) if _is_regex(name)}
    plain = text
    for name, alias in aliases.items():  # only in quotes can SQL have such a name
        plain = plain.replace(quoted(name), quoted(alias))
    with polars_errors("data.where", text):
        expression = pl.sql_expr(plain)
        names = {alias: name for name, alias in aliases.items()}
        columns = {names.get(root, root): root for root in expression.meta.root_names()}
        if not _by_row(expression):
            raise DatasetError(
                f"data.where: {text}: must be decided for each row by itself, without others, such as month <= 6"
            )
    return Condition(text, expression, columns)


def quoted(name: str) -> str:
    """A column name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _is_regex(name: str) -> bool:
    """Whether polars would take a name for a pattern of names."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def _by_row(expression: pl.Expr) -> bool:
    """Whether an expression asks of each row by itself, so that rows can be read in parts."""
    inputs = expression.meta.pop()
    if not inputs:
        return expression.meta.is_literal() or expression.meta.is_column()
    try:
        alone = expression.meta.is_row_separable()
    except ColumnNotFoundError:  # polars cannot say it of IN and % without types; they are
        alone = True
    return alone and all(map(_by_row, inputs))
