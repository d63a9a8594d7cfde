"""Writes `mlflow.json`, MLflow's wire as a discovery document, from the messages of an installed MLflow:

    python src/portico/services/mlflow/make_document.py src/portico/services/mlflow/mlflow.json

in an environment that has `mlflow-skinny`; Portico itself imports none of it. What its messages lack stands in
`_BESIDE`. All paths are below a project's location, as everything here is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ABOVE = "projects/{project}/locations/{location}/"
# id -> its path. The first two are answered in plain text.
_BESIDE = {
    "server.health": "health",
    "server.version": "version",
    "server.getServerInfo": "api/3.0/mlflow/server-info",
}
# Which JSON kinds a field's descriptor means (google.protobuf.descriptor.FieldDescriptor.CPPTYPE_*).
_KINDS: dict[int, dict[str, str]] = {
    1: {"type": "integer", "format": "int32"},
    2: {"type": "integer", "format": "int64"},
    3: {"type": "integer", "format": "uint32"},
    4: {"type": "integer", "format": "uint64"},
    5: {"type": "number", "format": "double"},
    6: {"type": "number", "format": "float"},
    7: {"type": "boolean"},
    9: {"type": "string"},
}


def document() -> dict[str, Any]:
    import mlflow
    from mlflow.protos import mlflow_artifacts_pb2, model_registry_pb2, service_pb2

    methods: dict[str, dict[str, Any]] = {}
    schemas: dict[str, dict[str, Any]] = {}
    for name, path in _BESIDE.items():
        _add(methods, name, "GET", path, {}, "")
    for file in (service_pb2, model_registry_pb2, mlflow_artifacts_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for rpc in service.methods:
                for http, path, major in _endpoints(rpc):
                    _method(methods, schemas, rpc, http, f"api/{major}.0/{path}")
    return {
        "name": "mlflow", "version": "v2", "title": f"MLflow {mlflow.__version__}", "servicePath": "",
        "schemas": dict(sorted(schemas.items())), "resources": _nested(methods),
    }  # fmt: skip


def _endpoints(rpc: Any) -> Iterator[tuple[str, str, int]]:
    from mlflow.protos import databricks_pb2

    for one in rpc.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
        path = re.sub(r"<path:(\w+)>", r"{\1}", one.path.lstrip("/"))
        yield one.method, path, one.since.major


def _method(methods: dict[str, Any], schemas: dict[str, Any], rpc: Any, http: str, path: str) -> None:
    """`GET` has all that is asked in its query, other methods in a body."""
    collection = next(part for part in path.split("/")[2:] if part != "mlflow")
    name = f"{collection}.{rpc.name[0].lower()}{rpc.name[1:]}"
    parameters = {}
    if http == "GET":
        parameters = {f.name: _parameter(f) for f in rpc.input_type.fields if f.message_type is None}
    request = "" if http in ("GET", "PUT") else _schema(schemas, rpc.input_type)
    _add(methods, name, http, path, parameters, request)


def _add(
    methods: dict[str, Any], name: str, http: str, path: str, parameters: dict[str, Any], request: str
) -> None:
    path = _ABOVE + path
    for found in re.findall(r"\{([^}]+)\}", path):
        parameters[found] = {"type": "string", "location": "path", "required": True}
    made = {"id": f"mlflow.{name}", "httpMethod": http, "path": path, "parameters": parameters}
    if request:
        made["request"] = {"$ref": request}
    key = name if name not in methods else f"{name}.{http}"  # the same by two methods of HTTP
    methods[key] = made


def _schema(schemas: dict[str, Any], message: Any) -> str:
    """The name of a message's schema, made with all that it needs."""
    name = message.full_name.removeprefix("mlflow.").replace(".", "")
    if name not in schemas:
        schemas[name] = {}
        schemas[name] |= {
            "type": "object",
            "properties": {f.name: _field(schemas, f) for f in message.fields},
        }
    return str(name)


def _field(schemas: dict[str, Any], field: Any) -> dict[str, Any]:
    of = field.message_type
    if of is not None and of.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _field(schemas, of.fields_by_name["value"])}
    if of is not None and of.full_name.startswith("google.protobuf."):
        kind: dict[str, Any] = {"type": "any"}
    elif of is not None:
        kind = {"$ref": _schema(schemas, of)}
    else:
        kind = _kind(field)
    return {"type": "array", "items": kind} if field.is_repeated else kind


def _kind(field: Any) -> dict[str, Any]:
    if field.enum_type is None:
        return dict(_KINDS[field.cpp_type])
    names = [value.name for value in field.enum_type.values]
    if field.enum_type.values[0].number == 1:  # numbers are places in the list
        names.insert(0, f"{field.enum_type.name.upper()}_UNSPECIFIED")
    return {"type": "string", "enum": names}


def _parameter(field: Any) -> dict[str, Any]:
    return {**_kind(field), "location": "query", **({"repeated": True} if field.is_repeated else {})}


def _nested(methods: dict[str, Any]) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    for name, method in sorted(methods.items()):
        collection, _, verb = name.partition(".")
        resources.setdefault(collection, {"methods": {}})["methods"][verb] = method
    return resources


def _lines(made: dict[str, Any]) -> str:
    """JSON with a line a method and a line a schema."""
    resources = ",\n".join(
        f' {json.dumps(name)}: {{"methods": {{\n'
        + ",\n".join(f"  {json.dumps(verb)}: {json.dumps(of)}" for verb, of in one["methods"].items())
        + "}}"
        for name, one in made["resources"].items()
    )
    schemas = ",\n".join(f" {json.dumps(name)}: {json.dumps(of)}" for name, of in made["schemas"].items())
    head = {key: value for key, value in made.items() if key not in ("resources", "schemas")}
    return f'{json.dumps(head)[:-1]},\n"resources": {{\n{resources}}},\n"schemas": {{\n{schemas}}}}}\n'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(_lines(document()))
