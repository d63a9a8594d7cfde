"""`docker` under `portico exec`: build, push, pull, tag, images, rmi of images that Portico serves from their source.

What a build makes is kept as an object, so a model that is uploaded with the image's name finds it. Whatever else is
asked for goes to the machine's own docker, where there is one. It runs in the user's Python (3.7 and later): the
standard library alone.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from urllib.parse import quote

import portico_dockerfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUCKET = "portico-images"
_WITH_VALUE = (
    "--platform",
    "--progress",
    "--network",
    "--label",
    "--cache-from",
    "--cache-to",
    "--target",
    "-m",
)
_SECONDS = 600
# Images that models are served by here, though nobody has built them: a tag of one is one too.
_SERVED = re.compile(
    r"(docker\.io/)?tensorflow/serving([:@].*)?"
    r"|([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io)/(vertex-ai|cloud-aiplatform)/prediction/.*"
)


def main(arguments: list[str]) -> int:
    words = list(arguments)
    if words[:1] in (["image"], ["buildx"]):
        words = ["rmi", *words[2:]] if words[1:2] == ["rm"] else words[1:]
    if words[:1] == ["ls"]:
        words[0] = "images"
    work = {"build": _build, "push": _known, "pull": _known, "tag": _tag, "images": _images, "rmi": _remove}
    if not words or words[0] not in work:
        return _real(arguments) or _fail(
            "docker {} needs a Docker engine; Portico does {}.".format(" ".join(words[:1]), ", ".join(work))
        )
    try:
        return (
            work[words[0]](words[1:])
            if words[0] in ("build", "images")
            else _of_image(arguments, work, words)
        )
    except portico_dockerfile.Refused as refused:
        return _fail(str(refused))
    except urllib.error.HTTPError as error:
        if error.code == 403:
            return _fail(
                f"The images are in gs://{BUCKET}, a bucket of the server's own, which you may not use so. Its owner "
                f"lets you by: gcloud storage buckets add-iam-policy-binding gs://{BUCKET} --member=user:YOU "
                "--role=roles/storage.objectAdmin"
            )
        return _fail("Portico answers {}: {}".format(error.code, error.read(1000).decode(errors="replace")))
    except (OSError, ValueError) as error:
        return _fail(str(error))


def _of_image(arguments: list[str], work: Any, words: list[str]) -> int:
    """What is about an image that is here; another one is for the machine's own docker."""
    names = [one for one in words[1:] if not one.startswith("-")]
    if not names:
        return _fail(f"docker {words[0]} needs the name of an image.")
    if not exists(names[0]) and not (words[0] != "rmi" and _SERVED.fullmatch(names[0])):
        return _real(arguments) or _fail("Error response from daemon: No such image: " + canonical(names[0]))
    return int(work[words[0]](names))


def _build(words: list[str]) -> int:
    tags, file, context, arguments = _options(words)
    if not tags:
        return _fail("docker build needs the name of the image: -t NAME.")
    if file == "-":
        text = sys.stdin.read()
    else:
        with open(file or os.path.join(context, "Dockerfile"), encoding="utf-8") as source:
            text = source.read()
    image = portico_dockerfile.build(text, context, arguments, print)
    with tempfile.TemporaryFile() as packed:
        _pack(image, packed)
        for tag in tags:
            packed.seek(0)
            _upload(canonical(tag), packed)
            print("Successfully tagged " + canonical(tag))
    return 0


def _options(words: list[str]) -> tuple[list[str], str, str, dict[str, str]]:
    """Tags, the Dockerfile ("-": standard input), the folder, and the arguments of a build."""
    tags: list[str] = []
    file, context = "", ""
    arguments: dict[str, str] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if word.startswith("-f") and word != "-f" and not word.startswith("--"):
            file = word[2:].lstrip("=")
        elif name in ("-t", "--tag", "-f", "--file", "--build-arg", *_WITH_VALUE):
            value = value if equals and name.startswith("--") else waiting.pop(0)
            if name in ("-t", "--tag"):
                tags.append(value)
            elif name in ("-f", "--file"):
                file = value
            elif name == "--build-arg":
                argument, told, given = value.partition("=")
                arguments[argument] = given if told else os.environ.get(argument, "")
        elif not word.startswith("-"):
            context = word
    if not os.path.isdir(context):
        raise ValueError(f"docker build needs a folder of this machine; {context!r} is none.")
    return tags, file, context, arguments


def _pack(image: portico_dockerfile.Image, into: Any) -> None:
    told = json.dumps(image.described()).encode()
    with tarfile.open(fileobj=into, mode="w:gz", compresslevel=1) as archive:
        entry = tarfile.TarInfo("image.json")
        entry.size = len(told)
        archive.addfile(entry, io.BytesIO(told))
        for folder in sorted(image.folders - {"/"}):
            entry = tarfile.TarInfo("root" + folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for target, path in sorted(image.files.items()):
            entry = tarfile.TarInfo("root" + target)
            entry.size = os.path.getsize(path)
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            with open(path, "rb") as file:
                archive.addfile(entry, file)


def _known(names: list[str]) -> int:
    print(f"{canonical(names[0])}: Portico has it")
    return 0


def _tag(names: list[str]) -> int:
    if len(names) != 2:
        return _fail("docker tag needs two names.")
    if not exists(names[0]):
        image = portico_dockerfile.Image()
        image.base = names[0]
        with tempfile.TemporaryFile() as packed:
            _pack(image, packed)
            packed.seek(0)
            _upload(canonical(names[1]), packed)
        return 0
    source, target = (quote(canonical(name), safe="") for name in names)
    _ask("POST", f"/storage/v1/b/{BUCKET}/o/{source}/copyTo/b/{BUCKET}/o/{target}", b"{}")
    return 0


def _images(words: list[str]) -> int:
    for one in kept():
        print("{package}:{tags}  {updateTime}  {sizeBytes} bytes".format(**one))
    return 0


def kept() -> list[dict[str, str]]:
    """The images that are here, as Artifact Registry's DockerImages are shown."""
    try:
        found = json.loads(_ask("GET", f"/storage/v1/b/{BUCKET}/o"))
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        found = {}
    images = []
    for one in found.get("items", []):
        package, _, tag = one["name"].rpartition(":")
        images.append(
            {"package": package, "tags": tag, "updateTime": one["updated"], "sizeBytes": one["size"]}
        )
    return images


def _remove(names: list[str]) -> int:
    for name in names:
        _ask("DELETE", "/storage/v1/b/{}/o/{}".format(BUCKET, quote(canonical(name), safe="")))
        print("Untagged: " + canonical(name))
    return 0


def canonical(name: str) -> str:
    """The image's name with its tag."""
    return name if ":" in name.rpartition("/")[2] or "@" in name else name + ":latest"


def exists(name: str) -> bool:
    """Whether Portico has the image `name`."""
    try:
        _ask("GET", "/storage/v1/b/{}/o/{}".format(BUCKET, quote(canonical(name), safe="")))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise
    return True


def _upload(name: str, file: Any) -> None:
    path = "/upload/storage/v1/b/{}/o?uploadType=media&name={}".format(BUCKET, quote(name, safe=""))
    try:
        _ask("POST", path, file, "application/gzip")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        _make_bucket()
        file.seek(0)
        _ask("POST", path, file, "application/gzip")


def _make_bucket() -> None:
    project = os.environ.get("GOOGLE_CLOUD_PROJECT") or "portico"
    try:
        _ask("POST", "/storage/v1/b?project=" + quote(project), json.dumps({"name": BUCKET}).encode())
    except urllib.error.HTTPError as error:
        if error.code != 409:  # another build has made it
            raise


def _ask(method: str, path: str, body: Any = None, kind: str = "application/json", token: str = "") -> bytes:
    headers = {"Content-Type": kind} if body is not None else {}
    if hasattr(body, "seek"):
        headers["Content-Length"] = str(body.seek(0, 2))
        body.seek(0)
    if token:
        headers["Authorization"] = "Bearer " + token
    url = os.environ["PORTICO_URL"].rstrip("/") + path
    request = urllib.request.Request(url, body, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code != 401 or token:  # the server's own user needs none
            raise
    return _ask(method, path, body, kind, _token())


def _token() -> str:
    """Signed with the key file that `portico exec` names, where this Python can do that."""
    try:
        import google.auth
        import google.auth.transport.requests
    except ImportError:
        raise ValueError(
            "Portico asks for a token, and this Python has no google-auth to make one."
        ) from None
    credentials: Any = google.auth.default(["https://www.googleapis.com/auth/cloud-platform"])[0]
    credentials.refresh(google.auth.transport.requests.Request())
    return str(credentials.token)


def _real(arguments: list[str]) -> int:
    """Becomes the machine's own docker; comes back where there is none."""
    ours = os.path.dirname(os.path.abspath(sys.argv[0]))
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = os.path.join(folder, "docker")
        if folder and os.path.realpath(folder) != os.path.realpath(ours) and os.access(program, os.X_OK):
            sys.stdout.flush()
            os.execv(program, ["docker", *arguments])
    return 0


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
