"""Images that a user built here: their source, kept as an object, and what runs it without Docker.

`docker build` under `portico exec` (client/injected/portico_docker.py) keeps what it makes at
`gs://portico-images/IMAGE:TAG`, a tar archive: `image.json`, and below `root/` the files that the image has beside
its base's. Uploading a model copies it beside the model's files, as Vertex AI copies an image; a training unpacks it
for itself (custom/own_images.py).
"""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from portico.errors import FailedPrecondition, InvalidArgument, NotFound, PorticoError
from portico.sandbox import archives
from portico.services.aiplatform import images
from portico.services.aiplatform.custom import packages, training_images
from portico.services.aiplatform.custom.training_images import pythons
from portico.services.aiplatform.images import Serving
from portico.store.gcs import Gcs
from portico.store.objects.generations import ObjectRow
from portico.store.objects.names import IMAGES

FOLDER = ".portico-image"  # in the folder of a model's files
_MOST_BYTES, _MOST_FILES = 2 << 30, 8000
_MOST_TOLD = 64 << 10  # bytes of the description of a mere tag
_PYTHON = re.compile(r"(?:.*/)?python:(?P<version>3(?:\.\d+)?)(?:[.-].*)?")
_TIANGOLO = re.compile(r"(?:.*/)?tiangolo/uvicorn-gunicorn[a-z-]*:python(?P<version>3\.\d+).*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PORT = 8080
_REFERENCE = re.compile(r"\$\$|\$\((\w+)\)")


class SourceImage(msgspec.Struct, frozen=True):
    """What a Dockerfile said: `packages` are paths in the image of Python packages that it installs."""

    base: str
    requirements: list[str] = []
    packages: list[str] = []
    environment: dict[str, str] = {}
    workdir: str = "/"
    entrypoint: list[str] = []
    command: list[str] = []
    ports: list[int] = []


def find(gcs: Gcs, uri: str) -> ObjectRow | None:
    """The source of the image `uri`; None where none was built here."""
    try:
        return gcs.find(place_of(uri)) if uri else None
    except (NotFound, InvalidArgument):
        return None


def place_of(uri: str) -> str:
    """The gs:// name of the source of the image `uri`."""
    named = ":" in uri.rpartition("/")[2] or "@" in uri
    return f"gs://{IMAGES}/{uri if named else f'{uri}:latest'}"


def another_name_of(gcs: Gcs, row: ObjectRow) -> str:
    """The prebuilt image that `row` is but a tag of (`docker tag`); "" where it is one of its own."""
    try:
        with tarfile.open(gcs.path(row)) as archive:
            only, *more = archive
            told = archive.extractfile(only) if only.name == "image.json" and only.size < _MOST_TOLD else None
            image = msgspec.json.decode(told.read(), type=SourceImage) if told and not more else None
            if image is not None and image == SourceImage(image.base):
                images.resolve(image.base)
                return image.base
    except (OSError, ValueError, tarfile.TarError, EOFError, msgspec.MsgspecError, PorticoError):
        pass  # what is wrong with it is told when it is unpacked
    return ""


def unpack(gcs: Gcs, row: ObjectRow, model_dir: Path) -> None:
    """Puts the image's source beside a model's files in `model_dir`.

    Raises:
        InvalidArgument: it is no such archive, or too large.
    """
    unpack_into(gcs, row, model_dir / FOLDER)


def unpack_into(gcs: Gcs, row: ObjectRow, target: Path) -> SourceImage:
    """The image, unpacked: `root` in `target` has its files, and `packages` those that `needs` names.

    Raises:
        InvalidArgument: it is no such archive, or too large.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        with tarfile.open(gcs.path(row)) as archive:
            members = archive.getmembers()
            size = sum(member.size for member in members)
            if size > _MOST_BYTES or len(members) > _MOST_FILES:
                raise InvalidArgument(
                    f"The image {row.name} has {len(members):,} files of {size:,} bytes; at most {_MOST_FILES:,} of "
                    f"{_MOST_BYTES:,} are served. Leave out by .dockerignore what it does not need."
                )
            if not all(member.isreg() or member.isdir() for member in members):
                raise InvalidArgument(
                    f"The image {row.name} has links or devices; it is files and folders alone."
                )
            archives.unpack(archive, target)
        image = _read(target)
        for number, path in enumerate(image.packages):
            packages.unpack_file(_inside(target, path), target / "packages" / str(number))
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidArgument(f"The image {row.name} can't be unpacked: {error}") from None
    return image


def needs(folder: Path, image: SourceImage) -> tuple[list[Path], list[str]]:
    """Of an image unpacked into `folder`: where its packages are, for PYTHONPATH, and its requirements (PEP 508)."""
    paths, needed = [], list(image.requirements)
    for number in range(len(image.packages)):
        found = packages.described(folder / "packages" / str(number))
        paths += found.paths
        needed += found.requirements
    return paths, needed


def is_in(model_dir: Path) -> bool:
    """Whether a model's files have their image's source with them."""
    return (model_dir / FOLDER / "image.json").is_file()


def serving(uri: str, model_dir: Path, spec: dict[str, Any], storage_uri: str) -> Serving:
    """How the model in `model_dir` is served by the source of its image; `spec` is its `containerSpec`, and
    `storage_uri` (AIP_STORAGE_URI) where its code finds its files.

    Raises:
        FailedPrecondition: the image can't be served, and why.
    """
    folder = model_dir / FOLDER
    image = _read(folder)
    base, pythons = base_of(image.base)
    paths, needed = needs(folder, image)
    given = {one["name"]: one.get("value", "") for one in spec.get("env") or []}
    port = (spec.get("ports") or [{}])[0].get("containerPort") or _PORT
    routes = {
        "predict": spec.get("predictRoute") or "/predict",
        "health": spec.get("healthRoute") or "/health",
    }
    environment = {
        **image.environment,
        "AIP_MODE": "PREDICTION",
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": routes["health"],
        "AIP_PREDICT_ROUTE": routes["predict"],
        "AIP_STORAGE_URI": storage_uri,
    }
    for name, value in given.items():  # each may name those before it
        environment[name] = _expanded(value, environment)
    command = spec.get("command") or image.entrypoint
    arguments = spec.get("args") or ([] if spec.get("command") else image.command)
    words = [_expanded(word, environment) for word in [*command, *arguments]] or _default(folder)
    _check(image, words, environment)
    if not words:
        raise FailedPrecondition(f"The image {uri} has no ENTRYPOINT or CMD, and the model no command.")
    container = {
        "root": str(folder / "root"), "command": words, "environment": environment, "workdir": image.workdir,
        "paths": [str(path) for path in paths], "over": needed, **routes,
    }  # fmt: skip
    return Serving(
        "replica", "container", "", uri, (), tuple(dict.fromkeys([*base, *needed])), pythons, container
    )


def _check(image: SourceImage, words: list[str], environment: dict[str, str]) -> None:
    """
    Raises:
        InvalidArgument: no process can be started so.
    """
    if not image.workdir.startswith("/") or {"..", "\0"} & {
        *PurePosixPath(image.workdir).parts,
        *image.workdir,
    }:
        raise InvalidArgument(f"The image's WORKDIR {image.workdir!r} is no path in it.")
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise InvalidArgument(
                f"The environment variable {name!r} can't be set: its name is letters, digits and _, its value has no "
                "zero byte.",
                field="model.containerSpec.env",
            )
    if any("\0" in word for word in words):
        raise InvalidArgument("The command has a zero byte.", field="model.containerSpec.command")


def _read(folder: Path) -> SourceImage:
    try:
        return msgspec.json.decode((folder / "image.json").read_bytes(), type=SourceImage)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidArgument(f"The image has no description that can be read: {error}") from None


def base_of(name: str) -> tuple[list[str], tuple[str, ...]]:
    """The requirements of the image's base, and the Pythons that it can have, the best first.

    Raises:
        InvalidArgument, Unimplemented: there is no such image.
    """
    if found := _PYTHON.fullmatch(name):
        return _with_setuptools(found["version"]), pythons(
            found["version"] if "." in found["version"] else ""
        )
    if found := _TIANGOLO.fullmatch(name):
        beside = _with_setuptools(found["version"])
        return ["fastapi", "uvicorn", "gunicorn", *beside], pythons(found["version"])
    if training := training_images.known(name):
        library = [f"{training.library}=={training.version}.*"] if training.library else []
        return [*library, *training.common], training.pythons
    prebuilt = images.resolve(name)
    return list(prebuilt.requirements), prebuilt.pythons


def _with_setuptools(version: str) -> list[str]:
    """Images of Python had setuptools until 3.12, and older packages import its pkg_resources."""
    minor = version.partition(".")[2]
    return ["setuptools<81"] if minor and int(minor) < 12 else []


def _default(folder: Path) -> list[str]:
    """What tiangolo/uvicorn-gunicorn-fastapi runs where nothing else is said."""
    for path, module in (("app/app/main.py", "app.main"), ("app/main.py", "main")):
        if (folder / "root" / path).is_file() and "tiangolo/" in _read(folder).base:
            return ["uvicorn", "--app-dir", "/app", f"{module}:app"]
    return []


def _inside(folder: Path, path: str) -> Path:
    """The file or folder that the image has at `path`."""
    steps = PurePosixPath(path).parts
    if ".." in steps:
        raise InvalidArgument(f"{path} leads out of the image.")
    return folder.joinpath("root", *steps[1:])


def _expanded(text: str, known: dict[str, str]) -> str:
    """`$(NAME)` becomes the variable's value, `$$` a dollar: as containerSpec.command says it."""
    return _REFERENCE.sub(lambda found: "$" if found[0] == "$$" else known.get(found[1], found[0]), text)
