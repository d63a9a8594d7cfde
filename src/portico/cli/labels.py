"""`portico labels`: the truth about predictions, from a file to the server."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from portico.client.api import Client
from portico.errors import InvalidArgument, PorticoError, Unavailable
from portico.ml.label_rows import Columns

_CHUNK = 5_000  # labels of one request
_ENDED = ("new", "repeated", "contradicted")


def add(
    home: Path, endpoint: str, file: str, columns: Columns, tell: Callable[[str], None] = lambda words: None
) -> dict[str, Any]:
    """Sends the labels of a CSV, JSON lines or Parquet file, or lets the server read those of a gs:// name; returns how
    many were new, repeated, contradicted, and of a gs:// name's rows which were no labels.

    Raises:
        Unavailable: nothing runs on `home`. PorticoError: what the server says of a label, and of which row.
    """
    client = Client(home=home)
    if file.startswith("gs://"):
        c = columns
        tell(f"the server reads {file}")
        return client.import_labels(
            endpoint.strip("/"), file,
            truth=c.truth, request_id=c.request_id, index=c.index, key=c.key, time=c.time, observed=c.observed,
            influenced=c.influenced,
        )  # fmt: skip
    return _sent(client, endpoint, Path(file), columns, tell)


def _sent(
    client: Client, endpoint: str, file: Path, columns: Columns, tell: Callable[[str], None]
) -> dict[str, int]:
    totals = dict.fromkeys(_ENDED, 0)
    sent = 0
    # Closed in any case: the process aborts where a reader's thread outlives it.
    with closing(_chunks(file, columns)) as chunks:
        for chunk in chunks:
            tell(f"{file.name}: {sent:,} labels sent")
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


def _chunks(file: Path, columns: Columns) -> Generator[list[dict[str, Any]]]:
    from portico.ml.errors import DataError
    from portico.ml.label_rows import label_of
    from portico.ml.tables import iter_batches

    if not file.exists():
        raise InvalidArgument(f"There is no file {file}.")
    if bool(columns.request_id) == bool(columns.key):
        raise InvalidArgument(
            "Name the predictions by --request-id COLUMN or by --key COLUMN, and not by both."
        )
    row = 0
    try:
        with closing(iter_batches([file], max_rows=_CHUNK)) as batches:
            for batch in batches:
                missing = [name for name in columns.names if name not in batch.schema.names]
                if missing:
                    raise InvalidArgument(
                        f"{file.name} has no column {missing[0]!r}; it has {', '.join(batch.schema.names)}."
                    )
                made = []
                for cells in batch.to_pylist():
                    row += 1
                    made.append(label_of(cells, columns))
                yield made
    except DataError as error:
        raise InvalidArgument(f"{error.message}.") from None
    except ValueError as error:
        raise InvalidArgument(f"{file.name}, row {row}: {error}.") from None


def as_text(found: dict[str, Any]) -> str:
    """The counts in a line, and below it what is wrong with rows."""
    counts = [f"{found[name]:,} {name}" for name in _ENDED]
    if found.get("badRows"):
        counts.append(f"{found['badRows']:,} bad rows")
    return "\n".join([", ".join(counts), *found.get("errors", [])])
