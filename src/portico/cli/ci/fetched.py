"""What a declaration names: a path of the repository, a gs:// name, or a model or an endpoint of Vertex AI."""

from __future__ import annotations

from pathlib import Path

from portico.cli.ci.repository import Repository
from portico.errors import InvalidArgument


def local(name: str, field: str, opened: Repository, out: Path) -> Path:
    """The file or folder `name`. What lies under a gs:// name, and the files of the model "projects/…/models/M" or of
    the one with most traffic at "projects/…/endpoints/E", are copied below `out`, as the caller's own settings reach
    them: from Google Cloud, or from the Portico that `portico exec` points at.

    Raises:
        InvalidArgument: there is none.
    """
    if not name.startswith(("gs://", "projects/")):
        return opened.file(name, field)
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        if name.startswith("projects/"):
            name = _files_of(name, field)
        return _copied(name, field, out / "deployed")
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        raise InvalidArgument(f"{field}: {name} can't be read: {error}", field=field) from None


def _files_of(name: str, field: str) -> str:
    """The gs:// name of a model's files.

    Raises:
        InvalidArgument: it has none, or the endpoint no model.
    """
    from google.cloud import aiplatform

    if "/endpoints/" in name:
        endpoint = aiplatform.Endpoint(name).gca_resource
        split = dict(endpoint.traffic_split)
        serving = sorted(endpoint.deployed_models, key=lambda one: -split.get(one.id, 0))
        if not serving:
            raise InvalidArgument(f"{field}: nothing is deployed at {name}.", field=field)
        name = f"{serving[0].model}@{serving[0].model_version_id}"
    if not (uri := aiplatform.Model(name).uri):
        raise InvalidArgument(f"{field}: {name} has no files in gs://.", field=field)
    return str(uri)


def _copied(name: str, field: str, to: Path) -> Path:
    """
    Raises:
        InvalidArgument: there is nothing of that name.
    """
    from google.cloud import storage  # type: ignore[attr-defined]

    bucket, _, prefix = name.removeprefix("gs://").partition("/")
    found = {
        one.name.removeprefix(prefix).lstrip("/"): one
        for one in storage.Client(project="portico").list_blobs(bucket, prefix=prefix)
        if one.name == prefix
        or (one.name.startswith(f"{prefix.rstrip('/')}/") and not one.name.endswith("/"))
    }
    if "" in found:  # the very object
        to.mkdir(parents=True, exist_ok=True)
        file = to / Path(prefix).name
        found[""].download_to_filename(file)
        return file
    for inside, blob in found.items():
        if ".." in Path(inside).parts:
            raise InvalidArgument(f"{field}: {blob.name!r} is no path.", field=field)
        (to / inside).parent.mkdir(parents=True, exist_ok=True)
        blob.download_to_filename(to / inside)
    if not found:
        raise InvalidArgument(f"{field}: there is nothing under {name}.", field=field)
    return to
