"""Training images that a user built here, by `docker build` under `portico exec`: their source runs without Docker.

What a Dockerfile copied lies in a folder of the worker's own, as the image's file system has it; paths of its files in
the command and the variables become those of that folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.errors import FailedPrecondition
from portico.prediction.replicas.container import here
from portico.services.aiplatform import source_images
from portico.services.aiplatform.custom import training_images
from portico.services.aiplatform.custom.training_images import TrainingImage
from portico.services.aiplatform.source_images import SourceImage
from portico.store.gcs import Gcs
from portico.store.objects.generations import ObjectRow

_IN = 'cd "$0" && exec "$@"'


@dataclass(frozen=True, slots=True)
class OwnImage:
    """An image's source in `folder`: the Python of its `base`, what that needs beside, where its packages are."""

    folder: Path
    source: SourceImage
    base: TrainingImage
    paths: list[Path]
    requirements: list[str]


def find(gcs: Gcs, uri: str) -> TrainingImage | None:
    """The image `uri`, if it was built here."""
    found = source_images.find(gcs, uri)
    return TrainingImage(uri, "", "", (), (), False, built=True) if found else None


def opened(gcs: Gcs, row: ObjectRow, folder: Path) -> OwnImage:
    """The image whose source is `row`, unpacked into `folder`.

    Raises:
        InvalidArgument: it is no such archive, or of an image that Google has not.
    """
    source = source_images.unpack_into(gcs, row, folder)
    base = training_images.known(source.base)
    if base is None or not (base.library or base.common):  # a Python alone
        requirements, pythons = source_images.base_of(source.base)
        base = TrainingImage(source.base, "", "", pythons, tuple(requirements), False)
    paths, needed = source_images.needs(folder, source)
    return OwnImage(folder, source, base, paths, needed)


def placed(image: OwnImage, asked: Mapping[str, Any], worker: Path) -> tuple[list[str], dict[str, str]]:
    """The command of one worker, whose own folder is `worker`, and the variables that the image sets; `asked` is the
    job's containerSpec. The image's files are laid out there, where they may be written.

    Raises:
        FailedPrecondition: nothing says what to run.
    """
    root = worker / "image"
    shutil.rmtree(root, ignore_errors=True)  # of an attempt before
    given = image.folder / "root"
    if given.is_dir():
        shutil.copytree(given, root)
    workdir = root / image.source.workdir.lstrip("/")
    workdir.mkdir(parents=True, exist_ok=True)
    command = asked.get("command") or image.source.entrypoint
    arguments = asked.get("args") or ([] if asked.get("command") else image.source.command)
    words = [here(word, root) for word in [*command, *arguments]]
    if not words:
        raise FailedPrecondition("The image has no ENTRYPOINT or CMD, and the job no command.")
    variables = {name: here(value, root) for name, value in image.source.environment.items()}
    return ["/bin/sh", "-c", _IN, str(workdir), *words], variables
