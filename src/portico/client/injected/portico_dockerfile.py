"""What a Dockerfile of plain instructions makes, without Docker: files, packages of Python, variables, a command.

FROM a Python, one of Google's prediction or training images or a library's own, COPY and ADD of local files, RUN of
`pip install`, `mkdir` and `rm`, ENV, ARG, WORKDIR, EXPOSE, ENTRYPOINT and CMD. Packages of the system are not
installed, which is told: what runs in the image finds those of this machine. Whatever else would change the image is
refused with its line. It runs in the user's own Python (3.7 and later): the standard library alone.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import posixpath
import re
import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_BASES = re.compile(
    r"(?:docker\.io/)?(?:library/)?python:3(?:\.\d+){0,2}(?:[.-][\w.-]+)?"
    r"|(?:docker\.io/)?tiangolo/uvicorn-gunicorn(?:-fastapi|-starlette)?:python3\.\d+[\w.-]*"
    r"|(?:[a-z0-9-]+-docker\.pkg\.dev/(?:vertex-ai|cloud-aiplatform)|(?:(?:us|eu|asia)\.)?gcr\.io/cloud-aiplatform)"
    r"/(?:prediction|training)/[\w.:@-]+"
    r"|(?:(?:(?:us|eu|asia)\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev)/deeplearning-platform-release/[\w./:@-]+"
    r"|(?:docker\.io/)?(?:tensorflow/tensorflow|pytorch/pytorch)(?::[\w.-]+)?"
)
_VARIABLE = re.compile(r"\\(\$)|\$(?:(\w+)|\{(\w+)(?::([-+])([^}]*))?\})")
# Of no consequence to what runs here: who it runs as, what is told of it, how Docker looks after it.
_NOTHING = ("LABEL", "MAINTAINER", "USER", "STOPSIGNAL", "HEALTHCHECK", "VOLUME")
_NO_STEPS = ("chmod", "chown", "useradd", "adduser", "groupadd", "addgroup", "echo", "true", "ls", "pwd")
_SYSTEM = ("apt", "apt-get", "apt-key", "apk", "dnf", "microdnf", "yum")
_OF_SYSTEM = ("/dev/", "/etc/", "/usr/share/keyrings/", "/var/lib/apt/")  # what only these programs read
_REDIRECTED = re.compile(r"[12&]?>>?(?P<target>.*)")
_PIP = (["pip"], ["pip3"], ["python", "-m", "pip"], ["python3", "-m", "pip"], ["uv", "pip"])
_PIP_FLAGS = (
    *(
        "--no-cache-dir",
        "--upgrade",
        "-U",
        "--force-reinstall",
        "--user",
        "--quiet",
        "-q",
        "--system",
        "--no-cache",
    ),
    *(
        "--ignore-installed",
        "-I",
        "--disable-pip-version-check",
        "--pre",
        "--no-warn-script-location",
        "--no-input",
    ),
    "--prefer-binary",
)
_PIP_WITH = ("--timeout", "--default-timeout", "--retries", "--trusted-host", "--progress-bar")
_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # known here without being told


class Refused(Exception):
    """The Dockerfile can't be followed: its line, and why."""


class Image:
    """`files` has a path in the image for each file on this machine; `folders` those that were made."""

    def __init__(self) -> None:
        self.base = ""
        self.files: dict[str, str] = {}
        self.folders: set[str] = set()
        self.requirements: list[str] = []
        self.packages: list[str] = []  # paths in the image
        self.environment: dict[str, str] = {}
        self.workdir = "/"
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.ports: list[int] = []

    def described(self) -> dict[str, Any]:
        """All but the files, as JSON has it."""
        kept = (
            "base",
            "requirements",
            "packages",
            "environment",
            "workdir",
            "entrypoint",
            "command",
            "ports",
        )
        return {name: getattr(self, name) for name in kept}


def build(text: str, context: str, arguments: dict[str, str], say: Callable[[str], None]) -> Image:
    """The image that the Dockerfile `text` makes of the folder `context`; `arguments` are --build-arg's.

    Raises:
        Refused: with the line.
    """
    return _Builder(context, arguments).run(text, say)


class _Builder:
    def __init__(self, context: str, arguments: dict[str, str]) -> None:
        self.image = Image()
        self.context = os.path.abspath(context)
        self.given = arguments
        self.arguments: dict[str, str] = {}
        self.ignored = _ignored(self.context)
        self.say: Callable[[str], None] = print

    def run(self, text: str, say: Callable[[str], None]) -> Image:
        self.say = say
        steps = list(_instructions(text))
        for count, (number, word, rest) in enumerate(steps, 1):
            say(f"Step {count}/{len(steps)} : {word} {rest}")
            try:
                self.step(word, rest)
            except (Refused, OSError, ValueError) as error:
                raise Refused(f"Dockerfile line {number}: {word} {rest}: {error}") from None
        if not self.image.base:
            raise Refused("The Dockerfile has no FROM.")
        return self.image

    def step(self, word: str, rest: str) -> None:
        if word in _NOTHING:
            return
        known = {
            "FROM": self.base, "COPY": self.copy, "ADD": self.copy, "RUN": self.shell, "ENV": self.env,
            "ARG": self.arg, "WORKDIR": self.workdir, "EXPOSE": self.expose,
        }  # fmt: skip
        if word in ("ENTRYPOINT", "CMD"):
            setattr(self.image, "entrypoint" if word == "ENTRYPOINT" else "command", _command(rest))
            if word == "ENTRYPOINT":
                self.image.command = []
        elif word in known:
            known[word](rest)
        else:
            raise Refused("Portico follows no " + word)

    def base(self, rest: str) -> None:
        words = [one for one in self.filled(rest).split() if not one.startswith("--platform")]
        if self.image.base:
            raise Refused("an image of several stages needs a Docker engine")
        if not words or not _BASES.fullmatch(words[0]):
            raise Refused(
                "images are made from python:3.X, tiangolo/uvicorn-gunicorn-fastapi, tensorflow/tensorflow, "
                "pytorch/pytorch, Google's prebuilt prediction and training images or Deep Learning Containers here"
            )
        self.image.base = words[0]

    def env(self, rest: str) -> None:
        self.image.environment.update({name: self.filled(value) for name, value in _pairs(rest)})

    def arg(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.arguments[name] = self.given.get(name, self.filled(value))

    def workdir(self, rest: str) -> None:
        self.image.workdir = self.at(_unquoted(self.filled(rest)))
        self.image.folders.add(self.image.workdir)

    def expose(self, rest: str) -> None:
        for port in self.filled(rest).split():
            self.image.ports.append(int(port.partition("/")[0]))

    def filled(self, text: str) -> str:
        """`text` with the variables that are known."""
        known = {**self.arguments, **self.image.environment}

        def value(match: Any) -> str:
            if match[1]:
                return "$"
            found = known.get(match[2] or match[3], "")
            if match[4] == "-":
                return found or str(match[5])
            return (str(match[5]) if found else "") if match[4] == "+" else found

        return _VARIABLE.sub(value, text)

    def at(self, path: str) -> str:
        """Where `path` is in the image, from its working folder."""
        return posixpath.normpath(posixpath.join("/", self.image.workdir, path))

    # --- COPY ---------------------------------------------------------------------------------------------

    def copy(self, rest: str) -> None:
        words = _command(rest) if rest.lstrip().startswith("[") else shlex.split(rest)
        options = [one for one in words if one.startswith("--")]
        words = [self.filled(one) for one in words if not one.startswith("--")]
        for option in options:
            if not option.startswith(("--chown", "--chmod", "--link")):
                raise Refused(option + " needs a Docker engine")
        if len(words) < 2:
            raise Refused("it needs a source and a destination")
        sources, target = words[:-1], words[-1]
        found = [path for source in sources for path in self.matching(source)]
        into = (
            target.endswith("/")
            or target in (".", "..")
            or len(found) > 1
            or self.at(target) in self.image.folders
        )
        for path in found:
            self.put(path, self.at(target), into)

    def matching(self, source: str) -> list[str]:
        if "://" in source:
            raise Refused("nothing is fetched from elsewhere: download it into the folder")
        pattern = os.path.normpath(os.path.join(self.context, source.lstrip("/")))
        if os.path.commonpath([self.context, pattern]) != self.context:
            raise Refused(source + " is outside of the build's folder")
        found = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        found = [path for path in found if path == self.context or not self.is_ignored(path)]
        if not found:
            raise Refused("there is no " + source)
        return found

    def put(self, path: str, target: str, into: bool) -> None:
        if os.path.isfile(path):
            self.add(path, posixpath.join(target, os.path.basename(path)) if into else target)
            return
        self.image.folders.add(target)
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(one for one in folders if not self.is_ignored(os.path.join(folder, one)))
            inside = os.path.relpath(folder, path).replace(os.sep, "/")
            below = posixpath.normpath(posixpath.join(target, inside))
            self.image.folders.add(below)
            for name in sorted(names):
                if not self.is_ignored(os.path.join(folder, name)):
                    self.add(os.path.join(folder, name), posixpath.join(below, name))

    def add(self, path: str, target: str) -> None:
        real = os.path.realpath(path)
        if os.path.commonpath([os.path.realpath(self.context), real]) != os.path.realpath(self.context):
            raise Refused(path + " is a link that leads out of the build's folder")
        if os.path.isfile(real):
            self.image.files[target] = real

    def is_ignored(self, path: str) -> bool:
        name = os.path.relpath(path, self.context).replace(os.sep, "/")
        told = False
        for negated, pattern in self.ignored:
            if _matches(name, pattern):
                told = not negated
        return told

    # --- RUN ----------------------------------------------------------------------------------------------

    def shell(self, rest: str) -> None:
        if rest.startswith(("--", "<<")):
            raise Refused("it needs a Docker engine")
        text = " ".join(map(shlex.quote, _command(rest))) if rest.startswith("[") else rest
        for line in re.split(r"&&|;", self.filled(text)):
            piped = [shlex.split(part) for part in line.split("|")]
            words = [words[1:] if words[:1] == ["sudo"] else words for words in piped]
            self.run_piped([one for one in words if one])

    def run_piped(self, piped: list[list[str]]) -> None:
        last = piped[-1] if piped else []
        if last[:1] and last[0] in _SYSTEM:
            self.say(
                "Portico installs no packages of the system; what runs in the image finds those of this machine: "
                + " ".join(last)
            )
        elif last[:1] != ["tee"] or not last[-1].startswith(_OF_SYSTEM):
            for words in piped:
                self.run_one(self.unredirected(words))

    def unredirected(self, words: list[str]) -> list[str]:
        """Without what says where its output goes, which must be of no consequence."""
        kept, waiting = [], list(words)
        while waiting:
            word = waiting.pop(0)
            found = _REDIRECTED.fullmatch(word)
            if found is None:
                kept.append(word)
                continue
            target = found["target"] or (waiting.pop(0) if waiting else "")
            if not target.startswith(("&", *_OF_SYSTEM)):
                raise Refused(f"a file that a program writes ({target}) needs a Docker engine; COPY one")
        return kept

    def run_one(self, words: list[str]) -> None:
        pip = next((one for one in _PIP if words[: len(one)] == one), None)
        if pip and words[len(pip) : len(pip) + 1] == ["install"]:
            self.install(words[len(pip) + 1 :])
        elif words[0] == "mkdir":
            names = [one for at, one in enumerate(words[1:]) if not one.startswith("-") and words[at] != "-m"]
            self.image.folders.update(self.at(one) for one in names)
        elif words[0] == "rm":
            for pattern in (self.at(one) for one in words[1:] if not one.startswith("-")):
                self.remove(pattern)
        elif words[0] not in _NO_STEPS:
            raise Refused(f"RUN does pip install, mkdir and rm here; {words[0]} needs a Docker engine")

    def remove(self, pattern: str) -> None:
        def stays(path: str) -> bool:
            return not fnmatch.fnmatchcase(path, pattern) and not fnmatch.fnmatchcase(path, pattern + "/*")

        self.image.files = {path: file for path, file in self.image.files.items() if stays(path)}
        self.image.folders = {path for path in self.image.folders if stays(path)}

    def install(self, words: list[str]) -> None:
        waiting = list(words)
        while waiting:
            word = waiting.pop(0)
            name, equals, value = word.partition("=")
            if word in _PIP_FLAGS or (name in _PIP_WITH and equals):
                continue
            if word in _PIP_WITH:
                waiting.pop(0)
            elif name in ("-r", "--requirement"):
                self.listed(value or waiting.pop(0))
            elif name in ("--index-url", "--extra-index-url", "-i", "-f", "--find-links"):
                if (value or waiting.pop(0)).rstrip("/") != _TORCH_INDEX:
                    raise Refused(name + " is not followed: packages come from this machine's index")
            elif word in ("-e", "--editable"):
                continue
            elif word.startswith("-"):
                raise Refused(f"pip's {word} is not known here")
            else:
                self.require(word, self.image.workdir)

    def listed(self, name: str) -> None:
        path = self.at(name)
        if path not in self.image.files:
            raise Refused(f"the image has no {path}; copy it before")
        with open(self.image.files[path], encoding="utf-8") as file:
            text = file.read().replace("\\\n", " ")
        for line in text.splitlines():
            line = re.sub(r"(^|\s)#.*", "", line).strip()
            if line.startswith("-"):
                self.install(shlex.split(line))
            elif line:
                self.require(line, posixpath.dirname(path))

    def require(self, requirement: str, folder: str) -> None:
        path = posixpath.normpath(posixpath.join(folder, requirement.partition("[")[0]))
        here = path in self.image.files or path in self.image.folders
        if here and (
            "/" in requirement or requirement.startswith(".") or path.endswith((".whl", ".gz", ".zip"))
        ):
            self.image.packages.append(path)
        elif re.split(r"[<>=!~ ;]", requirement)[0] not in ("pip", "setuptools", "wheel"):
            self.image.requirements.append(requirement)


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """The number of its first line, the word in capitals, and the rest of each instruction."""
    kept, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and kept):
            continue
        first = first if kept else number
        kept += line.rstrip()
        if kept.endswith("\\"):
            kept = kept[:-1] + " "
            continue
        word, _, rest = kept.strip().partition(" ")
        kept = ""
        if word:
            yield first, word.upper(), " ".join(rest.split())


def _command(rest: str) -> list[str]:
    """The words of a command: JSON, or else a shell's line."""
    if rest.startswith("["):
        try:
            return [str(word) for word in json.loads(rest)]
        except ValueError:
            raise Refused("it is no JSON list of words") from None
    return ["/bin/sh", "-c", rest] if rest else []


def _pairs(rest: str) -> Iterator[tuple[str, str]]:
    if "=" not in rest.split(" ")[0]:  # the old form: ENV NAME all that follows
        name, _, value = rest.partition(" ")
        yield name, value
        return
    for word in shlex.split(rest):
        name, _, value = word.partition("=")
        yield name, value


def _unquoted(text: str) -> str:
    return "".join(shlex.split(text)) if text[:1] in "\"'" else text


def _ignored(context: str) -> list[tuple[bool, str]]:
    """The patterns of .dockerignore, in order: whether one takes back, and what."""
    try:
        with open(os.path.join(context, ".dockerignore"), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError:
        return []
    kept = [line for line in lines if line and not line.startswith("#")]
    return [(line.startswith("!"), line.lstrip("!").strip().strip("/")) for line in kept]


def _matches(name: str, pattern: str) -> bool:
    """Whether `pattern` means the file `name`, or a folder that it is in."""
    if pattern.startswith("**/") and _matches(name, pattern[3:]):
        return True
    steps, wanted = name.split("/"), pattern.split("/")
    if "**" in wanted:
        return fnmatch.fnmatchcase(name, pattern.replace("**", "*"))
    return len(wanted) <= len(steps) and all(map(fnmatch.fnmatchcase, steps, wanted))
