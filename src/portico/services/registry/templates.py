"""Pipeline templates: compiled pipelines in repositories of Artifact Registry, and where else a run takes one from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Rooms
from portico.store import resources, templates
from portico.store.gcs import parse_uri
from portico.store.objects import buckets
from portico.store.objects import generations as objects
from portico.store.objects.files import path_of

MOST_BYTES: Final = 16 << 20
DIGEST: Final = "sha256:"
PLATFORMS: Final = "platforms"
TAGS: Final = "artifactregistry:repositories.packages.tags"
VERSIONS: Final = "artifactregistry:repositories.packages.versions"
_IN_REGISTRY = re.compile(
    r"https?://(?:(?P<host>[\w-]+)-kfp\.pkg\.dev|[^/]+/apis/artifactregistry/kfp/(?P<location>[\w-]+))"
    r"/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<package>[^/]+)/(?P<version>[^/]+)"
)
_checks: list[Callable[[Mapping[str, Any]], Any]] = []
_publishers: list[Callable[[Path, str, str], bytes | None]] = []


def check_by(check: Callable[[Mapping[str, Any]], Any]) -> None:
    """Has `check` look at each compiled pipeline before it is kept: who runs them says what they are."""
    _checks.append(check)


def published_by(publisher: Callable[[Path, str, str], bytes | None]) -> None:
    """Has `publisher(home, package, version)` asked for templates that are in nobody's repository here: Google's own.
    It gives the compiled pipeline, or None where that is not one of its packages."""
    _publishers.append(publisher)


def published(home: Path, package: str, version: str) -> bytes | None:
    """The template that Google has published in `package`; None where that is none of Google's. May take as long as an
    environment takes to be made.

    Raises:
        NotFound: the package has no such version. FailedPrecondition: it can't be compiled here.
    """
    found = (publisher(home, package, version) for publisher in _publishers)
    return next((content for content in found if content is not None), None)


def parse(content: bytes) -> dict[str, Any]:
    """The PipelineSpec in a file that kfp compiled, YAML or JSON; what a second document says for another platform is
    its "platforms". What they say is not looked at: see `check`.

    Raises:
        InvalidArgument: it holds none.
    """
    found, *more = _documents(content) or [None]
    if not isinstance(found, dict):
        raise InvalidArgument("The file holds no compiled pipeline: compile it with kfp.compiler.Compiler().")
    if isinstance(
        inner := found.get("pipelineSpec"), dict
    ):  # a PipelineJob, as earlier versions of kfp wrote them
        found = inner
    if more:
        if len(more) > 1 or not isinstance(more[0], dict) or set(more[0]) != {PLATFORMS}:
            raise InvalidArgument(
                "A second document of a compiled pipeline holds its platforms, and nothing else."
            )
        found = {**found, **more[0]}
    return found


def check(spec: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument, Unimplemented: it can't be run; names the field.
    """
    for one in _checks:
        one(spec)


def _documents(content: bytes) -> list[Any]:
    import yaml

    if len(content) > MOST_BYTES:
        raise InvalidArgument(f"The file is larger than {MOST_BYTES:,} bytes.", http_status=413)
    try:
        text = content.decode()
        if "*" in text and any(
            isinstance(one, yaml.AliasEvent) for one in yaml.parse(text, yaml.CSafeLoader)
        ):
            # Ten lines of aliases of aliases can mean a billion values.
            raise InvalidArgument(
                "The file has YAML aliases (*name), which kfp writes none of: write them out."
            )
        return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one is not None]
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"The file is no YAML or JSON: {' '.join(str(error).split())[:300]}.") from None


def version_of(connection: Connection, package: str, reference: str) -> str:
    """The name of the version that a digest or a tag of `package` means.

    Raises:
        NotFound: there is none.
    """
    if reference.startswith(DIGEST):
        name = f"{package}/versions/{reference}"
        found = resources.get(connection, name)
        if found is not None and found.kind == VERSIONS:
            return name
        raise NotFound(f"The version {name!r} does not exist.")
    tag = resources.get(connection, f"{package}/tags/{reference}")
    if tag is None or tag.kind != TAGS:
        raise NotFound(
            f"The tag {package}/tags/{reference} does not exist: upload a template with it, or create it."
        )
    return str(tag.body["version"])


def fetch(rooms: Rooms, connection: Connection, uri: str) -> tuple[dict[str, Any], str]:
    """The compiled pipeline at `uri`, and which version of a registry's that is ("sha256:…"; "" of what is none's).

    `uri`: `https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/TAG`, the same as this server writes it, or
    `gs://BUCKET/OBJECT`.

    Raises:
        InvalidArgument: it is another address, or holds no pipeline. NotFound: there is nothing.
    """
    if uri.startswith("gs://"):
        bucket, name = parse_uri(uri)
        buckets.get(connection, bucket)
        row = objects.get(connection, bucket, name)
        if row.size > MOST_BYTES:
            raise InvalidArgument(f"{uri} is larger than {MOST_BYTES:,} bytes.", field="templateUri")
        objects.require_open(row)
        return parse(path_of(rooms.home, row.file).read_bytes()), ""
    if (place := _place(uri)) and (content := published(rooms.home, *place)) is not None:
        return parse(content), ""
    version = _of_registry(connection, uri)
    if version is None:
        raise InvalidArgument(
            f"templateUri is {uri!r}; it must be https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/TAG, or "
            "gs://BUCKET/OBJECT.",
            field="templateUri",
        )
    return parse(templates.read(connection, version)), version.rpartition("/")[2]


def known_version(connection: Connection, uri: str) -> str:
    """Which version `uri` means, as `fetch` says it; "" where this server's registry has none there."""
    with contextlib.suppress(NotFound):
        return (_of_registry(connection, uri) or "").rpartition("/")[2]
    return ""


def _of_registry(connection: Connection, uri: str) -> str | None:
    """The name of the version at `uri`; None where that is no registry's address."""
    place = _place(uri)
    return version_of(connection, *place) if place else None


def _place(uri: str) -> tuple[str, str] | None:
    """The package at `uri`, and which of its versions; None where that is no registry's address."""
    found = _IN_REGISTRY.fullmatch(uri)
    if found is None:
        return None
    place = f"projects/{found['project']}/locations/{found['host'] or found['location']}"
    package = f"{place}/repositories/{found['repository']}/packages/{found['package']}"
    return package, found["version"]
