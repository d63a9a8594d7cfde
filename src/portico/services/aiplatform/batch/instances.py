"""Rows of a batch job as the instances that its model takes, as `instanceConfig` says, and as its output shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from portico.errors import InvalidArgument
from portico.ml.values import QUOTED
from portico.services.aiplatform.batch import read as batch_read
from portico.services.aiplatform.batch.read import Chunk

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_JSON_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_TO_ESCAPE = r'["\\\x00-\x1f]'


@dataclass(frozen=True, slots=True)
class InstanceConfig:
    """`BatchPredictionJob.InstanceConfig`. `instance_type` "" leaves JSON lines as they are."""

    instance_type: Literal["", "array", "object"] = ""
    key_field: str = ""
    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> InstanceConfig:
        """
        Raises:
            InvalidArgument: an unknown instanceType, or fields that exclude each other.
        """
        kind = told.get("instanceType", "")
        if kind not in ("", "array", "object"):
            raise InvalidArgument(
                f"instanceType {kind!r} is not supported; it is array or object.",
                field="instanceConfig.instanceType",
            )
        included, excluded = tuple(told.get("includedFields") or ()), tuple(told.get("excludedFields") or ())
        if included and excluded:
            raise InvalidArgument(
                "includedFields and excludedFields can't both be given.",
                field="instanceConfig.excludedFields",
            )
        return cls(kind, told.get("keyField", ""), included, excluded)

    @property
    def changes(self) -> bool:
        """Whether instances differ from what the input holds."""
        return self != InstanceConfig()

    def sent(self, names: list[str]) -> list[str]:
        """Which of a row's fields `names` the model gets, in order."""
        if self.included:
            return list(self.included)
        return [name for name in names if name != self.key_field and name not in self.excluded]


class Lines:
    """JSON lines. `values[i]` is what the model gets; None for the rows in `bad`."""

    def __init__(self, chunk: Chunk, config: InstanceConfig) -> None:
        batch_read.parse(chunk)
        self.start = chunk.start
        self.bad = chunk.bad
        self.values = chunk.values
        self._lines = chunk.lines
        self._config = config
        self._originals = chunk.values
        if config.changes:
            self.values = [
                None if position in self.bad else self._instance(position, value)
                for position, value in enumerate(self._originals)
            ]

    def __len__(self) -> int:
        return len(self.values)

    def _instance(self, position: int, value: Any) -> Any:
        config = self._config
        try:
            if not isinstance(value, dict):
                if config.instance_type == "object" or config.key_field or config.included or config.excluded:
                    raise ValueError("is not an object with named fields, as instanceConfig needs it")
                return value if isinstance(value, list) else [value]
            if config.key_field and config.key_field not in value:
                raise ValueError(f"has no field {config.key_field!r}, which is the keyField")
            missing = [name for name in config.included if name not in value]
            if missing:
                raise ValueError(f"has no field {missing[0]!r}, which is one of the includedFields")
            if config.instance_type != "array":
                return {name: value[name] for name in config.sent(list(value))}
            if not config.included:
                raise ValueError("is an object: to send arrays, name their order in includedFields")
            return [value[name] for name in config.included]
        except ValueError as error:
            self.bad[position] = f"Row {self.start + position} {error}."
            return None

    def texts(self) -> list[bytes]:
        """Each instance as JSON."""
        if not self._config.changes:
            return self._lines
        return [orjson.dumps(value) for value in self.values]

    def chosen(self, rows: np.ndarray) -> pa.StringArray:
        """The chosen of the `texts`, as an Arrow array."""
        import pyarrow as pa

        texts = self.texts()
        return pa.array([texts[row] for row in rows.tolist()], pa.binary()).cast(pa.string())

    def heads(self) -> list[bytes]:
        """What an output line begins with: the instance or its key, and the fields that were left out."""
        key, excluded = self._config.key_field, self._config.excluded
        if key:
            return [
                b'"key":' + orjson.dumps(value.get(key)) if isinstance(value, dict) else b'"key":null'
                for value in self._originals
            ]
        heads = [b'"instance":' + text for text in self.texts()]
        for name in excluded:
            label = b"," + orjson.dumps(name) + b":"
            heads = [
                head + label + orjson.dumps(value[name])
                if isinstance(value, dict) and name in value
                else head
                for head, value in zip(heads, self._originals, strict=True)
            ]
        return heads

    def shown(self) -> list[bytes]:
        """Each row as the input had it, as JSON."""
        return [
            line if position not in self.bad or self._originals[position] is not None else _as_json(line)
            for position, line in enumerate(self._lines)
        ]

    def columns(self, rows: np.ndarray) -> pa.RecordBatch:
        """The chosen rows' input as columns: the fields of objects, the key, or the instance as JSON."""
        import pyarrow as pa

        from portico.ml.tables import rows_to_batch

        chosen = [self._originals[row] for row in rows.tolist()]
        if self._config.key_field:
            return rows_to_batch([{"key": value[self._config.key_field]} for value in chosen])
        if all(isinstance(value, dict) for value in chosen):
            return rows_to_batch(chosen)
        texts = self.texts()
        return pa.record_batch({"instance": pa.array([texts[row].decode() for row in rows.tolist()])})


class Table:
    """Columns. `batch` holds the fields that the model gets, in order."""

    def __init__(self, chunk: Chunk, config: InstanceConfig, as_array: bool) -> None:
        assert chunk.batch is not None
        self.start = chunk.start
        self.bad: dict[int, str] = {}
        self.as_array = as_array
        self._whole = chunk.batch
        self._config = config
        self._numbers = chunk.text_cells
        self.batch = self._whole
        self._column: pa.StringArray | None = None
        wanted = config.sent(self._whole.schema.names)
        names = set(self._whole.schema.names)
        for name in (*wanted, *([config.key_field] if config.key_field else [])):
            if name not in names:
                self.bad = dict.fromkeys(range(len(self)), f"The data have no column {name!r}.")
                return
        if config.changes:
            self.batch = self._whole.select(wanted)

    def __len__(self) -> int:
        return int(self._whole.num_rows)

    def texts(self) -> list[bytes]:
        """Each instance as JSON: an array or an object, a CSV cell that is a JSON number as that number."""
        return self._every().cast("binary").to_pylist()  # type: ignore[no-any-return]

    def chosen(self, rows: np.ndarray) -> pa.StringArray:
        """As `Lines.chosen`."""
        import pyarrow as pa

        if self._column is None and len(rows) < len(self) / 2:
            return self._texts(self.batch.take(pa.array(rows)), self.as_array)
        return self._every() if len(rows) == len(self) else self._every().take(pa.array(rows))

    def _every(self) -> pa.StringArray:
        """All texts as an Arrow array, made once."""
        if self._column is None:
            self._column = self._texts(self.batch, self.as_array)
        return self._column

    @property
    def values(self) -> list[Any]:
        return [orjson.loads(text) for text in self.texts()]

    def heads(self) -> pa.StringArray:
        """As `Lines.heads`, as an Arrow array."""
        import pyarrow.compute as pc

        if self._config.key_field:
            key = json_column(self._whole[self._config.key_field], self._numbers)
            return pc.binary_join_element_wise('"key":', key, "")
        parts: list[Any] = ['"instance":', self._every()]
        for name in self._config.excluded:
            if name in self._whole.schema.names:
                label = "," + orjson.dumps(name).decode() + ":"
                parts += [label, json_column(self._whole[name], self._numbers)]
        return pc.binary_join_element_wise(*parts, "")

    def shown(self) -> list[bytes]:
        return self._texts(self._whole, False).cast("binary").to_pylist()  # type: ignore[no-any-return]

    def columns(self, rows: np.ndarray) -> pa.RecordBatch:
        import pyarrow as pa

        whole = self._unmarked(self._whole)
        whole = whole if len(rows) == len(self) else whole.take(pa.array(rows))
        if self._config.key_field:
            return pa.record_batch({"key": whole[self._config.key_field]})
        return whole

    def cells(self, place: int | str) -> pa.Array:
        """One of the columns of `batch`, its cells as they were written."""
        return without_marks(self.batch[place]) if self._numbers else self.batch[place]

    def _unmarked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa

        if not self._numbers:
            return batch
        return pa.RecordBatch.from_arrays([without_marks(c) for c in batch.columns], names=batch.schema.names)

    def _texts(self, batch: pa.RecordBatch, as_array: bool) -> pa.StringArray:
        import pyarrow as pa
        import pyarrow.compute as pc

        opening, closing = ("[", "]") if as_array else ("{", "}")
        if not batch.num_columns:
            return pa.array([opening + closing] * batch.num_rows, pa.string())
        parts: list[Any] = []
        for position, name in enumerate(batch.schema.names):
            label = "" if as_array else orjson.dumps(name).decode() + ":"
            parts += [
                (opening if position == 0 else ",") + label,
                json_column(batch[position], self._numbers),
            ]
        return pc.binary_join_element_wise(*parts, closing, "")


def json_column(column: pa.Array, numbers: bool) -> pa.StringArray:
    """Each cell as JSON text. With `numbers`, text that is a number is written as that number.

    A cell that stood in quotes, by its mark (`values.QUOTED`), is a string as on Vertex AI, whatever is in it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.fill_null(column.cast(pa.string()), "null")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        is_string = pc.starts_with(column, QUOTED)
        column = without_marks(column)
        if pc.any(pc.match_substring_regex(column, _TO_ESCAPE)).as_py():
            cells = column.to_pylist()
            quoted = pa.array([None if c is None else orjson.dumps(c).decode() for c in cells], pa.string())
        else:
            quoted = pc.binary_join_element_wise('"', column.cast(pa.string()), '"', "")
        if numbers:
            is_number = pc.and_not(pc.match_substring_regex(column, _JSON_NUMBER), is_string)
            quoted = pc.if_else(is_number, column.cast(pa.string()), quoted)
        return pc.fill_null(quoted, "null")
    return pa.array([orjson.dumps(cell, default=str).decode() for cell in column.to_pylist()], pa.string())


def without_marks(column: pa.Array) -> pa.Array:
    """A column of text without `values.QUOTED` before its cells."""
    import pyarrow.compute as pc

    marked = pc.starts_with(column, QUOTED)
    if not pc.any(marked).as_py():
        return column
    return pc.if_else(marked, pc.utf8_slice_codeunits(column, len(QUOTED)), column)


def _as_json(line: bytes) -> bytes:
    try:
        orjson.loads(line)
        return line
    except ValueError:
        return orjson.dumps(line.decode(errors="replace"))
