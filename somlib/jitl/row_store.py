"""Rows that grow at the end, with a quarter more room made when it runs out: appending mostly costs the new rows."""

import torch
from torch import Tensor


class RowStore:
    """A tensor of rows.

    Args:
        empty: A tensor of no rows, shape (0, ...), whose type and width the rows have.
    """

    def __init__(self, empty: Tensor) -> None:
        self._room, self._n = empty, 0

    @property
    def rows(self) -> Tensor:
        """The rows held, shape (n, ...); a view that the next change makes stale."""
        return self._room[: self._n]

    def append(self, rows: Tensor) -> None:
        """Add rows at the end."""
        n = self._n + len(rows)
        if n > len(self._room) or rows.dtype != self._room.dtype:
            dtype = torch.promote_types(rows.dtype, self._room.dtype) if self._n else rows.dtype
            room = self._room.new_empty((n + n // 4, *self._room.shape[1:]), dtype=dtype)
            room[: self._n] = self.rows
            self._room = room
        self._room[self._n : n] = rows
        self._n = n

    def keep_only(self, kept: Tensor) -> None:
        """Drop the rows that are not `kept`, bool, shape (n,)."""
        self._room = self.rows[kept]
        self._n = len(self._room)
