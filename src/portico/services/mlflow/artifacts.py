"""Artifacts: objects of Cloud Storage, in a bucket that each location has for them, reached through MLflow's proxy.

The bytes of uploads and downloads the door streams (`doors/mlflow`); here stands where they lie.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, Rooms, implements
from portico.services.mlflow import experiments, run_rows
from portico.services.mlflow.experiments import place_of
from portico.services.mlflow.run_rows import asked_id
from portico.store.gcs import parse_uri
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects.listing import Position, Query, list_page
from portico.store.objects.names import is_bucket_name

_AT_ONCE = 1000
_OURS = re.compile(r"mlflow-artifacts:(?://[^/]*)?/*(.*)", re.DOTALL)


def bucket_of(place: str) -> str:
    """The bucket for the artifacts of a project's location."""
    _, project, _, location = place.split("/")
    name = f"{project}-mlflow-{location}".lower()
    return name if is_bucket_name(name) else f"mlflow-{uuid.uuid5(uuid.NAMESPACE_URL, place)}"


def ensure_bucket(rooms: Rooms, place: str) -> None:
    """Makes the bucket of a location where it isn't there yet.

    Raises:
        FailedPrecondition: it is of another project.
    """
    if _is_there(rooms, place):
        return
    settings = {"location": place.rpartition("/")[2].upper(), "storageClass": "STANDARD"}
    with rooms.database.write() as connection:
        objects_buckets.ensure(connection, bucket_of(place), place.split("/")[1], settings, rooms.clock.now())


def _is_there(rooms: Rooms, place: str) -> bool:
    """Whether a location has its bucket.

    Raises:
        FailedPrecondition: one by its name is of another project.
    """
    with rooms.database.read() as connection:
        found = objects_buckets.find(connection, bucket_of(place))
    if found is not None:
        objects_buckets.require_of(found, place.split("/")[1])
    return found is not None


def uri_of(place: str, given: str) -> str:
    """The `gs://` name of an artifact URI of MLflow's.

    Raises:
        InvalidArgument: it is neither in Cloud Storage nor one of the proxy's.
    """
    if given.startswith("gs://"):
        return given.rstrip("/")
    found = _OURS.fullmatch(given)
    if found is None:
        raise InvalidArgument(
            f"{given!r} can't be read here: artifacts are below mlflow-artifacts:/ or gs://BUCKET/."
        )
    return f"gs://{bucket_of(place)}/{checked(found[1])}"


def checked(path: str) -> str:
    """A path below the bucket, without slashes at its ends.

    Raises:
        InvalidArgument: it goes up, or has an empty step.
    """
    plain = path.strip("/")
    if any(step in ("", ".", "..") for step in plain.split("/")):
        raise InvalidArgument(f"{path!r} is no path of an artifact.", field="artifact_path")
    return plain


@implements("mlflow", "mlflow-artifacts.downloadArtifact", "mlflow-artifacts.uploadArtifact")
def address(call: Call) -> dict[str, Any]:
    """Where the artifact of a request lies; where it is written, its bucket is there after that."""
    if call.method.endswith("uploadArtifact"):
        ensure_bucket(call.rooms, place_of(call))
    _is_there(call.rooms, place_of(call))
    return {"bucket": bucket_of(place_of(call)), "object": checked(call.params["artifact_path"])}


@implements("mlflow", "mlflow-artifacts.listArtifacts")
def list_proxied(call: Call) -> dict[str, Any]:
    path = str(call.params.get("path") or "")
    folder = checked(path) if path.strip("/") else ""
    _is_there(call.rooms, place_of(call))
    uri = f"gs://{bucket_of(place_of(call))}/{folder}".rstrip("/")
    return {"files": list(_files(call.rooms, uri))}


@implements("mlflow", "artifacts.listArtifacts")
def list_of_run(call: Call) -> dict[str, Any]:
    """The artifacts of a run; their paths begin where the run's do."""
    with call.rooms.database.read() as connection:
        run = run_rows.require(connection, call, asked_id(call.params))
        experiment = experiments.require(connection, call, experiments.wire_id(run_rows.experiment_of(run)))
    root = str(run_rows.info(run, experiment)["artifact_uri"])
    return {"root_uri": root, "files": listed(call, root, str(call.params.get("path") or ""))}


def listed(call: Call, root: str, path: str) -> list[dict[str, Any]]:
    """What is right below `path` of an artifact URI, with paths from that URI on."""
    inside = f"{checked(path)}/" if path.strip("/") else ""
    if not root.startswith("gs://"):
        _is_there(call.rooms, place_of(call))
    uri = f"{uri_of(place_of(call), root)}/{inside}".rstrip("/")
    return [{**one, "path": f"{inside}{one['path']}"} for one in _files(call.rooms, uri)]


def _files(rooms: Rooms, uri: str) -> Iterator[dict[str, Any]]:
    """What is right below a `gs://` folder, by name; nothing where its bucket isn't there."""
    bucket, folder = parse_uri(uri)
    prefix = f"{folder}/" if folder else ""
    at: Position | None = None
    while True:
        with rooms.database.read() as connection:
            page = list_page(connection, Query(bucket, prefix=prefix, delimiter="/"), _AT_ONCE, at)
        found = {name.removeprefix(prefix).rstrip("/"): None for name in page.prefixes}
        sizes = {row.name.removeprefix(prefix): row.size for row in page.items if row.name != prefix}
        for name in sorted({*found, *sizes}):
            if name in sizes:
                yield {"path": name, "is_dir": False, "file_size": sizes[name]}
            else:
                yield {"path": name, "is_dir": True}
        at = page.next
        if at is None:
            return


@implements("mlflow", "mlflow-artifacts.deleteArtifact")
def delete(call: Call) -> dict[str, Any]:
    """Deletes a file, or a folder with all that is in it."""
    rooms, bucket = call.rooms, bucket_of(place_of(call))
    path = checked(call.params["artifact_path"])
    at: Position | None = Position(path)
    if not _is_there(rooms, place_of(call)):
        return {}
    while at is not None:
        garbage: list[str] = []
        with rooms.database.write() as connection:
            of = objects_buckets.get(connection, bucket)
            page = list_page(connection, Query(bucket, prefix=path), _AT_ONCE, at)
            for row in page.items:
                if row.name == path or row.name.startswith(f"{path}/"):
                    garbage += objects.delete(connection, of, row, rooms.clock.now())
        objects_files.remove(rooms.home, garbage)
        at = page.next
    return {}
