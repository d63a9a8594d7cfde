"""What a client of TensorFlow Serving's gRPC asks of a SavedModel (`directRawPredict`), in its messages; imported by
`worker_tensorflow.py` alone.

https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis (model.proto, predict.proto)
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2

PREDICT = "tensorflow.serving.PredictionService/Predict"
_PACKAGE = "tensorflow.serving"
_INT64, _STRING, _MESSAGE = 3, 9, 11  # FieldDescriptorProto.Type
_ONE, _MANY = 1, 3  # FieldDescriptorProto.Label
_TENSOR = "." + tensor_pb2.TensorProto.DESCRIPTOR.full_name
_SPEC = f".{_PACKAGE}.ModelSpec"


class Asked(Exception):
    """What was asked can't be answered, and why."""


def predict(model: Any, content: bytes) -> bytes:
    """TensorFlow Serving's PredictResponse to `content`, a PredictRequest, both serialized.

    Raises:
        Asked: it is no such message, or the model does not take what it holds.
    """
    asked = _REQUEST()
    try:
        asked.ParseFromString(content)
    except DecodeError:
        raise Asked("input must be a serialized tensorflow.serving.PredictRequest") from None
    name = asked.model_spec.signature_name
    if name:
        model = model.signed(name)
    found = model.signature(**_inputs(model.inputs, asked.inputs))
    wanted = list(asked.output_filter) or list(found)
    if unknown := sorted(set(wanted) - set(found)):
        raise Asked(f"output_filter: the model has no output {unknown[0]!r}; it has {', '.join(found)}")
    told = _RESPONSE()
    told.model_spec.CopyFrom(asked.model_spec)
    told.model_spec.signature_name = name or "serving_default"
    for output in wanted:
        told.outputs[output].CopyFrom(tf.make_tensor_proto(found[output].numpy()))
    written: bytes = told.SerializeToString()
    return written


def _inputs(specs: dict[str, Any], given: Any) -> dict[str, Any]:
    if set(given) != set(specs):
        raise Asked(
            f"inputs are {', '.join(sorted(given)) or 'none'}; the model takes {', '.join(sorted(specs))}"
        )
    tensors = {}
    for name, spec in specs.items():
        try:
            tensor = tf.constant(tf.make_ndarray(given[name]), dtype=tf.as_dtype(given[name].dtype))
        except (TypeError, ValueError) as error:
            raise Asked(f"inputs[{name!r}] is no tensor: {' '.join(str(error).split())[:200]}") from None
        if tensor.dtype != spec.dtype or not spec.shape.is_compatible_with(tensor.shape):
            raise Asked(
                f"inputs[{name!r}] is {tensor.dtype.name}{tensor.shape}; the model takes {spec.dtype.name}{spec.shape}"
            )
        tensors[name] = tensor
    return tensors


def _messages() -> tuple[Any, Any]:
    """The two messages' classes."""
    file = descriptor_pb2.FileDescriptorProto(name="portico/predict.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.extend([wrappers_pb2.DESCRIPTOR.name, tensor_pb2.DESCRIPTOR.name])
    spec = file.message_type.add(name="ModelSpec")
    _field(spec, "name", 1, _STRING)
    _field(spec, "version", 2, _MESSAGE, ".google.protobuf.Int64Value")
    _field(spec, "signature_name", 3, _STRING)
    _field(spec, "version_label", 4, _STRING)
    for name, spec_at, map_name, map_at in (
        ("PredictRequest", 1, "inputs", 2),
        ("PredictResponse", 2, "outputs", 1),
    ):
        message = file.message_type.add(name=name)
        entry = message.nested_type.add(name=f"{map_name.capitalize()}Entry")
        entry.options.map_entry = True
        _field(entry, "key", 1, _STRING)
        _field(entry, "value", 2, _MESSAGE, _TENSOR)
        _field(message, "model_spec", spec_at, _MESSAGE, _SPEC)
        _field(message, map_name, map_at, _MESSAGE, f".{_PACKAGE}.{name}.{entry.name}", _MANY)
        if name == "PredictRequest":
            _field(message, "output_filter", 3, _STRING, label=_MANY)
    pool = descriptor_pool.Default()
    pool.Add(file)
    found = [
        pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in ("PredictRequest", "PredictResponse")
    ]
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(found[0]), message_factory.GetMessageClass(found[1])
    factory: Any = message_factory.MessageFactory(pool)  # protobuf before 4.22
    return factory.GetPrototype(found[0]), factory.GetPrototype(found[1])


def _field(message: Any, name: str, number: int, kind: int, of: str = "", label: int = _ONE) -> None:
    message.field.add(name=name, number=number, type=kind, label=label, type_name=of or None)


_REQUEST, _RESPONSE = _messages()
