"""What is particular to one of Google's APIs. A folder of `services` declares its API in its `api.py`, as `API`; the
doors, the pages and the wiring read nothing else."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import portico.services
from portico.errors import InvalidArgument, Violation


@dataclass(frozen=True)
class Rpc:
    """A method of a gRPC service: its messages' names, and which of them come as streams.

    method: the id of the same method in the API's document, if it has one; "{collection}" in it is that of the
        resource which the request names.
    """

    request: str
    response: str
    streams: Literal["", "answers", "both"] = ""
    method: str = ""


@dataclass(frozen=True)
class Lacking:
    """A method by POST, in all versions: its path behind the version, with what each name in it is
    ("{+parent=projects/*/locations/*}/models:upload"), and its messages' names."""

    path: str
    request: str
    response: str


@dataclass(frozen=True)
class Grpc:
    """How an API is spoken by gRPC.

    package: of its proto files ("google.cloud.bigquery.storage.v1").
    client: the package of Google's client whose `types` are its messages; those of others are named in full.
    rpcs: by service and method ("BigQueryRead.ReadRows"), a service of another package in full.
    """

    package: str
    client: str
    rpcs: Mapping[str, Rpc]


@dataclass(frozen=True)
class Api:
    """One API, in all its versions. Beyond name, versions and title everything has a default that answers 501.

    name: as in its discovery documents ("aiplatform").
    collections: modules of its folder that register methods and job kinds, in this order.
    handlers: modules that only the processes which run jobs import.
    document: where a document lies that does not come with Google's package.
    mount: what its paths begin with here. Vertex AI owns the root; what would collide with it lives below apis/NAME/.
    errors: "rpc" (google.rpc.Status), "legacy" (`errors: [{domain, reason}]`), that with a `status` beside ("both"), or
        "flat" (`error_code` and `message`).
    error_codes: for "flat", how it calls Google's codes; each as code and HTTP status.
    lenient: it passes over fields and parameters that its documents lack.
    place: where a request is meant whose path begins right behind `root` with a segment of `placeless`: those of its
        documents are below a project's location.
    numbers_as_texts: how the paths of texts end that clients send as numbers too.
    keep_nulls: in its patches a null removes what it names (RFC 7396).
    package: what the `@type`s of its long-running operations begin with; "" where it has none.
    metadata: the one message that all its operations have as metadata; "" where each method has one of its own.
    message: how its documents call a message: "{message}", with "{Version}" for V1.
    operations: a pattern of unlisted paths at which its clients poll operations (see `doors.supplement`).
    required: which fields a method's body must have: the documents say it only in prose. A dotted path reads into
        messages; an empty string, list or message counts as absent, as in proto3.
    written: fields that its documents call output only, and clients write ("TensorboardBlob.id").
    spoken: query parameters that its clients send, its documents lack and nothing depends on.
    lacking: methods that its clients call and its documents lack, by id.
    grpc: for an API that its clients speak by gRPC; one without `method`s has no document.
    """

    name: str
    versions: tuple[str, ...]
    title: str
    note: str = ""
    collections: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    document: Path | None = None
    mount: str | None = None
    errors: Literal["rpc", "legacy", "both", "flat"] = "rpc"
    error_codes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    lenient: bool = False
    place: str = ""
    placeless: tuple[str, ...] = ()
    keep_nulls: bool = False
    numbers_as_texts: tuple[str, ...] = ()
    package: str = ""
    metadata: str = ""
    message: str = "{message}"
    operations: str = ""
    required: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    spoken: tuple[str, ...] = ()
    lacking: Mapping[str, Lacking] = field(default_factory=dict)
    grpc: Grpc | None = None

    @property
    def root(self) -> str:
        """What its paths begin with: "" or "apis/NAME/"."""
        return f"apis/{self.name}/" if self.mount is None else self.mount

    @property
    def by_grpc_alone(self) -> bool:
        return self.grpc is not None and not any(rpc.method for rpc in self.grpc.rpcs.values())

    def message_name(self, version: str, message: str) -> str:
        """`Model` as the discovery document of `version` calls it."""
        return self.message.format(message=message, Version=version.capitalize())

    def modules(self, *, handlers: bool = False) -> list[str]:
        """The names of the modules to import, with those that run jobs where `handlers` is set."""
        folder = f"portico.services.{self.name}"
        return [f"{folder}.{name}" for name in (*self.collections, *(self.handlers if handlers else ()))]

    def check_required(self, method: str, body: Mapping[str, Any]) -> None:
        """
        Raises:
            InvalidArgument: naming every required field that is missing.
        """
        missing = [path for path in self.required.get(method, ()) if not _given(body, path)]
        if missing:
            raise InvalidArgument(
                "Required fields are missing: " + ", ".join(missing) + ".",
                violations=[Violation(path, "This field is required.") for path in missing],
            )


def _given(body: Mapping[str, Any], path: str) -> bool:
    """A message that is there counts also where it is empty: Google's keep which were given. What is missing in it is
    for the method to say. An empty text or list is none."""
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value not in (None, "", [])


@functools.cache
def declared() -> dict[str, Api]:
    """Every API that a folder of `services` declares, by name."""
    folder = Path(portico.services.__path__[0])
    names = sorted(path.parent.name for path in folder.glob("*/api.py"))
    found: list[Api] = [importlib.import_module(f"portico.services.{name}.api").API for name in names]
    return {api.name: api for api in found}


def documented() -> list[Api]:
    """Those that documents describe, which HTTP serves."""
    return [api for api in declared().values() if not api.by_grpc_alone]
