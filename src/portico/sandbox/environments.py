"""Python environments for code that is not ours, made with uv and kept per requirement set.

An environment lives under `HOME/envs/<hash>/`, where the hash names its normalised requirements and its
Python. It is built beside that folder and renamed, so it is there whole or not at all; builders of the same
one queue for a file lock. Only wheels are installed; what is there as source only is made one behind the walls
(`wheels`), for this environment alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portico.errors import FailedPrecondition
from portico.sandbox import bytecode, installer, isolation, wheels
from portico.sandbox.installer import Teller
from portico.store.sizes import size_of

_RECORD = "portico.json"
_ALONE = "--no-deps"
_NO_WHEELS = re.compile(r"all versions of ([A-Za-z0-9._-]+) have no usable wheels")
_PATIENCE = 1.0  # seconds that a lock is waited for before it is told that it is busy
_SOURCE_ONLY = re.compile(
    r"Wheels are required for `([A-Za-z0-9._-]+)` because building from source is disabled"
)


def environment(
    requirements: Sequence[str],
    python: str,
    cache: Path,
    teller: Teller | None = None,
    over: Sequence[str] = (),
    alone: bool = False,
    apart: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Path:
    """The Python of an environment that has `requirements` (PEP 508 lines), built under `cache` when missing.

    `python` is a version ("3.10") or the path of an interpreter. `teller` gets uv's lines as they come, what is done
    meanwhile, or that another builds it. Those of the requirements that are in `over` are installed over the others
    where all can't be had together, whatever these ask for: as pip does in an image, together or one after the other.
    `alone`: what the requirements
    need in turn is not installed, for they are all. Nor is what those `apart` need, which come last and beside them.
    `options` are uv's, about indexes.
    May take minutes; safe for concurrent builders, in one process and in several.

    Raises:
        FailedPrecondition: there is no such Python here, or the requirements cannot be installed for it.
    """
    interpreter = python if "/" in python else find_python([python])
    wanted = sorted({normalise(line) for line in requirements})
    cache.mkdir(parents=True, exist_ok=True)
    home = place([*requirements, *([_ALONE] if alone else [])], interpreter, cache, apart, options)
    cache, key = home.parent, home.name
    if _whole(home):
        _touch(home)
        return home / "bin" / "python"
    teller = teller or Teller()
    with lock(cache / f"{key}.lock", teller, "another makes this environment; it is waited for"):
        if not _whole(home):
            for leftover in [home, *cache.glob(f".{key}-*")]:
                shutil.rmtree(leftover, ignore_errors=True)
            beside = cache / f".{key}-{os.getpid()}"
            how = [*([_ALONE] if alone else []), *options]
            _build(
                wanted, interpreter, beside, home, teller, [*dict.fromkeys(map(normalise, over))], how,
                [normalise(line) for line in apart],
            )  # fmt: skip
        _touch(home)
    return home / "bin" / "python"


def place(
    requirements: Sequence[str],
    interpreter: str,
    cache: Path,
    apart: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Path:
    """The folder of the environment of `requirements`, and those `apart`, and the Python at `interpreter`, whether it
    is there or not."""
    beside = [*(f"{_ALONE} {normalise(line)}" for line in apart), *options]
    wanted = [*sorted({normalise(line) for line in requirements}), *beside]
    return cache.resolve() / _key(wanted, interpreter)  # what is isolated sees no link on the way to it


def standing(cache: Path, key: str) -> Path | None:
    """The Python of the environment in the folder `key`, from now on in use; None where it is gone."""
    home = cache.resolve() / key
    if not _whole(home):
        return None
    _touch(home)
    return home / "bin" / "python"


def installed(python: Path) -> list[str]:
    """What is installed in an environment, as requirements of exactly these versions."""
    from importlib.metadata import distributions

    places = [str(path) for path in (python.parent.parent / "lib").glob("python3*/site-packages")]
    found = {one.metadata["Name"]: one.version for one in distributions(path=places)}
    return sorted(f"{normalise(name)}=={version}" for name, version in found.items())


def contents(cache: Path, key: str) -> str:
    """What says which packages an environment has, the same wherever these are; "" where it is gone."""
    home = cache.resolve() / key
    if not _whole(home):
        return ""
    found = sorted(path.name for path in home.glob("lib/python3*/site-packages/*.dist-info"))
    return f"{key}:{hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]}"


def remove(home: Path, *, unused_since: float) -> bool:
    """Removes the environment in the folder `home`, unless it was used after the time `unused_since`; tells which."""
    with lock(home.with_name(f"{home.name}.lock"), Teller()):
        if not _whole(home) or (home / _RECORD).stat().st_mtime > unused_since:
            return False
        gone = home.with_name(f".{home.name}-gone")
        shutil.rmtree(gone, ignore_errors=True)
        home.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    bytecode.sweep(home.parent)
    return True


def find_python(versions: Sequence[str], what: str = "This") -> str:
    """The path of an interpreter of the first of `versions` ("3.10", best first) that this machine has, for `what`.

    Raises:
        FailedPrecondition: it has none of them.
    """
    for version in versions:
        if version == f"{sys.version_info.major}.{sys.version_info.minor}":
            return os.path.realpath(sys.executable)
        for candidate in sorted(_candidates(version), key=_is_script):
            if not _is_script(candidate) or _is(candidate, version):
                return os.path.realpath(candidate)
    raise FailedPrecondition(
        f"{what} needs Python {' or '.join(versions)}, and none of these is installed on this machine. "
        f"Install one of them (for example with pyenv, or your system's package python{versions[0]})."
    )


def prefixes(python: Path) -> list[Path]:
    """The folders that `python`, an environment's, reads at run time: the environment and the Python below."""
    home = python.parent.parent
    folders = [home]
    for line in (home / "pyvenv.cfg").read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home":
            below = Path(value.strip()).parent
            folders += [below, below.resolve()]
    return list(dict.fromkeys(folders))


@dataclass(frozen=True, slots=True)
class Kept:
    """One environment in the cache, for a sweep to judge. `size` in bytes, times in seconds since the epoch."""

    path: Path
    requirements: list[str]
    size: int
    last_used: float


def kept(cache: Path) -> list[Kept]:
    """The whole environments under `cache`, the longest unused first."""
    found = []
    for record in cache.glob(f"*/{_RECORD}"):
        try:
            told = json.loads(record.read_text())
            used = record.stat().st_mtime
        except (OSError, ValueError):
            continue
        found.append(Kept(record.parent, told["requirements"], told["size"], used))
    return sorted(found, key=lambda one: one.last_used)


def normalise(requirement: str) -> str:
    """`requirement` as two spellings of it agree: the name by PEP 503, no spaces but around a marker's `;`."""
    body, semicolon, marker = requirement.partition(";")
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(.*)", body, re.DOTALL)
    if match is None:
        return requirement.strip()
    name = re.sub(r"[-_.]+", "-", match[1]).lower().rstrip("-")
    rest = "".join(match[2].split())
    clauses = rest if "[" in rest or "@" in rest else ",".join(sorted(rest.split(",")))
    return f"{name}{clauses}" + (f" ; {' '.join(marker.split())}" if semicolon else "")


def links() -> list[str]:
    """uv's options for wheels that the machine's owner has put aside where pip looks for them; UV_FIND_LINKS uv reads
    itself."""
    return [
        part for place in os.environ.get("PIP_FIND_LINKS", "").split() for part in ("--find-links", place)
    ]


def _torch(requirements: Sequence[str]) -> list[str]:
    """PyTorch's builds for processors (torch==2.4.1+cpu) lie on an index of its own, unless they were put aside."""
    asked = [line.replace("==", "-") for line in requirements if re.fullmatch(r"torch==[\d.]+\+cpu", line)]
    given = f"{os.environ.get('PIP_FIND_LINKS', '')} {os.environ.get('UV_FIND_LINKS', '').replace(',', ' ')}"
    aside = any(list(Path(place).glob(f"{one}-*.whl")) for place in given.split() for one in asked)
    return ["--torch-backend", "cpu"] if asked and not aside else []


def _key(requirements: Sequence[str], interpreter: str) -> str:
    told = json.dumps([requirements, interpreter])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _whole(home: Path) -> bool:
    # The link to the Python below dangles when that Python was removed or moved.
    return (home / _RECORD).is_file() and (home / "bin" / "python").exists()


def _touch(home: Path) -> None:
    """Notes that the environment is in use now."""
    os.utime(home / _RECORD)


@contextmanager
def lock(path: Path, teller: Teller, words: str = "") -> Iterator[None]:
    """Holds the lock of a file, once nobody else does; `words` tell that somebody has it still."""
    # A descriptor of its own per builder: flock then queues threads as well as processes.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        teller.begin()
        waits, began = False, time.monotonic()
        while not _locked(descriptor):
            if words and not waits:
                teller.say(words)
            waits = True
            if time.monotonic() - began > _PATIENCE:
                teller.busy(path)
            teller.wait(words)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody has the lock of a file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(
    requirements: Sequence[str],
    interpreter: str,
    beside: Path,
    home: Path,
    teller: Teller,
    over: Sequence[str],
    options: Sequence[str],
    apart: Sequence[str],
) -> None:
    teller.begin()
    try:
        made = ["venv", "--quiet", "--no-project", "--relocatable", "--python", interpreter, str(beside)]
        if failed := _uv(made, teller, "making its folder"):
            raise _failure(requirements, failed)
        below = [line for line in requirements if line not in over]
        try:
            if requirements:
                _install(requirements, interpreter, beside, teller, options)
        except FailedPrecondition:
            if not below or not over:
                raise
            teller.say(f"All can't be had together: {', '.join(sorted(over))} are installed over the others.")
            _install(below, interpreter, beside, teller)
            _install_over(over, below, interpreter, beside, teller)
        if apart:
            _install(apart, interpreter, beside, teller, [*options, _ALONE])
        bytecode.make(beside, home.parent, teller)
        size = size_of(beside)
        record = {
            "requirements": [*requirements, *apart],
            "python": interpreter,
            "size": size,
            "made": time.time(),
        }
        (beside / _RECORD).write_text(json.dumps(record))
        beside.rename(home)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _install_over(
    over: Sequence[str], below: Sequence[str], interpreter: str, beside: Path, teller: Teller
) -> None:
    """Installs those that go over what is there, which keeps the versions that those `below` say if that can be: else
    one after the other, as an image's RUN lines do, where the one that breaks another leaves it as it is."""
    pinned = beside / ".below.txt"
    pinned.write_text("".join(f"{line}\n" for line in below if "[" not in line))
    try:
        _install(over, interpreter, beside, teller, ["--constraint", str(pinned)])
    except FailedPrecondition:
        for line in over:
            _install([line], interpreter, beside, teller)


def _install(
    requirements: Sequence[str],
    interpreter: str,
    beside: Path,
    teller: Teller,
    options: Sequence[str] = (),
) -> None:
    listed, own = beside / ".requirements.txt", beside / ".wheels"
    listed.write_text("".join(f"{line}\n" for line in requirements))
    command = ["pip", "install", "--only-binary", ":all:"]
    command += [
        "--python",
        str(beside / "bin" / "python"),
        "-r",
        str(listed),
        *links(),
        *_torch(requirements),
        *options,
    ]
    built: set[str] = set()
    while failed := _uv(command, teller, "resolving"):
        named = _source_only(" ".join("".join(failed).split()), requirements)
        lacking = [one for one in named if one not in built]
        if not lacking or isolation.isolation().name == "none":
            raise _failure(requirements, failed)
        one = lacking[0]  # with its wheel others may be chosen that have one
        teller.say(f"{one} is there as source only: its wheel is built behind the walls")
        wheels.build(one, interpreter, own, links(), teller)
        command += [] if built else ["--find-links", str(own)]
        built.add(one)
    shutil.rmtree(own, ignore_errors=True)


def _source_only(told: str, requirements: Sequence[str]) -> list[str]:
    """What uv, which has `told` why it fails, found no wheels of, as requirements."""
    found = []
    for name in dict.fromkeys([*_NO_WHEELS.findall(told), *_SOURCE_ONLY.findall(told)]):
        asked = [line for line in requirements if re.split(r"[^a-z0-9-]", line)[0] == normalise(name)]
        versions = re.findall(
            rf"(?<!\S){re.escape(name)}([=<>!~]\S+)(?= (?:{re.escape(name)}\S+ )*ha(?:s|ve) no usable wheels)",
            told,
        )  # of several the last is the newest
        found.append(f"{name}{versions[-1]}" if versions else asked[0] if asked else name)
    return found


def _uv(arguments: list[str], teller: Teller, doing: str) -> list[str]:
    """What it said where it failed; nothing where it did not."""
    ended = installer.run_uv(arguments, teller, doing)
    return (ended.stderr or [""]) if ended.code else []


def _failure(requirements: Sequence[str], told: Sequence[str]) -> FailedPrecondition:
    return FailedPrecondition(
        f"The Python environment for {', '.join(requirements) or 'no packages'} cannot be made: {_reason(told)}"
    )


def _reason(lines: Sequence[str]) -> str:
    """What uv says, without its frames and its hints about options that nobody here can give."""
    text = "".join(lines)
    start = max(text.find("error:"), text.find("×"), 0)
    text = re.split(r"\n\s*hint:", text[start:])[0]
    text = re.sub(r"[╰├─▶│×]+|^error:|\bcause:", " ", text)
    return " ".join(text.split()) or "uv gave no reason"


def _candidates(version: str) -> Iterator[str]:
    executable = f"python{version}"
    roots = [Path(found) for found in os.environ.get("PATH", "").split(os.pathsep) if found]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python")
    roots += sorted(pyenv.glob(f"{version}.*/bin"), reverse=True)
    roots += sorted(managed.glob(f"cpython-{version}.*/bin"), reverse=True)
    for root in roots:
        if (root / executable).is_file():
            yield str(root / executable)


def _is_script(interpreter: str) -> bool:
    """Whether it is no program, but runs one, such as a pyenv shim; a program of that name is what it says."""
    with open(interpreter, "rb") as file:
        return file.read(4) != b"\x7fELF"


def _is(interpreter: str, version: str) -> bool:
    """Whether the script `interpreter` really runs as `version`: a shim is there for versions that are not. Asking
    takes up to half a second, so a program goes before it."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        told = subprocess.run([interpreter, "-I", "-c", asked], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0 and told.stdout.strip() == version
