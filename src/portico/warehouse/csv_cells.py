"""Cells of CSV files. One that is empty and not in quotes is absent, one that is empty in quotes is an empty text, as
BigQuery has it: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-csv and `nullMarker` of a load job.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_EMPTY = "\0empty in quotes\0"  # stands in a cell between its quotes, where there was nothing
_TEXTS = frozenset(["STRING", "BYTES"])

Cells = list[str | None]
"""Of a row: None for an empty cell without quotes."""


def read(lines: Iterable[str], options: Mapping[str, Any]) -> Iterator[Cells]:
    """The rows of a file; a line that is empty has no cells. Python's reader, which tells absent cells and empty ones
    apart from 3.12 on only, finds a mark in the second."""
    delimiter = _delimiter(options)
    if not (quote := options.get("quote", '"')):
        rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(_marked(lines, delimiter, quote), delimiter=delimiter, quotechar=quote)
    for row in rows:
        yield [cell if cell and cell != _EMPTY else "" if cell else None for cell in row]


def _delimiter(options: Mapping[str, Any]) -> str:
    told = str(options.get("fieldDelimiter") or ",")
    return {"\\t": "\t", "tab": "\t"}.get(told, told)


def _marked(lines: Iterable[str], delimiter: str, quote: str) -> Iterator[str]:
    """The lines with a mark in each cell that is an empty pair of quotes; a cell may go on over lines."""
    q, d = re.escape(quote), re.escape(delimiter)
    # A cell from its begin: in quotes, which a quote that is doubled doesn't end, or without.
    cell = re.compile(rf"(?:{q}((?:[^{q}]|{q}{q})*)({q}?)|)([^{d}\r\n]*)({d}|[\r\n]*\Z)")
    # A line that has no such cell, and none that goes on.
    plain = re.compile(rf"(?:(?:{q}[^{q}\r\n]+{q}|[^{q}{d}\r\n]*)(?:{d}|[\r\n]*\Z))*")
    rest = re.compile(rf"(?:[^{q}]|{q}{q})*{q}(?!{q})[^{d}\r\n]*(?:{d}|[\r\n]*\Z)")
    within = False
    for line in lines:
        at = 0
        if within:
            if (end := rest.match(line)) is None:
                yield line
                continue
            at, within = end.end(), False
        if quote not in line or plain.fullmatch(line, at):
            yield line
            continue
        made = [line[:at]]
        while at < len(line):
            found = cell.match(line, at)
            if found is None or found.end() == at:
                made.append(line[at:])
                break
            if found[1] is not None and not found[2]:  # its end is on another line
                within = True
                made.append(line[at:])
                break
            empty = found[1] == "" and not found[3]
            made.append(f"{quote}{_EMPTY}{quote}{found[4]}" if empty else found[0])
            at = found.end()
        yield "".join(made)


def nulls(options: Mapping[str, Any]) -> frozenset[str]:
    """The texts that are NULL; with one that is told, an absent cell is an empty text."""
    return frozenset(options.get("nullMarkers") or [options.get("nullMarker") or ""])


def values(column: Sequence[str | None], kind: str, null: frozenset[str]) -> list[str | None]:
    """What the cells of a column of this type are, None for NULL. Where no marker is told, absent cells are NULL, and
    of columns other than STRING and BYTES empty texts."""
    if null == {""}:
        return list(column) if kind in _TEXTS else [cell or None for cell in column]
    return [None if (cell or "") in null else cell or "" for cell in column]


def written(rows: Iterable[Sequence[str | None]], options: Mapping[str, Any]) -> Iterator[str]:
    """The lines of rows, in which an empty text is a pair of quotes, and NULL is nothing."""
    delimiter = _delimiter(options)
    quoted = re.compile(rf'[{re.escape(delimiter)}"\r\n]')

    def cell(one: str | None) -> str:
        if one is None:
            return ""
        doubled = one.replace('"', '""')
        return f'"{doubled}"' if not one or quoted.search(one) else one

    for row in rows:
        yield delimiter.join(map(cell, row)) + "\n"
