"""An ONNX model (`model.onnx`), run by ONNX Runtime on one thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from portico.errors import FailedPrecondition, InvalidArgument

_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


class OnnxModel:
    """Instances: with one input a list (or number) in its shape; with several an object by input name.

    An object is also taken for a model with one input, under its name. With one output a prediction is that
    output's row, with several an object by output name.
    """

    def __init__(self, path: Path, explanation: Mapping[str, Any] | None = None) -> None:
        import onnxruntime

        self._explanation = explanation

        file = path / "model.onnx" if path.is_dir() else path
        if not file.is_file():
            raise FailedPrecondition("The model's folder holds no model.onnx.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._inputs = self._session.get_inputs()
        self._outputs = [output.name for output in self._session.get_outputs()]
        unknown = [i.type for i in self._inputs if i.type not in _TYPES]
        if unknown:
            raise FailedPrecondition(f"ONNX inputs of the type {unknown[0]} can't be given as JSON.")

    def predict(self, instances: list[Any], parameters: Any) -> list[Any]:
        feed = {spec.name: self._input(spec, instances) for spec in self._inputs}
        try:
            results = self._session.run(None, feed)
        except Exception as error:  # onnxruntime's own exception classes are not public
            raise InvalidArgument(f"The model refused the instances: {error}", field="instances") from error
        columns = [_rows(result, len(instances)) for result in results]
        if len(columns) == 1:
            return columns[0]
        return [dict(zip(self._outputs, row, strict=True)) for row in zip(*columns, strict=True)]

    def sample(self) -> list[Any]:
        """Instances to try the model with."""
        import numpy as np

        row = {}
        for spec in self._inputs:
            shape = [size if isinstance(size, int) and size > 0 else 1 for size in spec.shape[1:]]
            row[spec.name] = np.full(shape, "" if _TYPES[spec.type] == "object" else 0, dtype=object).tolist()
        return [row]

    def explain(self, instances: list[Any], parameters: Any) -> list[dict[str, Any]]:
        """Sampled Shapley values. Of a classifier's outputs its probabilities are explained."""
        from portico.prediction.replicas import shapley

        sampling = shapley.Sampling.from_spec(self._explanation) if self._explanation else None
        work = shapley.explain(orjson.dumps({"instances": instances}), sampling)
        scored: tuple[int, bytes] | None = None
        while True:
            try:
                asked = work.send(scored)
            except StopIteration as done:
                explanations: list[dict[str, Any]] = orjson.loads(done.value[1])["explanations"]
                return explanations
            predictions = self.predict(orjson.loads(asked)["instances"], parameters)
            scores = [_scores(prediction) for prediction in predictions]
            classes = list(scores[0]) if isinstance(scores[0], dict) else None
            told = {
                "names": None,
                "classes": classes,
                "scores": [list(one.values()) if classes else one for one in scores],
                "predictions": predictions,
            }
            scored = 200, orjson.dumps(told)

    def _input(self, spec: Any, instances: list[Any]) -> Any:
        import numpy as np

        dtype = _TYPES[spec.type]
        rows = []
        for position, instance in enumerate(instances):
            where = f"instances[{position}]"
            if isinstance(instance, dict):
                if spec.name not in instance:
                    raise InvalidArgument(
                        f"{where} lacks the input {spec.name!r}.", field=f"{where}.{spec.name}"
                    )
                value, where = instance[spec.name], f"{where}.{spec.name}"
            elif len(self._inputs) == 1:
                value = instance
            else:
                names = ", ".join(i.name for i in self._inputs)
                raise InvalidArgument(f"{where} must be an object with the inputs {names}.", field=where)
            try:
                row = np.asarray(value, dtype=dtype)
            except (ValueError, TypeError, OverflowError) as error:
                raise InvalidArgument(
                    f"{where} is not of the type {spec.type}: {error}", field=where
                ) from None
            if dtype != "object" and row.dtype.kind == "f" and value is None:
                row = np.asarray(np.nan, dtype=dtype)
            # A column of single values, as skl2onnx declares them: [rows, 1].
            rows.append(row.reshape(1) if row.ndim == 0 and len(spec.shape) == 2 else row)
            if len(spec.shape) - 1 != rows[-1].ndim or not _fits(spec.shape[1:], rows[-1].shape):
                raise InvalidArgument(
                    f"{where} has the shape {list(row.shape)}; the input {spec.name!r} takes {spec.shape[1:]}.",
                    field=where,
                )
        return np.stack(rows)


def _fits(wanted: list[Any], given: tuple[int, ...]) -> bool:
    return all(not isinstance(w, int) or w == g for w, g in zip(wanted, given, strict=True))


def _scores(prediction: Any) -> Any:
    """What of a prediction is explained: of several outputs the one with a number for each class."""
    if not isinstance(prediction, dict):
        return prediction
    several = [value for value in prediction.values() if isinstance(value, (list, dict))]
    return several[0] if several else next(iter(prediction.values()))


def _rows(result: Any, count: int) -> list[Any]:
    if isinstance(result, list):  # scikit-learn's ZipMap: an object by class for each row
        return [{str(key): value for key, value in row.items()} for row in result]
    rows: list[Any] = result.tolist()
    if len(rows) != count:
        raise FailedPrecondition(f"The model gave {len(rows)} rows for {count} instances.")
    return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in rows]
