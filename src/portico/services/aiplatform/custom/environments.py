"""The Python that a training image stands for, with what the user's packages need: made once, then kept."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from portico.errors import FailedPrecondition
from portico.sandbox import environments
from portico.services.aiplatform.custom.training_images import TrainingImage
from portico.services.aiplatform.images import bounds_of


def python_of(image: TrainingImage, needed: Sequence[str], home: Path, say: Callable[[str], None]) -> Path:
    """The Python for `image` with the requirements `needed` (PEP 508). `say` is told what was chosen and why.

    Raises:
        FailedPrecondition: there is no such Python here, or the requirements can't be installed for it.
    """
    interpreter = environments.find_python(image.pythons)
    if image.pythons[0] not in interpreter:
        say(f"{image.short}: this machine has no Python {image.pythons[0]}; {interpreter} is used.")
    cache = home / "envs"
    library: list[str] = []
    if image.library:
        exact = _exact(image, interpreter, cache)
        if exact != image.version and not exact.startswith(image.version + "."):
            say(
                f"{image.short}: {image.library} {image.version} has no wheel for this Python; {exact} is the closest "
                "that installs."
            )
        library = [f"{_package(image.library, exact)}=={exact}", *bounds_of(image.library, exact)]
    wanted = [*library, *image.common, *needed]
    if not environments.place(wanted, interpreter, cache).is_dir():
        say(f"{image.short}: making its environment, {', '.join(wanted)}")
    return environments.environment(wanted, interpreter, cache, progress=say)


def _package(library: str, version: str) -> str:
    if library == "xgboost" and tuple(map(int, version.split(".")[:2])) >= (2, 1):
        return "xgboost-cpu"  # the same library without 300 MB for CUDA
    return library


def _exact(image: TrainingImage, interpreter: str, cache: Path) -> str:
    """The newest of the version that the image names, or the lowest above it that has wheels for `interpreter`."""
    package = _package(image.library, image.version)
    kept = cache / "versions" / f"{package}-{image.version}-{Path(interpreter).name}"
    with contextlib.suppress(FileNotFoundError):
        return kept.read_text()
    name = re.escape(package)
    exact = (f"{package}=={image.version}.*", "highest")
    above = (f"{package}>={image.version}", "lowest-direct")
    tries: list[tuple[str, str, tuple[str, ...]]] = [(*exact, ()), (*above, ())]
    if image.library == "torch":
        # PyPI's wheel for Linux brings gigabytes of CUDA. That for processors is on PyTorch's own index, or among the
        # wheels that this machine's owner has put aside.
        aside: tuple[str, ...] = ("--no-index",)
        index: tuple[str, ...] = ("--torch-backend", "cpu")
        tries = [(*exact, aside), (*exact, index), (*above, index), (*above, aside)]
    for wanted, how, where in tries:
        told = _compile(wanted, how, interpreter, where)
        if match := re.search(rf"^{name}==(\S+)", told.stdout, re.MULTILINE):
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_name(f".{kept.name}-{os.getpid()}")
            part.write_text(match[1])
            part.replace(kept)
            return match[1]
    words = f"{image.library} {image.version} or later can't be installed here: {' '.join(told.stderr.split())[-300:]}"
    if image.library == "torch":
        words += (
            " Its wheels for processors are on PyTorch's own index: let this machine reach that, or put such a wheel "
            "into a folder, name that in UV_FIND_LINKS and start Portico again."
        )
    raise FailedPrecondition(words)


def _compile(
    requirement: str, resolution: str, interpreter: str, where: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    import uv

    command = [os.fsdecode(uv.find_uv_bin()), "pip", "compile", "-", "--quiet", "--no-header", "--no-deps"]
    command += ["--only-binary", ":all:", "--python", interpreter, "--resolution", resolution]
    command += [*where, *environments.links()]
    return subprocess.run(command, input=requirement, capture_output=True, text=True, timeout=300)
