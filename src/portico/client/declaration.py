"""A steward or a trigger in a YAML file: read it, compare it with what is there, apply it.

The file holds the fields of the API's `Steward` or `Trigger`, and beside them `kind` and `name`. It may write durations
as "7d", "12h", "30m" or "45s", words of a choice in small letters, and an endpoint and a dataset by display name; a
templateUri may be a compiled pipeline's file beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from portico.client import provision, yaml_file
from portico.client.api import Client
from portico.errors import InvalidArgument, NotFound, PorticoError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Declaration:
    """`spec` is the body of a `kind`, Steward or Trigger; `lines` says on which line of the file each field is."""

    path: Path
    kind: str
    name: str
    spec: dict[str, Any]
    lines: dict[str, int]

    def error(self, error: PorticoError) -> PorticoError:
        """`error` with the file, and the line of the field that it is about."""
        field = error.violations[0].field if error.violations else ""
        line = self.line_of(field)
        return type(error)(f"{self.path.name}:{line}: {error.message}", field=field)

    def line_of(self, field: str) -> int:
        """The line of a field, or of the nearest one around it."""
        while field and field not in self.lines:
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return self.lines.get(field, 1)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that the file has otherwise than the server; None stands for absent."""

    field: str
    there: Any
    wanted: Any

    def __str__(self) -> str:
        if self.there is None:
            return f"+ {self.field}: {_short(self.wanted)}"
        if self.wanted is None:
            return f"- {self.field}: {_short(self.there)}"
        return f"~ {self.field}: {_short(self.there)} -> {_short(self.wanted)}"


def load(path: Path) -> Declaration:
    """
    Raises:
        InvalidArgument: naming line and field.
    """
    body, lines = yaml_file.read(path)
    if not isinstance(body, dict):
        raise InvalidArgument(
            f"{path.name}:1: the file must hold a steward: kind, name, endpoint, acceptable …"
        )
    kind = str(body.pop("kind", "Steward"))
    made = Declaration(path, kind, str(body.pop("name", "")), body, lines)
    if kind not in ("Steward", "Trigger"):
        raise made.error(InvalidArgument("kind must be Steward or Trigger.", field="kind"))
    if not _NAME.fullmatch(made.name):
        words = f"name is {made.name!r}; it must be small letters, digits and '-', beginning with a letter."
        raise made.error(InvalidArgument(words, field="name"))
    try:
        return Declaration(path, kind, made.name, _canonical(body, kind, ""), lines)
    except PorticoError as error:
        raise made.error(error) from None


def differences(client: Client, declared: Declaration) -> tuple[dict[str, Any], list[Difference] | None]:
    """The spec as the server would keep it, and how it differs from what is there; None where nothing is there.

    Raises:
        PorticoError: naming line and field.
    """
    spec = dict(declared.spec)
    try:
        if declared.kind == "Trigger":
            _complete_trigger(client, declared.path, spec)
        else:
            spec["endpoint"] = _by_name(client, "endpoints", spec.get("endpoint", ""), "endpoint")
            _name_dataset(client, spec, "data")
            if training := spec.get("training"):
                spec["training"] = _with_template(declared.path, training, "training.pipeline")
    except PorticoError as error:
        raise declared.error(error) from None
    try:
        if declared.kind == "Trigger":
            there = client.call("GET", client.trigger_name(declared.name))
        else:
            there = client.steward(declared.name)
    except NotFound:
        return spec, None
    kept = {key: value for key, value in there.items() if key not in _OUTPUT}
    return spec, list(_compared(kept, spec, ""))


def missing(client: Client, declared: Declaration) -> list[str]:
    """What `apply` would make before the steward, in words: a dataset, a model, an endpoint."""
    wanted = str(declared.spec.get("endpoint", ""))
    if "/" in wanted or not wanted or declared.kind != "Steward":
        return []
    there = provision.named(client, "endpoints", wanted)
    if there and there[0].get("deployedModels"):
        return []
    return provision.missing(client, declared.name, declared.spec)


def apply(
    client: Client, declared: Declaration, tell: provision.Tell = lambda words: None
) -> tuple[str, list[Difference]]:
    """Makes the server as the file says; returns "created", "changed" or "unchanged", and what changed.

    Where the endpoint is not there and the file says what to train on (data.source, data.target,
    training.predictionType), the dataset, the model and the endpoint are made first; `tell` hears of each.

    Raises:
        PorticoError: naming line and field.
    """
    try:
        if missing(client, declared):
            provision.provide(client, declared.name, declared.spec, tell)
    except PorticoError as error:
        raise declared.error(error) from None
    spec, found = differences(client, declared)
    try:
        if found is None:
            _create(client, declared, spec)
            return "created", []
        if not found:
            return "unchanged", []
        mask = sorted({re.split(r"[.\[]", difference.field)[0] for difference in found})
        if declared.kind == "Trigger":
            client.call("PATCH", client.trigger_name(declared.name), spec, updateMask=",".join(mask))
        else:
            client.patch_steward(declared.name, spec, ",".join(mask))
        return "changed", found
    except PorticoError as error:
        raise declared.error(error) from None


_OUTPUT = frozenset(
    {"name", "createTime", "updateTime", "etag", "state", "status", "firedCount", "lastFireTime"}
)


def _create(client: Client, declared: Declaration, spec: dict[str, Any]) -> None:
    if declared.kind == "Trigger":
        client.call("POST", f"{client.parent}/triggers", spec, triggerId=declared.name)
    else:
        client.create_steward(declared.name, spec)


def _name_dataset(client: Client, spec: dict[str, Any], field: str) -> None:
    """Writes the resource name of a dataset in `spec[field]` that is given by its display name."""
    if given := (spec.get(field) or {}).get("dataset"):
        found = _by_name(client, "datasets", given, f"{field}.dataset")
        spec[field] = {**spec[field], "dataset": found}


def _complete_trigger(client: Client, path: Path, spec: dict[str, Any]) -> None:
    """Resolves what a trigger's file says in short: names, and the pipeline's file."""
    _name_dataset(client, spec, "datasetVersion")
    source = (spec.get("alert") or {}).get("source")
    if source and "/" not in source:
        spec["alert"] = {"source": client.steward_name(source)}
    spec |= _with_template(path, spec, "pipeline")


def _with_template(path: Path, body: dict[str, Any], field: str) -> dict[str, Any]:
    """`body` with what its `pipeline` names as a file beside the declaration; `field` is that pipeline's."""
    pipeline = dict(body.get("pipeline") or {})
    uri = pipeline.get("templateUri", "")
    if not uri or "://" in uri:
        return body
    del pipeline["templateUri"]
    compiled = _compiled(path.parent / uri, f"{field}.templateUri")
    return {**body, "pipeline": {**pipeline, "pipelineSpec": compiled}}


def _compiled(file: Path, field: str) -> Any:
    try:
        spec, *more = yaml.load_all(file.read_text(), yaml.CSafeLoader)
        return {**spec, **more[0]} if more else spec  # what kfp says for Kubernetes is a document of its own
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise InvalidArgument(f"{file} can't be read: {error}.", field=field) from None


def _compared(there: Any, wanted: Any, field: str) -> Iterator[Difference]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys((*there, *wanted)):
            yield from _compared(there.get(key), wanted.get(key), f"{field}.{key}" if field else key)
    elif there != wanted:
        yield Difference(field, there, wanted)


def _by_name(client: Client, collection: str, given: str, field: str) -> str:
    """The resource name of an endpoint or a dataset that is given by it or by its display name."""
    if "/" in given or not given:
        return given
    names = [one["name"] for one in provision.named(client, collection, given)]
    if len(names) != 1:
        words = "there is none" if not names else f"there are {len(names)}; give the resource name"
        raise InvalidArgument(f"{field} is {given!r}: of that display name {words}.", field=field)
    return str(names[0])


# --- the file's own spelling ---


def _canonical(value: Any, message: str, field: str) -> Any:
    """`value` as the API's JSON of `message`, by the types in our own discovery document."""
    if not isinstance(value, dict):
        raise InvalidArgument(f"{field} must hold fields, not {_short(value)}.", field=field)
    properties = _schemas()[message]["properties"]
    made = {}
    for key, cell in value.items():
        name = f"{field}.{key}" if field else str(key)
        if key not in properties or properties[key].get("readOnly"):
            known = [k for k, of in properties.items() if not of.get("readOnly")]
            raise InvalidArgument(f"There is no field {name}; there are {', '.join(known)}.", field=name)
        if cell is not None:
            made[key] = _cell(cell, properties[key], name)
    return made


def _cell(cell: Any, kind: Mapping[str, Any], field: str) -> Any:
    if "$ref" in kind:
        return _canonical(cell, kind["$ref"], field)
    if kind["type"] == "object":
        if not isinstance(cell, dict):
            raise InvalidArgument(f"{field} must hold names and values.", field=field)
        return {str(key): value for key, value in cell.items()}
    if kind["type"] == "array":
        if not isinstance(cell, list):
            raise InvalidArgument(f"{field} must be a list.", field=field)
        return [_cell(one, kind["items"], f"{field}[{position}]") for position, one in enumerate(cell)]
    if kind.get("enum") and isinstance(cell, str):
        return cell.upper().replace("-", "_").replace(" ", "_")
    if kind.get("format") == "google-duration":
        found = _DURATION.fullmatch(str(cell))
        if found is None:
            raise InvalidArgument(
                f"{field} is {cell!r}; write a duration as 45s, 30m, 12h or 7d.", field=field
            )
        seconds = f"{float(found[1]) * _SECONDS[found[2]]:.6f}".rstrip("0").rstrip(".")
        return f"{seconds}s"
    if kind.get("format") == "int64" and isinstance(cell, int):
        return str(cell)
    return cell


def _schemas() -> dict[str, Any]:
    from portico.doors.contract.documents import document_path

    found: dict[str, Any] = orjson.loads(document_path("portico", "v1").read_bytes())["schemas"]
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 100 else text[:97] + "…"
