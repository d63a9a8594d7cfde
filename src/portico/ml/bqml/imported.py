"""Models that others made: ONNX and XGBoost files. A stranger's file is opened in a process that may die: the warehouse
never calls a function of these in its own."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml.answers import beside
from portico.ml.bqml.model import Given, Model, Settings, function
from portico.ml.bqml.options import COMMON, Option
from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]
_KINDS = {"b": pa.bool_(), "i": pa.int64(), "u": pa.int64()}
_NO_REGISTRY = "upload the file as a model of Vertex AI to deploy it"
_OPTIONS = COMMON | {
    "model_path": Option("str"),
    "model_registry": Option("str", refused=_NO_REGISTRY),
    "vertex_ai_model_id": Option("str", refused=_NO_REGISTRY),
    "vertex_ai_model_version_aliases": Option("list", refused=_NO_REGISTRY),
}
_DECLARED = re.compile(r"\s*`?(\w+)`?\s+([\w<>, ]+?)\s*")
_ONNX = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_, "tensor(string)": np.object_,
}  # fmt: skip


class Imported(Model):
    """`state` has inputs and outputs, {name, type, width}: the width of an array, None for a value."""

    IMPORTS: ClassVar[bool] = True
    OPTIONS: ClassVar[dict[str, Option]] = _OPTIONS
    FILE: ClassVar[str]

    def fit(self, given: Given) -> None:
        self.files[self.FILE] = given.imported
        self.opened(given.inputs, given.outputs)
        self.run.step(None)

    def opened(self, inputs: str, outputs: str) -> None:
        """Opens the file and sets the state's inputs and outputs; INPUT (…) and OUTPUT (…) may name them.

        Raises:
            DataError: it is no such file, or its inputs are others.
        """
        raise NotImplementedError

    def outputs(self, table: pa.Table) -> dict[str, Any]:
        raise NotImplementedError

    @function("ML.PREDICT", (1, 1))
    def predict(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """The model's outputs, and the columns of the input."""
        return beside(self.outputs(tables[0]), tables[0])

    def column(self, table: pa.Table, name: str) -> Any:
        have = {one.lower(): one for one in table.column_names}
        if name.lower() not in have:
            raise DataError(
                f"The model needs the column {name}, and there are {', '.join(table.column_names)}"
            )
        found = table.column(have[name.lower()]).combine_chunks()
        return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found

    def described(self) -> dict[str, Any]:
        shown = super().described()
        for key, state in (("featureColumns", "inputs"), ("labelColumns", "outputs")):
            shown[key] = [
                {"name": one["name"], "type": {"typeKind": "FLOAT64" if one["width"] is None else "ARRAY"}}
                for one in self.state[state]
            ]
        return shown


class OnnxModel(Imported):
    """Run by ONNX Runtime on one thread."""

    TYPES: ClassVar[dict[str, str]] = {"ONNX": "ONNX"}
    FILE: ClassVar[str] = "imported.onnx"

    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        onnxruntime.set_default_logger_severity(4)
        try:
            return onnxruntime.InferenceSession(
                self.files[self.FILE], options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exception classes are not public
            raise DataError(f"MODEL_PATH is no ONNX model that can be run: {_line(error)}") from None

    def opened(self, inputs: str, outputs: str) -> None:
        session = self._session()
        self.state["inputs"] = [_spec(one) for one in session.get_inputs()]
        self.state["outputs"] = [_spec(one) for one in session.get_outputs()]
        for one in self.state["inputs"]:
            if one["type"] not in _ONNX or one["deep"]:
                raise DataError(
                    f"The ONNX model's input {one['name']} is {one['type']} of a shape that no column is"
                )
        for said, state in ((inputs, "inputs"), (outputs, "outputs")):
            for name, _ in declared(said):
                if name.lower() not in {one["name"].lower() for one in self.state[state]}:
                    raise DataError(f"The ONNX model has no {state[:-1]} {name}")

    def outputs(self, table: pa.Table) -> dict[str, Any]:
        feed = {
            one["name"]: tensor(self.column(table, one["name"]), one, one["name"])
            for one in self.state["inputs"]
        }
        if not table.num_rows:
            return {one["name"]: empty(one) for one in self.state["outputs"]}
        try:
            found = self._session().run(None, feed)
        except Exception as error:
            raise DataError(f"The ONNX model refused the rows: {_line(error)}") from None
        names = [one["name"] for one in self.state["outputs"]]
        return {name: arrow(one, table.num_rows, name) for name, one in zip(names, found, strict=True)}


class XgboostModel(Imported):
    """Run by XGBoost. Columns that the file or INPUT names, in that order."""

    TYPES: ClassVar[dict[str, str]] = {"XGBOOST": "XGBOOST"}
    FILE: ClassVar[str] = "imported.xgboost"

    def _booster(self) -> Any:
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        try:
            booster.load_model(bytearray(self.files[self.FILE]))
        except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
            raise DataError(
                f"MODEL_PATH is no XGBoost model in JSON or UBJSON that can be read: {_line(error)}"
            ) from None
        return booster

    def opened(self, inputs: str, outputs: str) -> None:
        booster = self._booster()
        said = [name for name, _ in declared(inputs)]
        names = booster.feature_names or said or [f"f{place}" for place in range(booster.num_features())]
        if said and {one.lower() for one in said} != {one.lower() for one in names}:
            raise DataError(f"INPUT names {', '.join(said)}, and the XGBoost model's are {', '.join(names)}")
        if len(names) != booster.num_features():
            raise DataError(
                f"INPUT has {len(names)} columns, and the model {booster.num_features()} features"
            )
        label = declared(outputs) or [("predicted_label", "FLOAT64")]
        if len(label) != 1:
            raise DataError("OUTPUT of an XGBoost model is one column")
        config = json.loads(booster.save_config())["learner"]
        classes = int(config["learner_model_param"]["num_class"] or 0)
        probabilities = config["objective"]["name"] == "multi:softprob"
        self.state["inputs"] = [{"name": one, "width": None} for one in names]
        self.state["outputs"] = [{"name": label[0][0], "width": classes if probabilities else None}]

    def outputs(self, table: pa.Table) -> dict[str, Any]:
        import xgboost

        booster = self._booster()
        names = [one["name"] for one in self.state["inputs"]]
        columns = [_numbers(self.column(table, name), name) for name in names]
        matrix = np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((table.num_rows, 0))
        [output] = self.state["outputs"]
        name = output["name"]
        if not len(matrix):
            return {name: empty(output)}
        try:
            found = booster.predict(xgboost.DMatrix(matrix, feature_names=booster.feature_names))
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise DataError(f"The XGBoost model refused the rows: {_line(error)}") from None
        return {name: arrow(found, table.num_rows, name)}


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:300] if str(error).strip() else type(error).__name__


def declared(text: str) -> list[tuple[str, str]]:
    """INPUT (…) or OUTPUT (…): names and types.

    Raises:
        DataError: it is no list of them.
    """
    found = []
    for piece in filter(None, (one.strip() for one in re.split(r",(?![^<]*>)", text))):
        matched = _DECLARED.fullmatch(piece)
        if matched is None:
            raise DataError(f"INPUT and OUTPUT are lists of names with types, and {piece!r} is none")
        found.append((matched[1], matched[2].upper()))
    return found


def _spec(one: Any) -> dict[str, Any]:
    shape = list(one.shape or [])
    width = shape[1] if len(shape) > 1 and isinstance(shape[1], int) else -1 if len(shape) > 1 else None
    return {"name": one.name, "type": one.type, "width": width, "deep": len(shape) > 2}


def empty(output: dict[str, Any]) -> Any:
    """An output's column without rows."""
    return pa.array([], _type(output))


def _type(output: dict[str, Any]) -> pa.DataType:
    told = output.get("type", "")
    if told.startswith("seq("):
        return pa.list_(pa.struct([("label", pa.string()), ("prob", pa.float64())]))
    kind = _ONNX.get(told, np.float64)
    inner = pa.string() if kind is np.object_ else _KINDS.get(np.dtype(kind).kind, pa.float64())
    return inner if output["width"] is None else pa.list_(inner)


def _numbers(column: Any, name: str) -> Numbers:
    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.int64())
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(f"The model needs numbers in the column {name}, and it is {kind}")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def tensor(column: Any, spec: dict[str, Any], name: str) -> Numbers:
    """(rows,) or (rows, width), of the model's type."""
    kind = _ONNX[spec["type"]]
    width = spec["width"]
    rows = len(column)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        lengths = pc.unique(pc.fill_null(pc.list_value_length(column), 0)).to_pylist()
        if width is None or len(lengths) > 1 or (width > 0 and lengths not in ([width], [])):
            wanted = "a value" if width is None else f"an array of {width if width > 0 else 'one length'}"
            raise DataError(f"The model needs {wanted} in the column {name}")
        return _values(column.flatten(), kind, name).reshape(rows, -1)
    if width is not None and width > 1:
        raise DataError(f"The model needs an array of {width} in the column {name}, and it is {column.type}")
    values = _values(column, kind, name)
    return values if width is None else values[:, None]


def _values(column: Any, kind: Any, name: str) -> Numbers:
    if kind is np.object_:
        return np.array(pc.fill_null(column.cast(pa.string()), "").to_pylist(), dtype=object)
    found = _numbers(column, name)
    if not np.issubdtype(kind, np.floating) and np.isnan(found).any():
        raise DataError(f"The column {name} has NULL, and the model needs whole numbers there")
    return found.astype(kind)


def arrow(values: Any, rows: int, name: str) -> Any:
    """An output as a column: values, arrays, or (value, probability) pairs of a classifier's maps."""
    if isinstance(values, list):
        kind = pa.map_(pa.string(), pa.float64())
        pairs = [[(str(key), float(value)) for key, value in one.items()] for one in values]
        entries = pa.array(pairs, kind)
        told = pa.StructArray.from_arrays([entries.keys, entries.items], ["label", "prob"])
        return pa.ListArray.from_arrays(entries.offsets, told)
    found = np.asarray(values)
    if found.ndim == 0 or len(found) != rows:
        raise DataError(f"The model's output {name} has {len(np.atleast_1d(found))} rows for {rows}")
    flat = pa.array([str(one) for one in found.ravel()]) if found.dtype == object else pa.array(found.ravel())
    if found.dtype != object:
        flat = flat.cast(_KINDS.get(found.dtype.kind, pa.float64()))
    if found.ndim == 1:
        return flat
    offsets = pa.array(np.arange(rows + 1) * (found.size // rows), pa.int32())
    return pa.ListArray.from_arrays(offsets, flat)
