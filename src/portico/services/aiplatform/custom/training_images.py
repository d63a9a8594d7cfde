"""What a training container's image name means here: which libraries its Python has.

https://cloud.google.com/vertex-ai/docs/training/pre-built-containers
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from portico.errors import FailedPrecondition, InvalidArgument
from portico.sandbox import containers

_PREBUILT = re.compile(
    r"(?:[a-z0-9-]+-docker\.pkg\.dev/(?:vertex-ai|cloud-aiplatform)/training"
    r"|(?:(?:us|eu|asia)\.)?gcr\.io/(?:vertex-ai|cloud-aiplatform)/training)"
    r"/(?P<short>(?P<framework>[a-z-]+?)-(?P<accelerator>cpu|gpu|tpu|xla)\.(?P<version>\d+(?:-\d+)*)"
    r"(?:\.py(?P<python>\d{2,3}))?)(?::[\w.-]+)?(?:@sha256:[0-9a-f]+)?"
)
# python:3.11-slim, python (the newest), python:alpine3.9, and Red Hat's ubi9/python-311.
_PYTHON = re.compile(
    r"(?:(?:docker\.io|mirror\.gcr\.io|public\.ecr\.aws/docker)/)?(?:library/)?"
    r"python(?::(?:(?P<version>3\.\d+)(?:[.-][\w.-]+)?|3|latest|(?:slim|bookworm|trixie|alpine)[\w.-]*))?"
    r"|registry\.(?:access\.)?redhat\.(?:com|io)/ubi\d+/python-3(?P<minor>\d+)(?:-minimal)?(?::[\w.-]+)?"
)
# Framework of an image -> the package whose version it names.
_LIBRARIES = {"scikit-learn": "scikit-learn", "xgboost": "xgboost", "tf": "tensorflow", "pytorch": "torch"}
# What all of these images hold beside it, as far as code counts on it.
_COMMON = (
    "google-cloud-aiplatform",
    "google-cloud-storage",
    "cloudml-hypertune",
    "joblib",
    "numpy",
    "pandas",
)
_PYTHONS = ("3.11", "3.12", "3.13", "3.10", "3.9", "3.8", "3.7")


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """`library` (a package's name; "" for none) of `version`, for one of `pythons`, the best first, with `common`; or a
    real image, which the container `engine` runs."""

    short: str
    library: str
    version: str
    pythons: tuple[str, ...]
    common: tuple[str, ...]
    accelerated: bool
    engine: str = ""


def resolve(uri: str, field: str) -> TrainingImage:
    """What the image `uri` is here.

    Raises:
        InvalidArgument: it is empty, or no image that Google has.
        FailedPrecondition: it cannot be run here, with what would be needed.
    """
    if not uri:
        raise InvalidArgument("The image's name is missing.", field=field)
    if plain := _PYTHON.fullmatch(uri):
        wanted = plain["version"] or (f"3.{plain['minor']}" if plain["minor"] else "")
        return TrainingImage(uri.rpartition("/")[2], "", "", pythons(wanted), (), False)
    match = _PREBUILT.fullmatch(uri)
    if match is None:
        if uri.startswith("-") or len(uri.split()) > 1:  # an option of the engine's
            raise InvalidArgument(f"{uri!r} is no name of an image.", field=field)
        if engine := containers.engine():
            return TrainingImage(uri, "", "", (), (), False, engine)
        raise FailedPrecondition(
            f"{uri} is a container image of its own: {containers.NEEDED}, and none answers on this machine. Google's "
            "prebuilt training images (us-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.1-6, xgboost-cpu, tf-cpu, "
            "pytorch-cpu, …) and python:3.X run without one, as Python environments.",
            field=field,
        )
    library = _LIBRARIES.get(match["framework"])
    if library is None or match["accelerator"] in ("tpu", "xla"):
        raise InvalidArgument(
            f"There is no image {match['short']}; there are {', '.join(sorted(_LIBRARIES))}, for cpu and gpu.",
            field=field,
        )
    python = match["python"] or ""
    return TrainingImage(
        match["short"],
        library,
        match["version"].replace("-", "."),
        pythons(f"{python[0]}.{python[1:]}" if python else ""),
        _COMMON,
        match["accelerator"] == "gpu",
    )


def pythons(wanted: str) -> tuple[str, ...]:
    """The versions of Python to look for, the best first: the one that is `wanted` ("" for none)."""
    return tuple(dict.fromkeys([*([wanted] if wanted else []), *_PYTHONS]))
