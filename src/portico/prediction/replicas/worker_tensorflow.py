"""A TensorFlow SavedModel in a replica, answered as TensorFlow Serving does; imported by `worker.py` alone.

https://www.tensorflow.org/tfx/serving/api_rest#predict_api (row format)
"""

from __future__ import annotations

import base64
import copy
import os
from typing import Any

import tensorflow as tf

_SIGNATURE = "serving_default"


class BadInstance(Exception):
    """An instance that the signature does not take."""


class SavedModel:
    """Has what `worker.Model` has. `classes` stay unknown: what the numbers mean only the model's maker knows."""

    names = None
    width = None
    classes = None

    def __init__(self, path: str, beside: Any) -> None:
        self.beside = beside
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.loaded = tf.saved_model.load(os.path.dirname(path))
        signatures = dict(self.loaded.signatures)
        if not signatures:
            raise BadInstance("the SavedModel has no signature to be served by")
        self.signatures = signatures
        self._serve_by(_SIGNATURE if _SIGNATURE in signatures else next(iter(signatures)))

    def _serve_by(self, name: str) -> None:
        self.signature = self.signatures[name]
        self.inputs = dict(self.signature.structured_input_signature[1])

    def signed(self, name: Any) -> SavedModel:
        """The same, served by another of its signatures ("signature_name" of a request)."""
        if name not in self.signatures:
            raise BadInstance(
                f"the model has no signature {name!r}; it has {', '.join(sorted(self.signatures))}"
            )
        other = copy.copy(self)
        other._serve_by(name)
        return other

    def rows(self, instances: Any) -> list[Any]:
        if not isinstance(instances, list) or not instances:
            raise BadInstance("instances must be a list with at least one instance")
        return instances

    def predict(self, rows: list[Any]) -> list[Any]:
        tensors = {name: self.tensor(name, spec, rows) for name, spec in self.inputs.items()}
        found = {name: _values(tensor) for name, tensor in self.signature(**tensors).items()}
        if any(len(values) != len(rows) for values in found.values()):
            raise BadInstance(
                f"the signature answers with {', '.join(f'{len(v)} of {n!r}' for n, v in found.items())} for "
                f"{len(rows)} instances"
            )
        if len(found) == 1:
            return list(next(iter(found.values())))
        return [{name: values[place] for name, values in found.items()} for place in range(len(rows))]

    def scores(self, rows: list[Any]) -> Any:
        return self.predict(rows)

    def explained(self, rows: list[Any], asked: dict[str, Any] | None) -> dict[str, Any]:
        if not asked:
            return {}
        gradients = self.beside("worker_gradients")
        try:
            return {"explanations": gradients.Gradients(self, asked).explanations(rows)}
        except gradients.Unexplained as error:
            raise BadInstance(str(error)) from None

    def direct(self, method: str, content: bytes) -> bytes:
        messages = self.beside("worker_direct")
        if method.strip("/") != messages.PREDICT:
            raise BadInstance(f"methodName {method!r} is not built in Portico yet; /{messages.PREDICT} is")
        try:
            told: bytes = messages.predict(self, content)
        except messages.Asked as error:
            raise BadInstance(str(error)) from None
        return told

    def direct_tensors(self, request: Any) -> dict[str, Any]:
        tensors = self.beside("worker_tensors")
        try:
            told: dict[str, Any] = tensors.predict(self, request)
        except tensors.Asked as error:
            raise BadInstance(str(error)) from None
        return told

    def blame(self, rows: list[Any], error: Exception) -> str:
        text = " ".join(str(error).split())[:500] or type(error).__name__
        wanted = ", ".join(f"{name}: {spec.dtype.name}{spec.shape}" for name, spec in self.inputs.items())
        return text if isinstance(error, BadInstance) else f"The model, which takes {wanted}, says: {text}"

    def tensor(self, name: str, spec: Any, rows: list[Any]) -> Any:
        values = [self._cell(name, place, row) for place, row in enumerate(rows)]
        if spec.dtype.is_integer:
            values = _whole(values)
        try:
            return tf.constant(values, dtype=spec.dtype)
        except (TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise BadInstance(
                f"the instances make no {spec.dtype.name} tensor {spec.shape} for the input {name!r}: {why}"
            ) from None

    def _cell(self, name: str, place: int, row: Any) -> Any:
        if isinstance(row, dict) and not _is_bytes(row):
            if name not in row:
                raise BadInstance(
                    f"instances[{place}] has no {name!r}; the inputs are {', '.join(self.inputs)}"
                )
            return _decoded(row[name])
        if len(self.inputs) > 1:
            raise BadInstance(f"instances[{place}] must be an object with {', '.join(self.inputs)}")
        return _decoded(row)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"]


def _decoded(value: Any) -> Any:
    if _is_bytes(value):
        return base64.b64decode(value["b64"])
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 4.0, as clients write it whose numbers are all doubles, is the integer 4."""
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _values(tensor: Any) -> list[Any]:
    return [_shown(value) for value in tensor.numpy().tolist()]


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value
