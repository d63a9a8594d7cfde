"""REMOTE models: an endpoint's predictions, asked for by rows. Nothing is trained; who asks is handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml.answers import beside
from portico.ml.bqml.imported import declared
from portico.ml.bqml.model import Function, Given, Model, Settings, function
from portico.ml.bqml.options import COMMON, Option
from portico.ml.errors import DataError

STATUS = "remote_model_status"
_TYPES = {"BOOL": pa.bool_(), "STRING": pa.string(), "INT64": pa.int64(), "FLOAT64": pa.float64()}
_ELSEWHERE = "it is of Google's own models, which are not on this machine"
_BATCH = 1_000  # rows that are asked for at once

Answer = tuple[Any, str]
"""The prediction of a row, or what is wrong with it."""
Ask = Callable[[str, list[dict[str, Any]]], list[Answer]]
"""The answers of an endpoint to instances, one each."""


class Remote(Model):
    """`state` has the endpoint's resource name, the connection, and inputs and outputs, {name, type}."""

    TYPES: ClassVar[dict[str, str]] = {"REMOTE": "MODEL_TYPE_UNSPECIFIED"}
    OPTIONS: ClassVar[dict[str, Option]] = {
        **{name: one for name, one in COMMON.items() if not name.startswith(("model_registry", "vertex_ai"))},
        "endpoint": Option("str"),
        **{
            name: Option("any", refused=_ELSEWHERE)
            for name in (
                "remote_service_type", "document_processor", "speech_recognizer", "hugging_face_model_id",
                "model_garden_model_name", "hugging_face_token", "machine_type", "min_replica_count",
                "max_replica_count", "endpoint_idle_ttl", "prompt_col", "evaluation_task",
                "learning_rate_multiplier", "accelerator_type", "reservation_affinity_key",
                "reservation_affinity_values",
            )
        },
    }  # fmt: skip

    def fit(self, given: Given) -> None:
        """Notes what CREATE MODEL declares.

        Raises:
            DataError: INPUT or OUTPUT is missing, or names a type that no endpoint's field has.
        """
        for name, text in (("inputs", given.inputs), ("outputs", given.outputs)):
            fields = [{"name": one, "type": kind.replace(" ", "")} for one, kind in declared(text)]
            clause = name[:-1].upper()
            if not fields:
                raise DataError(f"A remote model needs {clause} (name type, …)")
            seen: set[str] = set()
            for one in fields:
                _type(one["type"])
                if one["name"].lower() in seen or (name == "outputs" and one["name"].lower() == STATUS):
                    raise DataError(f"{clause} can't have the field {one['name']}, which is there already")
                seen.add(one["name"].lower())
            self.state[name] = fields

    def predicted(self, table: pa.Table, ask: Ask) -> pa.Table:
        """The endpoint's outputs, `remote_model_status` with what is wrong with a row, and the columns of the input.

        Raises:
            DataError: an input is missing, or of another type.
        """
        columns = {one["name"]: self._input(table, one) for one in self.state["inputs"]}
        rows = pa.table(columns)
        answers: list[Answer] = []
        for begin in range(0, table.num_rows, _BATCH):
            instances = rows.slice(begin, _BATCH).to_pylist()
            answers += ask(str(self.state["endpoint"]), instances)
        made = self._outputs(answers)
        return beside(made, table)

    @function("ML.PREDICT", (1, 1))
    def predict(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """The columns of the answer, of no rows: rows need `predicted`."""
        return self.predicted(tables[0].slice(0, 0), lambda _endpoint, _instances: [])

    @classmethod
    def functions(cls) -> dict[str, tuple[Function, str]]:
        """ML.PREDICT alone: it was never trained."""
        return {name: one for name, one in super().functions().items() if name == "ML.PREDICT"}

    def _input(self, table: pa.Table, field: dict[str, str]) -> Any:
        have = {one.lower(): one for one in table.column_names}
        name = field["name"]
        if name.lower() not in have:
            raise DataError(
                f"The remote model needs the column {name}, and there are {', '.join(table.column_names)}"
            )
        column, wanted = table.column(have[name.lower()]), _type(field["type"])
        if pa.types.is_string(wanted) != pa.types.is_string(column.type) and not pa.types.is_null(
            column.type
        ):
            raise DataError(
                f"The remote model needs {field['type']} in the column {name}, and it is {column.type}"
            )
        try:
            return pc.cast(column, wanted, safe=not pa.types.is_floating(wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"The remote model needs {field['type']} in the column {name}, and it is {column.type}"
            ) from None

    def _outputs(self, answers: list[Answer]) -> dict[str, Any]:
        fields = self.state["outputs"]
        cells: dict[str, list[Any]] = {one["name"]: [] for one in fields}
        statuses = []
        for value, error in answers:
            found: dict[str, Any] = {}
            if not error:
                try:
                    found = {one["name"]: _read(_of(value, one["name"], len(fields)), one) for one in fields}
                except DataError as wrong:
                    error = wrong.message
            for name, column in cells.items():
                column.append(found.get(name))
            statuses.append(error)
        made: dict[str, Any] = {
            one["name"]: pa.array(cells[one["name"]], _type(one["type"])) for one in fields
        }
        return made | {STATUS: pa.array(statuses, pa.string())}

    def described(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"modelType": self.TYPES[self.model_type]}
        for key, state in (("featureColumns", "inputs"), ("labelColumns", "outputs")):
            shown[key] = [{"name": one["name"], "type": _shown(one["type"])} for one in self.state[state]]
        shown["remoteModelInfo"] = {"endpoint": self.options["endpoint"]}
        if self.state["connection"]:
            shown["remoteModelInfo"]["connection"] = self.state["connection"]
        return shown


def _type(text: str) -> pa.DataType:
    inner = text.removeprefix("ARRAY<").removesuffix(">") if text.startswith("ARRAY<") else text
    if inner not in _TYPES:
        raise DataError(
            f"INPUT and OUTPUT of a remote model take {', '.join(_TYPES)} and arrays of them, not {text}"
        )
    return _TYPES[inner] if inner == text else pa.list_(_TYPES[inner])


def _shown(text: str) -> dict[str, Any]:
    if not text.startswith("ARRAY<"):
        return {"typeKind": text}
    return {"typeKind": "ARRAY", "arrayElementType": {"typeKind": text[len("ARRAY<") : -1]}}


def _of(value: Any, name: str, fields: int) -> Any:
    """A field of a prediction; what has no fields is the one output."""
    if isinstance(value, dict) and name in value:
        return value[name]
    if fields == 1 and not isinstance(value, dict):
        return value
    told = f"the fields {', '.join(value)}" if isinstance(value, dict) else "no fields"
    raise DataError(f"The endpoint's prediction has no field {name}: it has {told}")


def _read(value: Any, field: dict[str, str]) -> Any:
    """A value of JSON as one of the output's type; a value stands for an array of one and the other way round."""
    wanted = _type(field["type"])
    if pa.types.is_list(wanted) and not isinstance(value, list) and value is not None:
        value = [value]
    if not pa.types.is_list(wanted) and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list) and pa.types.is_list(wanted):
        return [_scalar(one, wanted.value_type, field) for one in value]
    return None if value is None else _scalar(value, wanted, field)


def _scalar(value: Any, wanted: pa.DataType, field: dict[str, str]) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if pa.types.is_floating(wanted) and number:
        return float(value)
    if pa.types.is_integer(wanted) and number and int(value) == value:
        return int(value)
    fits = pa.types.is_string(wanted) and isinstance(value, str)
    if fits or (pa.types.is_boolean(wanted) and isinstance(value, bool)):
        return value
    raise DataError(
        f"The endpoint's prediction has {str(value)[:100]!r} for {field['name']}, which is no {field['type']}"
    )
