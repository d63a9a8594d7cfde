"""Protocol Buffers as what services read and answer: camelCase names, names of enums, times as texts, and bytes as they
are, which JSON would write as base64."""

from __future__ import annotations

import base64
import functools
import importlib
import sys
import types
from collections.abc import Mapping
from typing import Any

_TEXTS = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})
_MASK = "google.protobuf.FieldMask"
# Modules with messages that are named in full.
_MODULES = {
    "google.protobuf.Empty": "google.protobuf.empty_pb2",
    "google.iam.v1.Policy": "google.iam.v1.policy_pb2",
}
_DESCRIPTION = "google.protobuf.DescriptorProto"  # stays in bytes: who needs it makes messages of it


@functools.cache
def messages(client: str) -> types.ModuleType:
    """The messages of one of Google's clients ("google.cloud.bigquery_storage_v1"), without the client, whose own
    imports take a hundred megabytes."""
    if client not in sys.modules:
        parent, _, name = client.rpartition(".")
        package = types.ModuleType(client)
        package.__path__ = [f"{folder}/{name}" for folder in importlib.import_module(parent).__path__]
        sys.modules[client] = package
    return importlib.import_module(f"{client}.types")


def message_class(client: str, name: str) -> Any:
    if "." in name:
        module = importlib.import_module(_MODULES.get(name, "google.iam.v1.iam_policy_pb2"))
        return getattr(module, name.rpartition(".")[2])
    return getattr(messages(client), name).pb()


def plain(message: Any) -> dict[str, Any]:
    """What a message says; what it leaves out is left out."""
    return {field.json_name: _value(field, value) for field, value in message.ListFields()}


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {key: _one(inner, each) for key, each in value.items()}
    return [_one(field, each) for each in value] if field.is_repeated else _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    if field.message_type is None:
        return value
    name = field.message_type.full_name
    if name in _TEXTS:
        return value.ToJsonString()
    if name == _MASK:
        return ",".join(value.paths)
    if name == _DESCRIPTION:
        return value.SerializeToString()
    return value.value if _is_wrapper(name) else plain(value)


def _is_wrapper(name: str) -> bool:
    return name.startswith("google.protobuf.") and name.endswith("Value")


def fill(message: Any, values: Mapping[str, Any]) -> Any:
    """`message`, saying what `values` do."""
    fields = _by_name(message.DESCRIPTOR)
    for key, value in values.items():
        field = fields[key]
        if value is None:
            continue
        if field.is_repeated and isinstance(value, Mapping):
            getattr(message, field.name).update(value)
        elif field.is_repeated:
            into = getattr(message, field.name)
            for each in value:
                if field.message_type is None:
                    into.append(_scalar(field, each))
                elif field.message_type.full_name == "google.protobuf.Any":
                    into.add().Pack(_packed(each))
                else:
                    fill(into.add(), each)
        elif field.message_type is None:
            setattr(message, field.name, _scalar(field, value))
        elif field.message_type.full_name in _TEXTS:
            getattr(message, field.name).FromJsonString(value)
        elif _is_wrapper(field.message_type.full_name):
            getattr(message, field.name).value = value
        else:
            inner = getattr(message, field.name)
            inner.SetInParent()
            fill(inner, value)
    return message


@functools.cache
def _by_name(descriptor: Any) -> dict[str, Any]:
    return {field.json_name: field for field in descriptor.fields}


def _scalar(field: Any, value: Any) -> Any:
    """An enum's value by its name, bytes that JSON has as base64, and what it says of anything else."""
    if not isinstance(value, str):
        return value
    if field.enum_type is not None:
        return field.enum_type.values_by_name[value].number
    return base64.b64decode(value) if field.type == field.TYPE_BYTES else value


def texts(value: Any) -> Any:
    """The same with bytes as JSON has them."""
    if isinstance(value, dict):
        return {key: texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [texts(inner) for inner in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _packed(values: Mapping[str, Any]) -> Any:
    """The message whose `@type` is said."""
    from google.protobuf import descriptor_pool, message_factory

    name = values["@type"].rpartition("/")[2]
    made = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))()
    return fill(made, {key: value for key, value in values.items() if key != "@type"})
