"""The shell scripts in which kfp wraps a Python component, read: what they install, and what they run.

Every version of kfp 2 writes a command like `sh -c 'INSTALLS && "$0" "$@"' sh -ec PROGRAM SOURCE ARGUMENTS`, where the
program puts the source into a file and has `python3 -m kfp.dsl.executor_main` run it. Where a script says anything
else, it is no script of kfp's, and runs as it stands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GOOGLES = "google_cloud_pipeline_components"  # the package of Google's own components
_SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash")
_ENSURE_PIP = re.compile(r"\s*if ! \[ -x \"\$\(command -v pip\)\" \]; then\s.*?\sfi\s", re.DOTALL)
_VENV = re.compile(
    r"export PIP_DISABLE_PIP_VERSION_CHECK=1\s+tmp=\$\(mktemp -d\)\s+"
    r"python3 -m venv \"\$tmp/venv\" --system-site-packages\s+\. \"\$tmp/venv/bin/activate\"\s"
)
_PROGRAM = re.compile(
    r"\s*program_path=\$\(mktemp -d\)\s+printf \"%s\" \"\$0\" > \"\$program_path/ephemeral_component\.py\"\s+"
    r"(?P<variables>(?:[A-Z_a-z]\w*=\w+ )*)python3 -m (?P<module>kfp(?:\.\w+)*\.executor_main)\s+"
    r"--component_module_path\s+\"\$program_path/ephemeral_component\.py\"\s+\"\$@\"\s*"
)
_PACKAGED = re.compile(
    r"pip install --upgrade pip && pip3 install -q --user /gcs/(?P<package>[\w./:-]+\.tar\.gz) && "
    r"python3 -m (?P<module>\w+(?:\.\w+)*)(?: (?P<arguments>.*))?"
)
_OF_A_SHELL = frozenset("$`;&|<>()*?[\n")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=\S*")
_INDEXES = {
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "--trusted-host": "--allow-insecure-host",
    "-f": "--find-links",
    "--find-links": "--find-links",
}
_WITHOUT_EFFECT = {
    *(
        "-q",
        "--quiet",
        "--no-warn-script-location",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--user",
    ),
    *("-U", "--upgrade", "--root-user-action=ignore", "--break-system-packages"),
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """`requirements` (PEP 508), those that are installed `apart` from what they need, and uv's `options` about indexes.
    What runs is `command`, or else the `module` with the `arguments` and `variables`: of kfp's own, which is given the
    `source`, or one of Google's components."""

    requirements: tuple[str, ...]
    apart: tuple[str, ...]
    options: tuple[str, ...]
    command: tuple[str, ...]
    source: str | None = None
    module: str = ""
    arguments: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def recognise(command: Sequence[str]) -> Recognised:
    """What a whole command, its arguments included, means."""
    installs = (
        _installs(command[2]) if len(command) > 3 and command[0] in _SHELLS and command[1] == "-c" else None
    )
    rest = tuple(command[3:] if installs else command)
    requirements, apart, options = installs or ((), (), ())
    if len(rest) > 3 and rest[0] in _SHELLS and rest[1] == "-ec" and (found := _PROGRAM.fullmatch(rest[2])):
        variables = tuple(
            (name, value) for name, _, value in (one.partition("=") for one in found["variables"].split())
        )
        return Recognised(requirements, apart, options, rest, rest[3], found["module"], rest[4:], variables)
    plain = [word for word in rest if word != "-u"] if rest[:1] in (("python3",), ("python",)) else []
    if plain[1:2] == ["-m"] and plain[2:] and plain[2].startswith(f"{GOOGLES}."):
        arguments = rest[rest.index(plain[2]) + 1 :]
        return Recognised(requirements, apart, options, rest, None, plain[2], arguments)
    return Recognised(requirements, apart, options, rest)


def packaged(container: Mapping[str, Any]) -> dict[str, Any] | None:
    """The PythonPackageSpec that a ContainerSpec is whose one command installs a package and runs a module of it: so
    `CustomJob.from_local_script` writes it for an image that is none of Google's."""
    command = [*(container.get("command") or []), *(container.get("args") or [])]
    if len(command) != 3 or command[0] not in _SHELLS or command[1] != "-c":
        return None
    found = _PACKAGED.fullmatch(command[2])
    if found is None:
        return None
    try:
        arguments = _words(found["arguments"] or "")
    except ValueError:
        return None
    if any(set(word) & _OF_A_SHELL for word in arguments):  # it would mean more to a shell
        return None
    return {
        "packageUris": [f"gs://{found['package']}"],
        "pythonModule": found["module"],
        "args": arguments,
        "env": container.get("env") or [],
    }


_Installs = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _installs(script: str) -> _Installs | None:
    """What a script installs before it becomes the rest of the command; None where it does something else."""
    script = _VENV.sub("", _ENSURE_PIP.sub("", script, count=1), count=1)
    try:
        steps = [_words(step) for step in script.split("&&")]
    except ValueError:
        return None
    *installs, last = steps
    if last != ["$0", "$@"] or not installs:
        return None
    requirements: list[str] = []
    apart: list[str] = []
    options: list[str] = []
    for step in installs:
        read = _install(step)
        if read is None:
            return None
        (apart if read[1] else requirements).extend(read[0])
        options += read[2]
    pairs = dict.fromkeys(zip(options[::2], options[1::2], strict=True))
    return tuple(requirements), tuple(apart), tuple(word for pair in pairs for word in pair)


def _words(step: str) -> list[str]:
    """A command's words, and by themselves what is none to a shell (`;`, `>`, …) where it isn't quoted."""
    words = shlex.shlex(step, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    return list(words)


def _install(step: list[str]) -> tuple[list[str], bool, list[str]] | None:
    words = list(step)
    while words and _VARIABLE.fullmatch(words[0]):
        words.pop(0)
    if words[:3] in (["python3", "-m", "pip"], ["python", "-m", "pip"]):
        words = words[2:]
    if words[:2] not in (["pip", "install"], ["pip3", "install"]):
        return None
    requirements: list[str] = []
    options: list[str] = []
    alone = False
    left = iter(words[2:])
    for word in left:
        name, equals, value = word.partition("=")
        if word == "--no-deps":
            alone = True
        elif name in _INDEXES:
            place = value if equals else next(left, "")
            if name != "--trusted-host" and not _is_web(place):
                return None
            options += [_INDEXES[name], place]
        elif word in _WITHOUT_EFFECT:
            continue
        elif word.startswith("-") or not _is_requirement(word):
            return None
        else:
            requirements.append(word)
    return (requirements, alone, options) if requirements and all(options) else None


def _is_requirement(word: str) -> bool:
    """Whether it is one that needs nothing but wheels, and nothing of this machine: what lies in files pip finds,
    behind the walls."""
    name, _, url = word.partition("@")
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(\s*[\[<>=!~; ].*)?\s*", name) is not None and (
        not url or _is_web(url.strip())
    )


def _is_web(place: str) -> bool:
    return place.startswith(("https://", "http://"))
