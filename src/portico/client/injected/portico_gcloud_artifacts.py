"""`gcloud artifacts repositories` as notebooks use it: create, list, describe, delete, by this server's own service.

It runs in the caller's own Python, as `portico_gcloud_command` does, which hands in how the server is asked.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_API = "apis/artifactregistry/v1"
_KNOWN = {
    "create": ("--repository-format", "--location", "--description", "--labels", "--project", "--mode", "--async"),
    "list": ("--location", "--project", "--format", "--limit"),
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
        return _show(ask("GET", name, None, _API), options.get("--format", ""))
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
    while not operation.get("done") and "--async" not in options:
        time.sleep(0.2)
        operation = ask("GET", operation["name"], None, _API)
    if "error" in operation:
        raise ValueError(operation["error"]["message"])
    print(told if operation.get("done") else operation["name"], file=sys.stderr)
    return 0


def _list(parent: str, options: dict[str, str], ask: Callable[..., Any]) -> int:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = ask("GET", f"{parent}/repositories?pageToken={quote(token)}", None, _API)
        found += page.get("repositories", [])
        token = page.get("nextPageToken", "")
        if not token:
            break
    if options.get("--limit"):
        found = found[: int(options["--limit"])]
    form = options.get("--format", "")
    if form == "json":
        print(json.dumps(found, indent=2))
        return 0
    if form:
        return max([_show(one, form) for one in found], default=0)
    columns = ("REPOSITORY", "FORMAT", "MODE", "DESCRIPTION", "LOCATION", "CREATE_TIME")
    rows = [
        (
            one["name"].rpartition("/")[2], one["format"], one["mode"], one.get("description", ""),
            one["name"].split("/")[3], one["createTime"],
        )
        for one in found
    ]  # fmt: skip
    widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]
    for row in [columns, *rows] if rows else []:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())  # noqa: B905  3.7's zip
    if not rows:
        print("Listed 0 items.", file=sys.stderr)
    return 0


def _show(told: dict[str, Any], form: str) -> int:
    if form == "json":
        print(json.dumps(told, indent=2))
    elif form.startswith("value("):
        print("\t".join(str(told.get(key.strip(), "")) for key in form[6:].rstrip(")").split(",")))
    elif form and form != "yaml":
        raise ValueError(f"--format {form} is not built in Portico; json, yaml and value(FIELD) are.")
    else:
        for key in sorted(told):  # a line of JSON is YAML, too
            plain = isinstance(told[key], str) and told[key] and not told[key].isdigit()
            print(f"{key}: {told[key] if plain else json.dumps(told[key])}")
    return 0
