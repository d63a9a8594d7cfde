"""What a declaration names: a path of the repository, or a gs:// name."""

from __future__ import annotations

from pathlib import Path

from portico.cli.ci.repository import Repository
from portico.errors import InvalidArgument


def local(name: str, field: str, opened: Repository, out: Path) -> Path:
    """The file or folder `name`; what lies under a gs:// name is copied below `out`, as the caller's own settings reach
    it: Google Cloud, or the Portico that `portico exec` points at.

    Raises:
        InvalidArgument: there is none.
    """
    if not name.startswith("gs://"):
        return opened.file(name, field)
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage  # type: ignore[attr-defined]

    bucket, _, prefix = name.removeprefix("gs://").partition("/")
    to = out / "deployed"
    try:
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
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        raise InvalidArgument(f"{field}: {name} can't be read: {error}", field=field) from None
    if not found:
        raise InvalidArgument(f"{field}: there is nothing under {name}.", field=field)
    return to
