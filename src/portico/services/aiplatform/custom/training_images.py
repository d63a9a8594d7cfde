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
# Deep Learning Containers: https://cloud.google.com/deep-learning-containers/docs/choosing-container
_DEEP = re.compile(
    r"(?:(?:(?:us|eu|asia)\.)?gcr\.io/deeplearning-platform-release"
    r"|[a-z0-9-]+-docker\.pkg\.dev/deeplearning-platform-release/gcr\.io)"
    r"/(?P<short>(?P<framework>tf2?|pytorch|sklearn|xgboost|base|common)-(?P<accelerator>cpu|gpu|cu\d+)"
    r"(?:\.(?P<version>\d+-\d+))?(?:\.py(?P<python>\d{2,3}))?)(?::[\w.-]+)?(?:@sha256:[0-9a-f]+)?"
)
# Those of the libraries' makers: tensorflow/tensorflow:2.13.0-gpu, pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime.
_MAKERS = re.compile(
    r"(?:(?:docker\.io|mirror\.gcr\.io)/)?(?P<short>(?:tensorflow/(?P<library>tensorflow)|pytorch/pytorch)"
    r"(?::(?:(?P<version>\d+\.\d+(?:\.\d+)?)|latest)?(?P<accelerator>-?(?:gpu|cuda))?[\w.-]*)?)"
)
# python:3.11-slim, python (the newest), python:alpine3.9, and Red Hat's ubi9/python-311.
_PYTHON = re.compile(
    r"(?:(?:docker\.io|mirror\.gcr\.io|public\.ecr\.aws/docker)/)?(?:library/)?"
    r"python(?::(?:(?P<version>3\.\d+)(?:[.-][\w.-]+)?|3|latest|(?:slim|bookworm|trixie|alpine)[\w.-]*))?"
    r"|registry\.(?:access\.)?redhat\.(?:com|io)/ubi\d+/python-3(?P<minor>\d+)(?:-minimal)?(?::[\w.-]+)?"
)
# Framework of an image -> the package whose version it names.
_LIBRARIES = {
    "scikit-learn": "scikit-learn",  # 0.23 alone; later ones are sklearn-cpu.1-0 and so on
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "tf": "tensorflow",
    "pytorch": "torch",
}
_DEEP_LIBRARIES = {"tf2": "tensorflow", "tf": "tensorflow", "pytorch": "torch", "xgboost": "xgboost"}
# What all of these images hold beside it, as far as code counts on it.
_COMMON = (
    "google-cloud-aiplatform",
    "google-cloud-storage",
    "cloudml-hypertune",
    "db-dtypes",  # with which BigQuery's client makes DataFrames
    "joblib",
    "numpy",
    "pandas",
    "tqdm",
)
_PYTHONS = ("3.11", "3.12", "3.13", "3.10", "3.9", "3.8", "3.7")


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """`library` (a package's name; "" for none) of `version`, for one of `pythons`, the best first, with `common`; or a
    real image, which the container `engine` runs; or one whose source was `built` here."""

    short: str
    library: str
    version: str
    pythons: tuple[str, ...]
    common: tuple[str, ...]
    accelerated: bool
    engine: str = ""
    built: bool = False


TAG = r"(?::(?P<tag>[\w.-]+))?(?:@sha256:[0-9a-f]+)?"
"""What may stand behind an image's name, for patterns that `tag_of` is given."""


def tag_of(uri: str, image: re.Pattern[str], version: re.Pattern[str], what: str, field: str) -> str | None:
    """The tag of an `image` of `what`, "latest" where it has none; None where `uri` is another image.

    Raises:
        InvalidArgument: the tag is no version.
    """
    found = image.fullmatch(uri)
    if found is None:
        return None
    tag = found["tag"] or "latest"
    if tag != "latest" and not version.fullmatch(tag):
        raise InvalidArgument(f"{uri}: {tag!r} is no version of {what}.", field=field)
    return tag


def resolve(uri: str, field: str) -> TrainingImage:
    """What the image `uri` is here.

    Raises:
        InvalidArgument: it is empty, or no image that Google has.
        FailedPrecondition: it cannot be run here, with what would be needed.
    """
    if not uri:
        raise InvalidArgument("The image's name is missing.", field=field)
    if found := known(uri, field):
        return found
    if uri.startswith("-") or len(uri.split()) > 1:  # an option of the engine's
        raise InvalidArgument(
            f"{field}: {uri!r} is no name of an image; give one without spaces, such as python:3.11.",
            field=field,
        )
    if engine := containers.engine():
        return TrainingImage(uri, "", "", (), (), False, engine)
    raise FailedPrecondition(
        f"{uri} is a container image of its own: {containers.NEEDED}, and none answers on this machine. Google's "
        "prebuilt training images (us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6, xgboost-cpu, tf-cpu, "
        "pytorch-cpu, …), Deep Learning Containers, python:3.X, and what `portico exec -- docker build` has built of "
        "these run without one, as Python environments.",
        field=field,
    )


def known(uri: str, field: str = "") -> TrainingImage | None:
    """The image `uri`, if it is one that stands for a Python.

    Raises:
        InvalidArgument: it is no image that Google has.
    """
    if plain := _PYTHON.fullmatch(uri):
        wanted = plain["version"] or (f"3.{plain['minor']}" if plain["minor"] else "")
        return TrainingImage(uri.rpartition("/")[2], "", "", pythons(wanted), (), False)
    if deep := _DEEP.fullmatch(uri):
        library = _DEEP_LIBRARIES.get(deep["framework"], "scikit-learn")
        data = ("tensorflow-datasets",) if library == "tensorflow" else ()
        return _of_library(deep, library, (*_COMMON, "scikit-learn", *data))
    if makers := _MAKERS.fullmatch(uri):
        return _of_library(makers, makers["library"] or "torch", ())
    match = _PREBUILT.fullmatch(uri)
    if match is None:
        return None
    named = _LIBRARIES.get(match["framework"])
    if named is None or match["accelerator"] in ("tpu", "xla"):
        raise InvalidArgument(
            f"There is no image {match['short']}; there are {', '.join(sorted(_LIBRARIES))}, for cpu and gpu.",
            field=field,
        )
    # By which pandas reads gs://; TensorFlow does by itself.
    reading = ("gcsfs",) if named == "torch" else ()
    return _of_library(match, named, (*_COMMON, *reading))


def _of_library(match: re.Match[str], library: str, common: tuple[str, ...]) -> TrainingImage:
    """An image whose name may say the version of its `library`, and its Python."""
    told = match.groupdict()
    python, version = told.get("python") or "", (told["version"] or "").replace("-", ".")
    accelerated = (told["accelerator"] or "cpu") != "cpu"
    wanted = pythons(f"{python[0]}.{python[1:]}" if python else "")
    if not version:  # the newest
        return TrainingImage(told["short"], "", "", wanted, (library, *common), accelerated)
    return TrainingImage(told["short"], library, version, wanted, common, accelerated)


def pythons(wanted: str) -> tuple[str, ...]:
    """The versions of Python to look for, the best first: the one that is `wanted` ("" for none)."""
    return tuple(dict.fromkeys([*([wanted] if wanted else []), *_PYTHONS]))
