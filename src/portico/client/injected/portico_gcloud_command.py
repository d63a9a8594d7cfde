"""`gcloud` and `gsutil` as training code and notebooks use them, against this server. What is not here is refused by
name, and never asked of Google.

They run in the caller's own Python, which may be without Portico: the standard library and Google's clients.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from typing import IO, TYPE_CHECKING, Any

import portico_gcloud_asking as asking
import portico_gcloud_policies as policies
import portico_gcloud_shown as shown
import portico_storage_command as storage

if TYPE_CHECKING:
    from collections.abc import Callable

_ALONE = ("--quiet", "-q")
_PROJECTS = "apis/cloudresourcemanager/v1/projects"
_NOTHING = {  # what there is nothing to do for, and why
    ("auth", "login"): "nobody logs in",
    ("auth", "application-default", "login"): "nobody logs in",
    ("auth", "configure-docker"): "`docker` knows images by their names alone",
    ("components", "update"): "there is nothing to update",
    ("services", "enable"): "every API that is built is there",
}


def gsutil(arguments: list[str]) -> int:
    code: int = storage.run("gsutil", [one for one in arguments if one not in ("-m", *_ALONE)])
    return code


def gcloud(arguments: list[str]) -> int:
    words = [one for one in arguments if one not in _ALONE]
    track = words[0] if words[:1] in (["beta"], ["alpha"]) else ""
    words = words[1:] if track else words
    if words[:1] == ["storage"]:
        code: int = storage.gcloud_storage(words[1:])
        return code
    verbs, options = asking.given(words)
    for path, why in _NOTHING.items():
        if tuple(verbs[: len(path)]) == path:
            print(f"gcloud {' '.join(path)} under Portico: {why}.", file=sys.stderr)
            return 0
    if "--no-user-output-enabled" in options or options.get("--user-output-enabled") == "false":
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            return _done(verbs, options, track, nowhere)
    return _done(verbs, options, track, sys.stderr)


def _done(verbs: list[str], options: dict[str, str], track: str, status: IO[str]) -> int:
    """`status`: where a command tells how it goes; what is wrong is told on stderr."""
    path = next((path for path in _DO if tuple(verbs[: len(path)]) == path), ())
    if not path and verbs[:1] not in (["ai"], ["iam"]):
        return _fail(f"gcloud {' '.join(verbs[:3])} is not built in Portico; gcloud storage is.")
    try:
        with contextlib.redirect_stderr(status):
            if path:
                return _DO[path](verbs[len(path) :], options)
            path, command, told = _command(verbs)
            if command is None:
                return _fail(told)
            asked = asking.Asked(
                verbs[len(path) :], options, _ask, options.get("--project") or _project(), _region(), track
            )
            command.check(" ".join(path), asked)
            if path[0] == "ai":
                print(f"Using endpoint [{os.environ['PORTICO_URL']}/]", file=sys.stderr)
            code: int = command.run(asked)
            return code
    except asking.Usage as error:
        _fail(f"ERROR: (gcloud.{'.'.join([track, *path] if track else path)}) {error}")
        return 2
    except (OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        return _fail(f"ERROR: (gcloud.{'.'.join([track, *path] if track else path)}) {error}")


def _command(verbs: list[str]) -> tuple[tuple[str, ...], asking.Command | None, str]:
    """A command of `gcloud ai` or `iam` after the words that it is; of one that is not built, what is said of that."""
    if verbs[0] == "ai":
        import portico_gcloud_ai

        built = portico_gcloud_ai.commands()
    else:
        import portico_gcloud_iam

        built = portico_gcloud_iam.COMMANDS
    for size in (3, 2):
        command = built.get(" ".join(verbs[1 : 1 + size]))
        if command:
            return tuple(verbs[: 1 + size]), command, ""
    near = [one for one in built if one.split()[0] == "".join(verbs[1:2])]
    there = [one.partition(" ")[2] for one in near] or sorted({one.split()[0] for one in built})
    return (), None, f"gcloud {' '.join(verbs[:3])} is not built in Portico; there are {', '.join(there)}."


def _fail(message: str) -> int:
    code: int = storage.fail(message)
    return code


def _credentials() -> Any:
    import google.auth

    return google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])


def _project() -> str:
    return str(storage.project() or _credentials()[1] or "")


def _account() -> str:
    return str(getattr(_credentials()[0], "service_account_email", ""))


def _set(names: list[str], options: dict[str, str]) -> int:
    """`config set project P` and `config set ai/region R`."""
    key = {"project": "core/project"}.get(names[0], names[0]) if names else ""
    place = storage.kept(key)
    if len(names) != 2 or not place:
        return _fail(f"gcloud config set {key} is not built in Portico; project and ai/region are.")
    # It lies in the home, where all is the owner's alone.
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(names[1])
    print(f"Updated property [{key}].", file=sys.stderr)
    return 0


def _region() -> str:
    return str(storage.kept_value("ai/region") or "us-central1")


def _config(names: list[str], options: dict[str, str]) -> int:
    """`config list` and `config get-value`: the project, the account and Vertex AI's region."""
    known = {"project": _project, "account": _account}
    if storage.kept_value("ai/region"):
        known["ai/region"] = _region
    wanted = [one if one == "ai/region" else one.rpartition("/")[2] for one in names] or [
        one for one in known if one in options.get("--format", one)
    ]
    for one in wanted:
        if one not in known:
            print("(unset)", file=sys.stderr)
        elif names or "--format" in options:
            print(known[one]())
        else:
            print(f"[core]\n{one} = {known[one]()}")
    return 0


def _auth_list(names: list[str], options: dict[str, str]) -> int:
    account = _account()
    if "--format" in options:
        print(account)
    else:
        print(f"Credentialed Accounts\nACTIVE  ACCOUNT\n*       {account}")
    return 0


def _token(names: list[str], options: dict[str, str]) -> int:
    from google.auth.transport.requests import Request

    found = _credentials()[0]
    found.refresh(Request())
    print(found.token)
    return 0


def _ask(method: str, path: str, body: Any = None, api: str = _PROJECTS, headers: Any = None) -> Any:
    """The answer of a method of Resource Manager's projects, or of another API; to a body of bytes, the bytes of it.

    Raises:
        Refused: it refuses.
    """
    from google.auth.transport import requests

    url = f"{os.environ['PORTICO_URL']}/{api}/{path}".rstrip("/")
    session: Any = requests.AuthorizedSession
    sent: dict[str, Any] = {"data": body, "headers": headers} if isinstance(body, bytes) else {"json": body}
    answer = session(_credentials()[0]).request(method, url, **sent)
    if answer.status_code == 200 and isinstance(body, bytes):
        return answer.content
    try:
        told = answer.json()
    except ValueError:
        told = {"error": {"message": answer.text}}
    if answer.status_code != 200:
        error = told["error"]
        raise asking.Refused(error.get("status") or f"HTTPError {answer.status_code}", error["message"])
    return told


def _describe(names: list[str], options: dict[str, str]) -> int:
    told = _ask("GET", names[0] if names else _project())
    shown.resource(told, options.get("--format", ""))
    return 0


def _projects(names: list[str], options: dict[str, str]) -> int:
    """`projects list`."""
    columns = {
        "PROJECT_ID": lambda one: one["projectId"],
        "NAME": lambda one: one.get("name", ""),
        "PROJECT_NUMBER": lambda one: one["projectNumber"],
    }
    shown.resources(asking.listed(_ask, "", "projects", _PROJECTS), options, columns)
    return 0


def _policies(verb: str) -> Callable[[list[str], dict[str, str]], int]:
    """`projects get-iam-policy`, `add-iam-policy-binding` and `remove-iam-policy-binding`."""
    command = policies.commands("project", "PROJECT_ID_OR_NUMBER", lambda one: one, _PROJECTS, body=True)[
        verb
    ]

    def run(names: list[str], options: dict[str, str]) -> int:
        asked = asking.Asked(names, options, _ask, "", "", "")
        command.check(f"projects {verb}", asked)
        code: int = command.run(asked)
        return code

    return run


def _build(names: list[str], options: dict[str, str]) -> int:
    """`builds submit --tag=IMAGE [FOLDER]`, as `docker build` does it here."""
    import portico_docker

    if not options.get("--tag"):
        return _fail("gcloud builds submit needs --tag=IMAGE in Portico; a cloudbuild.yaml is not read.")
    code: int = portico_docker.main(["build", "-t", options["--tag"], names[0] if names else "."])
    return code


def _remove_image(names: list[str], options: dict[str, str]) -> int:
    """`artifacts docker images delete IMAGE`: those that `docker build` has made here."""
    import portico_docker

    if len(names) != 1:
        return _fail("gcloud artifacts docker images delete needs the name of an image.")
    code: int = portico_docker.main(["rmi", names[0]])
    return code


def _images(names: list[str], options: dict[str, str]) -> int:
    """`artifacts docker images list REPOSITORY`."""
    import portico_docker

    if len(names) != 1:
        return _fail("gcloud artifacts docker images list needs LOCATION-docker.pkg.dev/PROJECT/REPOSITORY.")
    columns = {"IMAGE": lambda one: one["package"], "TAGS": lambda one: one["tags"]}
    found = [one for one in portico_docker.kept() if one["package"].startswith(names[0].rstrip("/") + "/")]
    shown.resources(found, options, columns)
    return 0


def _repositories(names: list[str], options: dict[str, str]) -> int:
    import portico_gcloud_artifacts

    code: int = portico_gcloud_artifacts.run(names, options, _ask, _project())
    return code


_DO: dict[tuple[str, ...], Callable[[list[str], dict[str, str]], int]] = {
    ("artifacts", "docker", "images", "delete"): _remove_image,
    ("artifacts", "docker", "images", "list"): _images,
    ("artifacts", "repositories"): _repositories,
    ("auth", "application-default", "print-access-token"): _token,
    ("auth", "list"): _auth_list,
    ("auth", "print-access-token"): _token,
    ("builds", "submit"): _build,
    ("config", "get"): _config,
    ("config", "get-value"): _config,
    ("config", "list"): _config,
    ("config", "set"): _set,
    ("container", "images", "delete"): _remove_image,
    ("projects", "add-iam-policy-binding"): _policies("add-iam-policy-binding"),
    ("projects", "describe"): _describe,
    ("projects", "get-iam-policy"): _policies("get-iam-policy"),
    ("projects", "list"): _projects,
    ("projects", "remove-iam-policy-binding"): _policies("remove-iam-policy-binding"),
}


def main(command: str, arguments: list[str]) -> int:
    warnings.simplefilter("ignore", FutureWarning)  # what Google's clients tell an old Python each time
    try:
        return (gsutil if command == "gsutil" else gcloud)(arguments)
    except ImportError as error:
        return _fail(f"{command} needs Google's clients in this Python: {error.msg}.")
    except (OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _fail(str(error))
