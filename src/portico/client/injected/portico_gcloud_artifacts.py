"""`gcloud artifacts repositories` as notebooks use it: create, list, describe, delete, by this server's own service.

It runs in the caller's own Python, as `portico_gcloud_command` does, which hands in how the server is asked.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import portico_gcloud_asking as asking
import portico_gcloud_shown as shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_API = "apis/artifactregistry/v1"
_KNOWN = {
    "create": ("--repository-format", "--location", "--description", "--labels", "--project", "--mode", "--async"),
    "list": ("--location", "--project", "--filter", "--format", "--limit"),
    "describe": ("--location", "--project", "--format"),
    "delete": ("--location", "--project", "--async"),
}  # fmt: skip
_MODES = {"": "", "standard-repository": "STANDARD_REPOSITORY", "remote-repository": "REMOTE_REPOSITORY",
          "virtual-repository": "VIRTUAL_REPOSITORY"}  # fmt: skip


def run(words: list[str], options: dict[str, str], ask: Callable[..., Any], project: str) -> int:
    """What comes after `gcloud artifacts repositories`. `ask(method, path, body, api)` is the server's answer;
    `project` the one that counts where none is named.

    Raises:
        ValueError: the server refuses, or something is missing.
    """
    verb, names = (words[0] if words else ""), words[1:]
    if verb not in _KNOWN:
        raise ValueError(
            f"gcloud artifacts repositories {verb} is not built in Portico; there are {', '.join(_KNOWN)}."
        )
    for option in options:
        if option not in _KNOWN[verb]:
            raise ValueError(f"gcloud artifacts repositories {verb} {option} is not built in Portico.")
    project, location = options.get("--project") or project, options.get("--location", "")
    if verb == "list":
        return _list(f"projects/{project}/locations/{location or '-'}", options, ask)
    if len(names) != 1:
        raise ValueError(f"gcloud artifacts repositories {verb} needs the repository's name.")
    if not location and "/" not in names[0]:
        raise ValueError(f"gcloud artifacts repositories {verb} needs --location=LOCATION.")
    name = names[0] if "/" in names[0] else f"projects/{project}/locations/{location}/repositories/{names[0]}"
    if verb == "describe":
        shown.resource(ask("GET", name, None, _API), options.get("--format", ""))
        return 0
    if verb == "delete":
        return _await(ask("DELETE", name, None, _API), ask, options, f"Deleted repository [{name}].")
    kind, mode = options.get("--repository-format", ""), options.get("--mode", "")
    if not kind:
        raise ValueError("gcloud artifacts repositories create needs --repository-format=docker or kfp.")
    if mode not in _MODES:
        raise ValueError(f"--mode is one of {', '.join(filter(None, _MODES))}, not {mode}.")
    body: dict[str, Any] = {"format": kind.upper()}
    body.update({"mode": _MODES[mode]} if mode else {})
    body.update({"description": options["--description"]} if options.get("--description") else {})
    if options.get("--labels"):
        body["labels"] = dict(one.partition("=")[::2] for one in options["--labels"].split(","))
    parent, _, short = name.rpartition("/")
    made = ask("POST", f"{parent}?repositoryId={quote(short)}", body, _API)
    return _await(made, ask, options, f"Created repository [{short}].")


def _await(operation: dict[str, Any], ask: Callable[..., Any], options: dict[str, str], told: str) -> int:
    operation = asking.ended(ask, operation, _API, "--async" not in options)
    print(told if operation.get("done") else operation["name"], file=sys.stderr)
    return 0


def _list(parent: str, options: dict[str, str], ask: Callable[..., Any]) -> int:
    found = asking.listed(ask, f"{parent}/repositories", "repositories", _API)
    columns: dict[str, Any] = {
        "REPOSITORY": lambda one: one["name"].rpartition("/")[2],
        "FORMAT": lambda one: one["format"],
        "MODE": lambda one: one["mode"],
        "DESCRIPTION": lambda one: one.get("description", ""),
        "LOCATION": lambda one: one["name"].split("/")[3],
        "CREATE_TIME": lambda one: one["createTime"],
    }
    shown.resources(found, options, columns)
    return 0
