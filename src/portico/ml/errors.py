"""What `ml` raises: messages are for the person whose data or parameters are at fault."""

from __future__ import annotations


class DataError(ValueError):
    """Data or parameters that cannot be used as asked.

    `field` names the offending column or parameter; `row` is the position of the offending row, where one is.
    """

    def __init__(self, message: str, *, field: str = "", row: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.row = row


class TrainingStopped(Exception):
    """Training ended early because `should_stop()` said so; there is no model."""
