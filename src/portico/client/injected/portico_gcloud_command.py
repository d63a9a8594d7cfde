"""`gcloud` and `gsutil` as training code and notebooks use them, against this server. What is not here is refused by
name, and never asked of Google.

They run in the caller's own Python, which may be without Portico: the standard library and Google's clients.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

import portico_storage_command as storage

if TYPE_CHECKING:
    from collections.abc import Callable

_ALONE = ("--quiet", "-q")
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
    if words[:1] in (["beta"], ["alpha"]):
        words = words[1:]
    if words[:1] == ["storage"]:
        code: int = storage.gcloud_storage(words[1:])
        return code
    verbs, given = storage.parsed(words)
    options = {one.partition("=")[0]: one.partition("=")[2] or value for one, value in given.items()}
    for path, why in _NOTHING.items():
        if tuple(verbs[: len(path)]) == path:
            print(f"gcloud {' '.join(path)} under Portico: {why}.", file=sys.stderr)
            return 0
    for path, do in _DO.items():
        if tuple(verbs[: len(path)]) == path:
            return do(verbs[len(path) :], options)
    return _fail(f"gcloud {' '.join(verbs[:3])} is not built in Portico; gcloud storage is.")


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
    """`config set project P`."""
    place = storage.kept_project()
    if len(names) != 2 or names[0].rpartition("/")[2] != "project" or not place:
        return _fail(f"gcloud config set {names[0] if names else ''} is not built in Portico; project is.")
    # It lies in the home, where all is the owner's alone.
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(names[1])
    print("Updated property [core/project].", file=sys.stderr)
    return 0


def _config(names: list[str], options: dict[str, str]) -> int:
    """`config list` and `config get-value`: the project and the account."""
    known = {"project": _project, "account": _account}
    wanted = [one.rpartition("/")[2] for one in names] or [
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


def _ask(method: str, path: str, body: Any = None, api: str = "apis/cloudresourcemanager/v1/projects") -> Any:
    """The answer of a method of Resource Manager's projects, or of another API.

    Raises:
        ValueError: it refuses.
    """
    from google.auth.transport import requests

    url = f"{os.environ['PORTICO_URL']}/{api}/{path}"
    session: Any = requests.AuthorizedSession
    answer = session(_credentials()[0]).request(method, url, json=body)
    told = answer.json()
    if answer.status_code != 200:
        raise ValueError(told["error"]["message"])
    return told


def _describe(names: list[str], options: dict[str, str]) -> int:
    told = _ask("GET", names[0] if names else _project())
    form = options.get("--format", "")
    if form and not form.startswith("value("):
        return _fail(f"--format {form} is not built in Portico; value(FIELD) is.")
    if form:
        print("\t".join(str(told.get(key.strip(), "")) for key in form[6:].rstrip(")").split(",")))
        return 0
    for key in sorted(told):
        shown = f"'{told[key]}'" if str(told[key]).isdigit() else told[key]
        print(f"{key}: {shown}")
    return 0


def _bind(names: list[str], options: dict[str, str]) -> int:
    """`projects add-iam-policy-binding PROJECT --member=… --role=…`."""
    project, member, role = names[0], options.get("--member", ""), options.get("--role", "")
    if options.get("--condition", "None") != "None":
        return _fail("--condition is not built in Portico's gcloud; use Resource Manager's client.")
    policy = _ask("POST", f"{project}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}})
    policy.setdefault("bindings", []).append({"role": role, "members": [member]})
    _ask("POST", f"{project}:setIamPolicy", {"policy": policy})
    print(f"Updated IAM policy for project [{project}].", file=sys.stderr)
    return 0


def _build(names: list[str], options: dict[str, str]) -> int:
    """`builds submit --tag=IMAGE [FOLDER]`, as `docker build` does it here."""
    import portico_docker

    if not options.get("--tag"):
        return _fail("gcloud builds submit needs --tag=IMAGE in Portico; a cloudbuild.yaml is not read.")
    code: int = portico_docker.main(["build", "-t", options["--tag"], names[0] if names else "."])
    return code


def _repositories(names: list[str], options: dict[str, str]) -> int:
    import portico_gcloud_artifacts

    code: int = portico_gcloud_artifacts.run(names, options, _ask, _project())
    return code


def _predict(names: list[str], options: dict[str, str]) -> int:
    """`ai endpoints predict ENDPOINT --region=… --json-request=FILE`."""
    import json

    file = options.get("--json-request", "")
    if len(names) != 1 or not file:
        return _fail("gcloud ai endpoints predict needs an endpoint and --json-request=FILE in Portico.")
    with sys.stdin if file == "-" else open(file) as source:
        body = json.load(source)
    place = f"projects/{options.get('--project') or _project()}/locations/{options.get('--region', 'us-central1')}"
    name = names[0] if "/" in names[0] else f"{place}/endpoints/{names[0]}"
    print(json.dumps(_ask("POST", f"{name}:predict", body, "v1")["predictions"], indent=2))
    return 0


_DO: dict[tuple[str, ...], Callable[[list[str], dict[str, str]], int]] = {
    ("ai", "endpoints", "predict"): _predict,
    ("artifacts", "repositories"): _repositories,
    ("auth", "application-default", "print-access-token"): _token,
    ("auth", "list"): _auth_list,
    ("auth", "print-access-token"): _token,
    ("builds", "submit"): _build,
    ("config", "get"): _config,
    ("config", "get-value"): _config,
    ("config", "list"): _config,
    ("config", "set"): _set,
    ("projects", "add-iam-policy-binding"): _bind,
    ("projects", "describe"): _describe,
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
