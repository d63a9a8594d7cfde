"""The Python that a training image stands for, with what the user's packages need: made once, then kept."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from portico.errors import FailedPrecondition
from portico.jobs.kinds import Held
from portico.sandbox import environments, installer
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom.training_images import TrainingImage
from portico.services.aiplatform.images import bounds_of, profiler_of

_PROFILES = re.compile(r"cloud_profiler|tensorboard[-_]plugin[-_]profile")
_AUTOLOGS = re.compile(r"google-cloud-aiplatform\[[^\]]*\b(autologging|full|testing)\b")
# The extra takes MLflow 1.27, too, which bounds no protobuf and can't be imported beside a current one: it would be
# chosen for the newest protobuf.
_MLFLOW = "mlflow>=2"
_TORCH = (
    " Its wheels for processors are on PyTorch's own index: let this machine reach that, or put such a wheel "
    "into a folder, name that in UV_FIND_LINKS and start Portico again."
)


def python_of(
    image: TrainingImage,
    needed: Sequence[str],
    home: Path,
    teller: Teller,
    apart: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Path:
    """The Python for `image` with the requirements `needed` (PEP 508). `teller` is told what was chosen and why, and
    how far it is. `apart` and `options` as for `environments.environment`.

    Raises:
        FailedPrecondition: there is no such Python here, or the requirements can't be installed for it.
    """
    cache = home / "envs"
    image, needed = _asked_for(image, needed)
    interpreter, exact = interpreter_of(image, cache, teller)
    own = image.pythons[0]
    if own not in interpreter:
        lacks = f"the libraries of its version have no wheels for Python {own}"
        teller.say(
            f"{image.short}: {lacks if _found(own) else f'this machine has no Python {own}'}; {interpreter} is used."
        )
    library: list[str] = []
    if image.library:
        if exact != image.version and not exact.startswith(image.version + "."):
            teller.say(
                f"{image.short}: {image.library} {image.version} has no wheel for a Python of this machine; {exact} is "
                "the closest that installs."
            )
        library = [f"{_package(image.library, exact)}=={exact}", *bounds_of(image.library, exact)]
        if any(_PROFILES.search(line) for line in needed):
            library += profiler_of(image.library, exact)
    named = [environments.normalise(line) for line in needed]
    if any(map(_AUTOLOGS.match, named)) and not any(re.match(r"mlflow(?!-)", line) for line in named):
        library.append(_MLFLOW)
    wanted = [*library, *image.common, *needed]
    if not environments.place(wanted, interpreter, cache, apart, options).is_dir():
        teller.say(f"{image.short}: making its environment, {', '.join([*wanted, *apart])}")
    return environments.environment(
        wanted, interpreter, cache, teller, over=needed, apart=apart, options=options
    )


def held(lock: Path) -> None:
    """A `Teller.busy` of jobs: what another makes is not waited for in a slot.

    Raises:
        Held: always.
    """
    raise Held(lock, "waits for an environment that another makes")


def python_again(recorded: Mapping[str, Any], home: Path, teller: Teller) -> Path:
    """The Python of an environment with exactly the packages that `recorded` (see `reruns.pins`) says: the very same
    environment, where it stands still.

    Raises:
        FailedPrecondition: these can't be installed here.
    """
    cache, packages = home / "envs", recorded["packages"]
    python = environments.standing(cache, recorded["key"])
    if python and environments.installed(python) == packages:
        return python
    teller.say(
        f"{recorded['image']}: its environment is gone; one of the same {len(packages)} packages is made"
    )
    return environments.environment(packages, recorded["interpreter"], cache, teller, alone=True)


def _asked_for(image: TrainingImage, needed: Sequence[str]) -> tuple[TrainingImage, list[str]]:
    """A version of the image's library that the packages pin is what pip would put in its place; and the rest."""
    pin = re.compile(rf"{re.escape(image.library)}\s*==\s*(?P<version>\d+(?:\.\d+)*)(?:\.\*)?")
    for line in needed if image.library else ():
        if match := pin.fullmatch(line.strip()):
            rest = [other for other in needed if other != line]
            return dataclasses.replace(image, version=match["version"]), rest
    return image, list(needed)


def _package(library: str, version: str) -> str:
    if library == "xgboost" and tuple(map(int, version.split(".")[:2])) >= (2, 1):
        return "xgboost-cpu"  # the same library without 300 MB for CUDA
    return library


def interpreter_of(image: TrainingImage, cache: Path, teller: Teller) -> tuple[str, str]:
    """The Python to use, and which version of the image's library: on the first of its Pythons for which there are
    wheels of the version that it names and of what that stands on, else the lowest version above it."""
    if not image.library:
        return environments.find_python(image.pythons, image.short), ""
    for interpreter in filter(None, map(_found, image.pythons)):
        if exact := _version(image, interpreter, cache, teller, above=False):
            return interpreter, exact
    interpreter = environments.find_python(image.pythons, image.short)
    return interpreter, _version(image, interpreter, cache, teller, above=True)


def _found(python: str) -> str:
    """The path of a Python of this version; "" where this machine has none."""
    try:
        return environments.find_python([python])
    except FailedPrecondition:
        return ""


def _version(image: TrainingImage, interpreter: str, cache: Path, teller: Teller, *, above: bool) -> str:
    """The newest of the version that the image names that has wheels for `interpreter`, empty where none has; or the
    lowest `above` it. What was found once is kept.

    Raises:
        FailedPrecondition: there is none above it either.
    """
    package = _package(image.library, image.version)
    which = "above" if above else "exactly"
    kept = cache / "versions" / f"{package}-{which}-{image.version}-{Path(interpreter).name}"
    with contextlib.suppress(FileNotFoundError):
        return kept.read_text()
    kept.parent.mkdir(parents=True, exist_ok=True)
    name = f"{image.library} {image.version}{' or later' if above else ''} for {Path(interpreter).name}"
    waits = f"another looks for {name}; it is waited for"
    with environments.lock(kept.with_name(f".{kept.name}.lock"), teller, waits):
        with contextlib.suppress(FileNotFoundError):
            return kept.read_text()
        return _look(image, package, interpreter, kept, teller, above=above)


def _look(
    image: TrainingImage, package: str, interpreter: str, kept: Path, teller: Teller, *, above: bool
) -> str:
    wanted, how = (f"{package}=={image.version}.*", "highest")
    if above:
        wanted, how = (f"{package}>={image.version}", "lowest-direct")
    places: list[tuple[str, ...]] = [()]
    if image.library == "torch":
        # PyPI's wheel for Linux brings gigabytes of CUDA. That for processors is on PyTorch's own index, or among the
        # wheels that this machine's owner has put aside.
        places = [("--no-index",), ("--torch-backend", "cpu")]
        places = places[::-1] if above else places
    beside = [] if above or image.library == "torch" else bounds_of(image.library, image.version)
    for where in places:
        told = _compile("\n".join([wanted, *beside]), how, interpreter, where, teller)
        if match := re.search(rf"^{re.escape(package)}==(\S+)", told.stdout, re.MULTILINE):
            _keep(kept, match[1])
            return match[1]
    if not above:
        if (
            "No solution found" in "".join(told.stderr) and image.library != "torch"
        ):  # not for want of the index
            _keep(kept, "")
        return ""
    why = " ".join("".join(told.stderr).split())[-300:]
    words = f"{image.library} {image.version} or later can't be installed here: {why}"
    if image.library == "torch":
        words += _TORCH
    raise FailedPrecondition(words)


def _keep(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}-{os.getpid()}")
    part.write_text(text)
    part.replace(path)


def _compile(
    requirement: str, resolution: str, interpreter: str, where: Sequence[str], teller: Teller
) -> installer.Ended:
    command = ["pip", "compile", "-", "--quiet", "--no-header", "--no-deps"]
    command += ["--only-binary", ":all:", "--python", interpreter, "--resolution", resolution]
    doing = f"looking for {requirement.splitlines()[0]} for {Path(interpreter).name}"
    return installer.run_uv([*command, *where, *environments.links()], teller, doing, requirement, quiet=True)
