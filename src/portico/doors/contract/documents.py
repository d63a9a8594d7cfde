"""Google's discovery documents as the table that routes and checks every request.

The documents come with the package google-api-python-client. They are megabytes of prose, so the first start
compiles them into a compact cache; a schema is decoded when a request first needs it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import orjson

from portico.services.standard.apis import Api, declared, documented
from portico.services.standard.fields import FieldTypes

_FORMAT = 6  # of the cache; raise it when the compiled form changes

Schema = dict[str, Any]


class Parameter(msgspec.Struct, frozen=True, array_like=True):
    name: str
    type: str
    format: str
    repeated: bool
    enum: tuple[str, ...]
    required: bool


class Method(msgspec.Struct, frozen=True, array_like=True):
    """One method of one API version. `id` lacks the API's name: "projects.locations.models.get"."""

    api: str
    version: str
    id: str
    http: str
    path: str
    """The document's template, from the server's root: "v1/{+name}"."""
    flat_path: str
    parameters: tuple[Parameter, ...]
    path_pattern: str
    request: str
    response: str
    uploads: tuple[tuple[str, str], ...] = ()
    """Where its media goes, beside `path`: flat path and pattern."""

    @property
    def key(self) -> tuple[str, str]:
        return self.api, self.id


class _Compiled(msgspec.Struct):
    methods: list[Method]
    schemas: dict[str, bytes]
    prefixes: list[tuple[str, str]]
    """What an API's paths begin with, and the API; the longest first."""
    batches: dict[str, str]
    """The path of a batch, and what the paths of the requests in it begin with."""


@dataclass(frozen=True, slots=True)
class Match:
    method: Method
    path_params: dict[str, str]


class Contract:
    """Routes and schemas of every served API."""

    def __init__(self, compiled: _Compiled) -> None:
        self.methods = compiled.methods
        self.batches = compiled.batches
        self._prefixes = compiled.prefixes
        self._schemas = compiled.schemas
        self._decoded: dict[str, Schema] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}

    @classmethod
    def load(cls, cache: Path) -> Contract:
        """The contract, from `cache` (a folder) when it was compiled there before."""
        own = [repr((a.name, a.versions, a.root, a.written, a.lacking)).encode() for a in documented()]
        own += [a.document.read_bytes() for a in documented() if a.document]
        digest = hashlib.sha256(b"".join(own)).hexdigest()[:12]
        stamp = f"{_FORMAT}-{importlib.metadata.version('google-api-python-client')}-{digest}"
        file = cache / f"contract-{stamp}.bin"
        try:
            return cls(msgspec.msgpack.decode(file.read_bytes(), type=_Compiled))
        except (OSError, msgspec.DecodeError):
            pass
        compiled = compile_documents()
        cache.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.msgpack.encode(compiled))
        temporary.replace(file)
        return cls(compiled)

    def schema(self, api: str, version: str, name: str) -> Schema:
        """The JSON schema `name`, without its prose."""
        key = f"{api}.{version}.{name}"
        found = self._decoded.get(key)
        if found is None:
            found = self._decoded[key] = msgspec.msgpack.decode(self._schemas[key])
        return found

    def fields(self, api: str, version: str, name: str) -> FieldTypes:
        """The field names and types of the message `name`."""
        return FieldTypes(_Schemas(self, api, version), name)

    def match(self, http: str, raw_path: str) -> Match | None:
        """The method that answers `http` on `raw_path` (still percent-encoded), or None."""
        node = self._trie
        segments = raw_path.strip("/").split("/")
        found = _descend(node, segments, 0, http)
        if found is None:
            return None
        method, text = found
        pattern = self._patterns.get(text)
        if pattern is None:
            pattern = self._patterns[text] = re.compile(text)
        matched = pattern.fullmatch(raw_path.strip("/"))
        if matched is None:
            return None
        return Match(method, {_unmangle(k): unquote(v) for k, v in matched.groupdict().items()})

    def method(self, api: str, version: str, method_id: str) -> Method:
        """The method of that id.

        Raises:
            KeyError: the document has none.
        """
        return self._by_id[api, version, method_id]

    def has(self, api: str, version: str, method_id: str) -> bool:
        return (api, version, method_id) in self._by_id

    @cached_property
    def _by_id(self) -> dict[tuple[str, str, str], Method]:
        return {(m.api, m.version, m.id): m for m in self.methods}

    def owner(self, raw_path: str) -> Api:
        """The API whose path it is or would be: one that no other claims is Vertex AI's, which owns the root."""
        path = raw_path.lstrip("/")
        name = next((name for prefix, name in self._prefixes if path.startswith(prefix)), "aiplatform")
        return declared()[name]

    @cached_property
    def first_segments(self) -> frozenset[str]:
        """The first segments of all paths."""
        heads = {m.flat_path.partition("/")[0] for m in self.methods}
        heads |= {flat.partition("/")[0] for m in self.methods for flat, _ in m.uploads}
        return frozenset(heads | {path.partition("/")[0] for path in self.batches})

    @cached_property
    def _trie(self) -> _Node:
        root = _Node()
        for method in self.methods:
            for flat, pattern in ((method.flat_path, method.path_pattern), *method.uploads):
                node = root
                *head, last = flat.split("/")
                for segment in head:
                    node = node.child(segment)
                name, _, verb = _split_verb(last)
                node.child(name).methods[f"{method.http} {verb}"] = method, pattern
                node.child(name).open |= pattern.endswith(".*)")
        return root


class _Schemas(Mapping[str, Schema]):
    """The schemas of one API version, decoded as they are looked up."""

    def __init__(self, contract: Contract, api: str, version: str) -> None:
        self._contract = contract
        self._prefix = f"{api}.{version}."

    def __getitem__(self, name: str) -> Schema:
        api, version, _ = self._prefix.split(".")
        return self._contract.schema(api, version, name)

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("schemas are looked up, not listed")

    def __len__(self) -> int:
        raise NotImplementedError("schemas are looked up, not listed")


class _Node:
    __slots__ = ("literals", "methods", "open", "wildcard")

    def __init__(self) -> None:
        self.open = False  # what comes behind it belongs to the name that ends here
        self.literals: dict[str, _Node] = {}
        self.wildcard: _Node | None = None
        self.methods: dict[str, tuple[Method, str]] = {}

    def child(self, segment: str) -> _Node:
        if segment.startswith("{"):
            if self.wildcard is None:
                self.wildcard = _Node()
            return self.wildcard
        return self.literals.setdefault(segment, _Node())

    def children(self, segment: str) -> list[_Node]:
        """Where `segment` of a request may lead, the literal name before the wildcard."""
        candidates = (self.literals.get(segment), self.wildcard if segment else None)
        return [child for child in candidates if child is not None]


def _descend(node: _Node, segments: list[str], index: int, http: str) -> tuple[Method, str] | None:
    """The method, and the pattern of its path."""
    segment = segments[index]
    if index < len(segments) - 1:
        for child in node.children(segment):
            found = _descend(child, segments, index + 1, http)
            if found is not None:
                return found
        ends = (child.methods.get(f"{http} ") for child in node.children(segment) if child.open)
        return next(filter(None, ends), None)
    # "models/1:predict" is a verb on model 1 where such a verb exists, else a resource whose id has a colon.
    name, _, verb = _split_verb(segment)
    for candidate, rest in ((name, verb), (segment, "")):
        for child in node.children(candidate):
            found = child.methods.get(f"{http} {rest}")
            if found is not None:
                return found
    return None


def _split_verb(segment: str) -> tuple[str, str, str]:
    name, colon, verb = segment.rpartition(":")
    return (name, colon, verb) if colon and verb.isalpha() else (segment, "", "")


def _unmangle(group: str) -> str:
    return group.replace("__", ".")


# --- compiling -------------------------------------------------------------------------------------------


def document_path(api: str, version: str) -> Path:
    """Where an API's discovery document lies: Google's in their package, which is not imported, ours here."""
    own = declared()[api].document
    if own is not None:
        return own
    package = importlib.util.find_spec("googleapiclient")
    assert package is not None and package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0]) / "discovery_cache" / "documents"
    return folder / f"{api}.{version}.json"


def compile_documents() -> _Compiled:
    made = _Compiled([], {}, [], {})
    enums = _EnumNumbers()
    for api in documented():
        for version in api.versions:
            document = orjson.loads(document_path(api.name, version).read_bytes())
            made.methods.extend(_methods(api, version, document, document))
            made.methods.extend(
                _method(api, version, document, _lacking(api, version, id)) for id in api.lacking
            )
            for field in api.written:
                message, _, name = field.partition(".")
                del document["schemas"][api.message_name(version, message)]["properties"][name]["readOnly"]
            for name, schema in document["schemas"].items():
                made.schemas[f"{api.name}.{version}.{name}"] = msgspec.msgpack.encode(_compact(schema, enums))
            place = api.root + document["servicePath"]
            batch = document.get("batchPath")
            if place:  # Vertex AI's is all that is no other's
                batch = api.root + document["batchPath"] if document.get("batchPath") else f"{place}batch"
                made.batches[batch] = place
                beside = ("",) if api.root else ("", "upload/", "resumable/upload/", "download/")
                made.prefixes += [(batch, api.name), *((before + place, api.name) for before in beside)]
    made.prefixes.sort(key=lambda pair: -len(pair[0]))
    return made


def _methods(api: Api, version: str, document: Schema, node: Schema) -> list[Method]:
    found = [_method(api, version, document, m) for m in node.get("methods", {}).values()]
    for child in node.get("resources", {}).values():
        found.extend(_methods(api, version, document, child))
    return found


def _method(api: Api, version: str, document: Schema, node: Schema) -> Method:
    prefix = api.root + document["servicePath"]
    parameters = [
        Parameter(
            name=name,
            type=p.get("type", "string"),
            format=p.get("format", ""),
            repeated=bool(p.get("repeated")),
            enum=tuple(p.get("enum", ())),
            required=bool(p.get("required")),
        )
        for name, p in node.get("parameters", {}).items()
    ]
    own, flat = node["path"], node.get("flatPath", node["path"])
    path = prefix + own
    protocols = node.get("mediaUpload", {}).get("protocols", {}).values()
    uploads = dict.fromkeys(api.root + protocol["path"].strip("/") for protocol in protocols)
    return Method(
        api=api.name,
        version=version,
        id=node["id"].removeprefix(api.name + "."),
        http=node["httpMethod"],
        path=path,
        flat_path=prefix + flat,
        parameters=tuple(parameters),
        path_pattern=_path_pattern(path, node.get("parameters", {})),
        request=node.get("request", {}).get("$ref", ""),
        response=node.get("response", {}).get("$ref", ""),
        uploads=tuple((u.replace(own, flat), _path_pattern(u, node.get("parameters", {}))) for u in uploads),
    )


def _lacking(api: Api, version: str, id: str) -> Schema:
    """A method that documents lack, as one would have it."""
    told = api.lacking[id]
    named = dict(re.findall(r"\{\+(\w+)=([^}]+)\}", told.path))
    path = re.sub(r"=[^}]+\}", "}", told.path)
    flat = re.sub(r"\{\+\w+=([^}]+)\}", lambda found: found[1].replace("*", "{id}"), told.path)
    return {
        "id": f"{api.name}.{id}",
        "httpMethod": "POST",
        "path": f"{version}/{path}",
        "flatPath": f"{version}/{flat}",
        "parameters": {
            name: {"type": "string", "required": True, "pattern": f"^{form.replace('*', '[^/]+')}$"}
            for name, form in named.items()
        },
        "request": {"$ref": api.message_name(version, told.request)},
        "response": {"$ref": api.message_name(version, told.response)},
    }


def _path_pattern(path: str, parameters: dict[str, Schema]) -> str:
    pieces = re.split(r"\{(\+?)([^}]+)\}", path)
    pattern = re.escape(pieces[0])
    for plus, name, literal in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        declared = parameters.get(name, {}).get("pattern", "^.+$") if plus else "^[^/]+$"
        pattern += f"(?P<{name.replace('.', '__')}>{declared[1:-1]})" + re.escape(literal)
    return pattern


class _EnumNumbers:
    """Numbers of enum values, which the documents lack: from the generated table `enums.json`."""

    def __init__(self) -> None:
        self._table: dict[str, list[int]] = orjson.loads((Path(__file__).parent / "enums.json").read_bytes())

    def of(self, names: list[str]) -> list[int]:
        return self._table.get(enum_key(names), list(range(len(names))))


def enum_key(names: list[str]) -> str:
    """What identifies an enum in the generated table: a digest of its names in the document's order."""
    return hashlib.sha256("|".join(names).encode()).hexdigest()[:12]


def _compact(schema: Schema, enums: _EnumNumbers) -> Schema:
    """A schema with what checking needs: type, format, $ref, enum (name -> number), readOnly, items, …"""
    kept: Schema = {k: schema[k] for k in ("type", "format", "$ref", "readOnly") if k in schema}
    if "enum" in schema:
        kept["enum"] = dict(zip(schema["enum"], enums.of(schema["enum"]), strict=True))
    if "properties" in schema:
        kept["properties"] = {name: _compact(p, enums) for name, p in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            kept[key] = _compact(schema[key], enums)
    return kept
