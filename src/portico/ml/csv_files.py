"""CSV as Google reads it: RFC 4180 with commas, UTF-8, and a header line.

A data set's files share one header, that of the lexicographically first file; each other file repeats it exactly or
has none, and then its first line is data (`TablesDatasetMetadata.GcsSource` in Google's reference). Cells are read as
text: what a cell means is decided by `values`, and not by what a reader guesses from the first block.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Final

import pyarrow as pa
import pyarrow.csv

from portico.ml.data_files import LINE_BYTES, MAX_COLUMNS, Ahead, DataFile, check_encoding, mib, opened
from portico.ml.errors import DataError
from portico.ml.values import QUOTED

_MARK: Final = QUOTED.encode()


def first_line(file: IO[bytes], name: str) -> tuple[list[str], bytes]:
    """The cells of the first line that is not blank, and its bytes; none of both where there is no such line.

    Raises:
        DataError: it is no line of CSV in UTF-8.
    """
    parts: list[bytes] = []
    size = quotes = 0
    while line := file.readline(LINE_BYTES - size + 1):
        if not parts:
            check_encoding(line, name)
            line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
        parts.append(line)
        size += len(line)
        if size > LINE_BYTES:
            raise DataError(f"{name}: its first line is longer than {mib(LINE_BYTES)}, the most that is read")
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            break
    raw = b"".join(parts)
    if b"\r" in raw.rstrip(b"\r\n") and not quotes:
        raise DataError(f"{name}: its lines end in CR alone; end them in LF or CR LF")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, line 1: {_not_utf8(error)}") from None
    try:
        return next(csv.reader(io.StringIO(text, newline="")), []), raw
    except csv.Error as error:
        raise DataError(f"{name}, line 1: {error}") from None


def check_header(names: Sequence[str], name: str) -> None:
    """Raises DataError: these can't be the columns' names, and why."""
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(
            f"{name}: its header {names[0][:80]!r} is one column; commas must stand between cells"
        )
    if len(names) > MAX_COLUMNS:
        raise DataError(f"{name} has {len(names):,} columns; at most {MAX_COLUMNS:,} are read")
    seen: set[str] = set()
    for each in names:
        if each in seen and each.strip():
            raise DataError(f"{name}: the column name {each!r} stands twice in the header", field=each)
        seen.add(each)


def looks_like_data(cells: Sequence[str]) -> bool:
    """Whether a header's cells are all numbers: then the file probably has none."""
    try:
        return bool(cells) and all(float(cell) == float(cell) for cell in cells)
    except ValueError:
        return False


def is_other_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a first line names columns, but not as the header does: half of its cells are names of the header."""
    known = set(names)
    named = sum(1 for cell in cells if cell and cell in known)
    return named > 0 and 2 * named >= min(len(cells), len(names))


def batches(
    file: IO[bytes],
    names: Sequence[str],
    *,
    head: bytes = b"",
    reject: Callable[[pyarrow.csv.InvalidRow], str] | None = None,
    mark_quoted: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The lines of `file`, after `head`, as columns of text, empty cells null; columns without a name are left out.

    `reject` is called with each line that has too many or too few cells, and says "skip" or "error". With
    `mark_quoted`, cells that stood in quotes begin with `QUOTED`, and an empty one is not null.

    Raises:
        pyarrow.ArrowInvalid: a line can't be read, or is longer than a block.
    """
    source: IO[bytes] | io.RawIOBase = Ahead(head, file) if head else file
    if mark_quoted:
        source = _Marked(source)  # type: ignore[arg-type]
    first = source.read(1)
    if not first:
        return
    columns = [name if name.strip() else f"\0{place}" for place, name in enumerate(names)]
    with (
        pyarrow.csv.open_csv(
            Ahead(first, source),  # type: ignore[arg-type]
            read_options=pyarrow.csv.ReadOptions(
                column_names=columns, block_size=min(max(4 << 20, 2048 * len(columns)), 32 << 20)
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=reject),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=[name for name in columns if name[:1] != "\0"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=not mark_quoted,
                null_values=[""],
            ),
        ) as reader
    ):
        yield from reader


class _Marked(io.RawIOBase):
    """A CSV's bytes with `QUOTED` behind each quote that opens a cell."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ready = self._kept = b""
        self._inside = False
        self._last = b"\n"

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._ready:
            more = self._file.read(1 << 20)
            block = self._kept + more
            if not block:
                return b""
            # Two quotes in a row are one in the text: a block must not end between them.
            whole = block.rstrip(b'"') if more else block
            self._kept = block[len(whole) :]
            if len(self._kept) > LINE_BYTES:
                raise DataError(f"it holds more than {mib(LINE_BYTES)} of quotes in a row")
            self._ready = self._mark(whole) if whole else b""
        taken = self._ready if size < 0 else self._ready[:size]
        self._ready = self._ready[len(taken) :]
        return taken

    def _mark(self, block: bytes) -> bytes:
        parts = block.split(b'"')  # by turns outside and inside of quotes
        for at in range(int(self._inside), len(parts) - 1, 2):
            before = parts[at][-1:] or (self._last if at == 0 else b"")
            if before in (b",", b"\n", b"\r"):  # else an escaped quote, or one amid a cell
                parts[at + 1] = _MARK + parts[at + 1]
        self._inside ^= len(parts) % 2 == 0
        self._last = block[-1:]
        return b'"'.join(parts)


def complaint(file: DataFile, width: int) -> DataError | None:
    """The first line of `file` that is not UTF-8 or has another number of cells than `width`, in words."""
    with opened(file, "csv") as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="", errors="surrogateescape")
        rows = csv.reader(text)
        try:
            for cells in rows:
                for cell in cells:
                    if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
                        shown = cell.encode(errors="surrogateescape")[:40]
                        return DataError(f"{file.name}, line {rows.line_num}: not UTF-8 text: {shown!r}")
                if cells and len(cells) != width:
                    return DataError(
                        f"{file.name}, line {rows.line_num}: it has {len(cells)} cells; the header has {width}"
                    )
        except csv.Error as error:
            return DataError(f"{file.name}, line {rows.line_num}: {error}")
    return None


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 text (byte {error.object[error.start]:#04x}); save the file as UTF-8"
