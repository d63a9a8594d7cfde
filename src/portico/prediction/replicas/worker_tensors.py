"""What `directPredict` asks of a SavedModel, in Vertex AI's own tensors; imported by `worker_tensorflow.py` alone.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/Tensor. The inputs are a tensor each, in the order of the
signature's names, or one whose structVal has them by those; so are the outputs.
"""

from __future__ import annotations

import base64
from typing import Any

import tensorflow as tf

# A Tensor's data types in the order of their numbers: TensorFlow's, and where the values are.
_KINDS = {
    "BOOL": (tf.bool, "boolVal"), "STRING": (tf.string, "stringVal"), "FLOAT": (tf.float32, "floatVal"),
    "DOUBLE": (tf.float64, "doubleVal"), "INT8": (tf.int8, "intVal"), "INT16": (tf.int16, "intVal"),
    "INT32": (tf.int32, "intVal"), "INT64": (tf.int64, "int64Val"), "UINT8": (tf.uint8, "uintVal"),
    "UINT16": (tf.uint16, "uintVal"), "UINT32": (tf.uint32, "uintVal"), "UINT64": (tf.uint64, "uint64Val"),
}  # fmt: skip
_NAMES = {kind: name for name, (kind, _) in _KINDS.items()}


class Asked(Exception):
    """What was asked can't be answered, and why."""


def predict(model: Any, request: Any) -> dict[str, Any]:
    """A DirectPredictResponse to a DirectPredictRequest, both as JSON.

    Raises:
        Asked: it is none, or the model does not take what it holds.
    """
    given = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise Asked("inputs must be a list of tensors that is not empty")
    if request.get("parameters"):
        raise Asked("parameters: a SavedModel takes none; leave them out")
    named = len(given) == 1 and isinstance(given[0].get("structVal"), dict)
    specs = {name: model.inputs[name] for name in sorted(model.inputs)}
    if named:
        told = given[0]["structVal"]
    elif len(given) == len(specs):
        told = {name: given[place] for place, name in enumerate(specs)}
    else:
        raise Asked(f"inputs has {len(given)} tensors; the model takes {', '.join(specs)}, in this order")
    if set(told) != set(specs):
        raise Asked(f"inputs[0].structVal has {', '.join(sorted(told))}; the model takes {', '.join(specs)}")
    found = model.signature(**{name: _read(name, told[name], spec) for name, spec in specs.items()})
    outputs = {name: _shown(found[name]) for name in sorted(found)}
    return {"outputs": [{"structVal": outputs}] if named else list(outputs.values())}


def _read(name: str, tensor: Any, spec: Any) -> Any:
    at = f"the tensor of the input {name!r}"
    kind = tensor.get("dtype") if isinstance(tensor, dict) else None
    if isinstance(kind, int) and 0 < kind <= len(_KINDS):  # its number, as Google's clients send it
        kind = list(_KINDS)[kind - 1]
    if kind not in _KINDS:
        raise Asked(f"{at} has the dtype {kind!r}; it is one of {', '.join(_KINDS)}")
    dtype, key = _KINDS[kind]
    is_bytes = kind == "STRING" and "bytesVal" in tensor
    values = tensor.get("bytesVal" if is_bytes else key) or []
    try:
        shape = [int(size) for size in tensor.get("shape") or []]
        if is_bytes:
            values = [base64.b64decode(one, validate=True) for one in values]
        elif key in ("int64Val", "uint64Val"):  # JSON has them as texts
            values = [int(one) for one in values]
        made = tf.reshape(tf.constant(values, dtype=dtype), shape)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise Asked(f"{at} is none: {' '.join(str(error).split())[:200]}") from None
    if made.dtype != spec.dtype or not spec.shape.is_compatible_with(made.shape):
        raise Asked(f"{at} is {dtype.name}{made.shape}; the model takes {spec.dtype.name}{spec.shape}")
    return made


def _shown(tensor: Any) -> dict[str, Any]:
    name = _NAMES.get(tensor.dtype)
    if name is None:
        raise Asked(f"the model answers with a tensor of {tensor.dtype.name}, for which Tensor has no dtype")
    key, values = _KINDS[name][1], tensor.numpy().reshape(-1).tolist()
    if name == "STRING":  # whether it is text only the model's maker knows
        key, values = "bytesVal", [base64.b64encode(one).decode() for one in values]
    elif name in ("INT64", "UINT64"):
        values = [str(one) for one in values]
    return {"dtype": name, "shape": [str(size) for size in tensor.shape], key: values}
