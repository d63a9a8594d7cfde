"""`portico labels`: the truth about predictions, from a file to the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.client.api import Client
from portico.errors import InvalidArgument, PorticoError, Unavailable

_CHUNK = 5_000  # labels of one request
_ENDED = ("new", "repeated", "contradicted")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of the file holds what; empty where none does."""

    truth: str
    request_id: str = ""
    index: str = ""
    key: tuple[str, ...] = ()
    time: str = ""
    observed: str = ""


def add(home: Path, endpoint: str, file: Path, columns: Columns) -> dict[str, int]:
    """Sends the labels of a CSV, JSON lines or Parquet file; returns how many were new, repeated, contradicted.

    Raises:
        Unavailable: nothing runs on `home`. PorticoError: what the server says of a label, and of which row.
    """
    client = Client(home=home)
    totals = dict.fromkeys(_ENDED, 0)
    sent = 0
    for chunk in _chunks(file, columns):
        try:
            found = client.add_labels(endpoint.strip("/"), chunk)
        except Unavailable:
            raise
        except PorticoError as error:
            raise PorticoError(f"{file.name}, rows from {sent + 1}: {error.message}") from None
        for name in _ENDED:
            totals[name] += found.get(name, 0)
        sent += len(chunk)
    client.close()
    return totals


def _chunks(file: Path, columns: Columns) -> Iterator[list[dict[str, Any]]]:
    from portico.ml.errors import DataError
    from portico.ml.tables import iter_batches

    if not file.exists():
        raise InvalidArgument(f"There is no file {file}.")
    if bool(columns.request_id) == bool(columns.key):
        raise InvalidArgument(
            "Name the predictions by --request-id COLUMN or by --key COLUMN, and not by both."
        )
    wanted = [columns.truth, columns.request_id, columns.index, columns.time, columns.observed, *columns.key]
    try:
        for batch in iter_batches([file], max_rows=_CHUNK):
            missing = [name for name in wanted if name and name not in batch.schema.names]
            if missing:
                raise InvalidArgument(
                    f"{file.name} has no column {missing[0]!r}; it has {', '.join(batch.schema.names)}."
                )
            yield [_label(row, columns) for row in batch.to_pylist()]
    except DataError as error:
        raise InvalidArgument(f"{error.message}.") from None


def _label(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    made: dict[str, Any] = {"truth": _number(row[columns.truth])}
    if columns.request_id:
        made["requestId"] = str(row[columns.request_id])
        if columns.index:
            made["index"] = int(row[columns.index])
    else:
        made["key"] = {name: _plain(row[name]) for name in columns.key}
    for field, column in (("time", columns.time), ("observedTime", columns.observed)):
        if column and row[column] is not None:
            made[field] = _moment(row[column])
    return made


def _plain(cell: Any) -> Any:
    return cell.isoformat() if hasattr(cell, "isoformat") else cell


def _moment(cell: Any) -> str:
    """RFC 3339; a time without a zone is UTC."""
    text = str(_plain(cell)).replace(" ", "T")
    zoned = text.endswith("Z") or "+" in text[10:] or "-" in text[10:]
    return text if zoned else f"{text}Z"


def _number(cell: Any) -> Any:
    """CSV writes numbers as text."""
    if isinstance(cell, str):
        try:
            return int(cell) if cell.lstrip("-").isdigit() else float(cell)
        except ValueError:
            return cell
    return _plain(cell)
