"""PyTorch models: TorchServe's archive, `model.mar`, unpacked beside the model's files, and what its handler needs.

https://cloud.google.com/vertex-ai/docs/predictions/use-custom-container#pytorch, and the archiver's
https://github.com/pytorch/serve/blob/master/model-archiver/README.md
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument
from portico.sandbox import environments
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom.environments import interpreter_of
from portico.services.aiplatform.custom.training_images import TrainingImage, pythons
from portico.services.aiplatform.images import Serving

NAME = "model.mar"
FOLDER = ".portico-archive"  # in the folder of a model's files; `worker_torch` knows it too
_PINS = "portico.json"  # in that folder: the packages and the Python that it is served with
_TORCHSERVE = "torchserve==0.12.0"  # its Python part, which runs handlers; the server in Java is not needed
_MOST_BYTES, _MOST_FILES = 20 << 30, 8000
_IMPORT = re.compile(r"^\s*(?:import|from)\s+([A-Za-z_]\w*)", re.MULTILINE)
# What Google's image has beside PyTorch, as far as the archive's code, or TorchServe's own handler, imports it.
_BESIDE = {
    "torchvision": "torchvision", "torchaudio": "torchaudio", "torchtext": "torchtext", "captum": "captum",
    "transformers": "transformers", "pandas": "pandas", "scipy": "scipy", "sklearn": "scikit-learn",
}  # fmt: skip
_HANDLERS = {
    **dict.fromkeys(("image_classifier", "image_segmenter", "object_detector"), ("torchvision", "captum")),
    "text_classifier": ("torchtext", "captum"),
}


def unpack(model_dir: Path, image: Serving, home: Path, teller: Teller) -> None:
    """Unpacks the archive in `model_dir`, and finds what it is to be served with by `image`.

    Raises:
        InvalidArgument: it is none that TorchServe would take.
    """
    target = model_dir / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    try:
        with zipfile.ZipFile(model_dir / NAME) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > _MOST_BYTES or len(entries) > _MOST_FILES:
                raise _wrong(
                    f"has {len(entries):,} files of {size:,} bytes; at most {_MOST_FILES:,} of {_MOST_BYTES:,} "
                    "are taken"
                )
            archive.extractall(target)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise _wrong(f"can't be unpacked: {error}") from None
    told = _manifest(target)
    handler = str(told.get("handler") or "").partition(":")[0]
    if not handler or not (
        handler in _HANDLERS or (target / Path(handler).name).is_file() or "." not in handler
    ):
        raise _wrong(f"has no handler {handler!r}, which its manifest names")
    try:
        pins = _pins(image, target, home, teller)
    except FailedPrecondition as error:
        pins = {"error": error.message}
        teller.say(error.message)
    (target / _PINS).write_text(json.dumps(pins))


def serving(image: Serving, model_dir: Path) -> Serving:
    """How the unpacked archive in `model_dir` is served by `image`.

    Raises:
        FailedPrecondition: no PyTorch could be had when it was uploaded.
    """
    try:
        pins = json.loads((model_dir / FOLDER / _PINS).read_text())
    except (OSError, ValueError):
        pins = {"error": "its archive was not unpacked"}
    if "error" in pins:
        raise FailedPrecondition(f"The model could not be made ready when it was uploaded: {pins['error']}")
    return replace(
        image, requirements=tuple(pins["requirements"]), pythons=(pins["python"],), note=pins["note"]
    )


def _pins(image: Serving, folder: Path, home: Path, teller: Teller) -> dict[str, Any]:
    """The PyTorch that the image names, or the closest that installs here, and what the archive needs beside it."""
    told = _manifest(folder)
    training = TrainingImage(image.image, "torch", image.version, pythons(""), (), False)
    interpreter, exact = interpreter_of(training, home / "envs", teller)
    numpy = "numpy<2" if tuple(map(int, exact.split(".")[:2])) < (2, 3) else "numpy"
    wanted = [f"torch=={exact}", _TORCHSERVE, "pyyaml", numpy, *_needed(folder, told), *_listed(folder, told)]
    note = "" if exact.startswith(image.version + ".") else (
        f"{image.image}: torch {image.version} has no wheel for a Python of this machine; {exact} is the closest that "
        "installs."
    )  # fmt: skip
    python = next(one for one in training.pythons if _is(one, interpreter))
    return {"requirements": list(dict.fromkeys(wanted)), "python": python, "note": note}


def _is(python: str, interpreter: str) -> bool:
    try:
        return environments.find_python([python]) == interpreter
    except FailedPrecondition:
        return False


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    except (OSError, ValueError, KeyError, TypeError):
        raise _wrong("has no MAR-INF/MANIFEST.json that says what its model is") from None
    if not isinstance(told, dict):
        raise _wrong("has a manifest whose model is no object")
    return told


def _needed(folder: Path, told: dict[str, Any]) -> list[str]:
    found = set(_HANDLERS.get(str(told.get("handler")), ()))
    for path in folder.rglob("*.py"):
        found.update(_IMPORT.findall(path.read_text(errors="replace")))
    return [package for module, package in _BESIDE.items() if module in found]


def _listed(folder: Path, told: dict[str, Any]) -> list[str]:
    """The requirements that the archive brings (`--requirements-file`)."""
    named = told.get("requirementsFile")
    path = folder / Path(str(named)).name
    if not named or not path.is_file():
        return []
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in path.read_text(errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _wrong(what: str) -> InvalidArgument:
    return InvalidArgument(
        f"{NAME} {what}. Make it with torch-model-archiver, as --model-name model.", field="model.artifactUri"
    )
